"""What every kind of training is prepared into, before the loop runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from semsearch.training.batches import Batches
from semsearch.training.dev import Dev
from semsearch.training.tasks import Task


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        task: What to train.
        batches: The order of its examples.
        device: Device of the task.
        dev: Dev set; None if there is none.
        write: Writes the checkpoint, as it is now, into an empty folder.
        facts: Facts for the model card, in order.
        notes: What the user should know before the run.
        digest: Hash of the examples and of the weights to start from, which must not change before the run is resumed.
    """

    task: Task
    batches: Batches
    device: str
    dev: Dev | None
    write: Callable[[Path], None]
    facts: Mapping[str, str]
    notes: tuple[str, ...]
    digest: str
