"""The request for a comparison of poolers, which is validated before anything is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from semsearch.checks import FLAG, NAMES, TEXT, WHOLE, Check, check_types
from semsearch.corpus.chunking import Chunking
from semsearch.corpus.sources import ReadOptions
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.encoder import Progress
from semsearch.errors import UsageError
from semsearch.evaluation.candidates import Scored
from semsearch.evaluation.evidence import layer_names
from semsearch.evaluation.multi_pooler import ALL, MultiPooler
from semsearch.evaluation.significance import SEED
from semsearch.evaluation.vector_cache import MAX_MB, VectorCache
from semsearch.paths import as_path
from semsearch.types import AUTO, SETTINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for a comparison; `compare_poolers` documents each field.

    Fields that apply only to some kinds of data are None by default, which stands for the default of the kind.

    Raises:
        UsageError: If a value has a wrong type, or is invalid for any data.
    """

    data: str | Path
    kind: str = AUTO
    poolers: Sequence[str] = (ALL,)
    model: str | None = None
    simcse_names: bool = False
    similarity: str = AUTO
    transforms: Sequence[str] = ()
    max_tokens: int | None = None
    precision: str | None = None
    device: str = "auto"
    runtime: str = "auto"
    cache_mb: int = MAX_MB
    layers: bool = False
    duel: Sequence[str] = ()
    seed: int = SEED
    progress: Progress | None = None
    scored: Scored | None = None
    tasks: Sequence[str] | None = None
    split: str | None = None
    measures: Sequence[str] | None = None
    style: str | None = None
    modes: Sequence[str] | None = None
    fusion: str | None = None
    chunking: Chunking | None = None
    drop_same_id: bool | None = None
    sample: int | None = None
    check: bool | None = None
    reading: ReadOptions | None = None
    skip_bad: bool | None = None

    def __post_init__(self) -> None:
        as_path(self.data, "data")
        optional = [one.name for one in fields(self) if one.default is None]
        check_types({one.name: getattr(self, one.name) for one in fields(self)}, EXPECTED, optional)
        if not self.poolers:
            raise UsageError("no pooler given; list some in `poolers` or pass all")
        if len(self.duel) not in (0, 2):
            raise UsageError(f"`duel` must name two rows or none, got {len(self.duel)}")
        for name, value, meant in (("seed", self.seed, ""), ("cache_mb", self.cache_mb, " MiB (0 for no cache)")):
            if value < 0:
                raise UsageError(f"`{name}` must be at least 0{meant}, got {value}")

    @property
    def path(self) -> Path:
        """The path of the data."""
        return Path(self.data)

    @property
    def source(self) -> str:
        """The path as text, as it was given; `-` for standard input."""
        return os.fspath(self.data)

    @contextmanager
    def encoder(self) -> Iterator[MultiPooler]:
        """Load the poolers, with the vector cache open for the duration of the `with` block.

        Raises:
            ModelError: If the checkpoint cannot be loaded, or supports none of the poolers.
            UsageError: If a pooler is unknown, or `max_tokens` does not fit the model.
        """
        if AUTO in self.poolers:
            own = open_checkpoint(self.model).pooler
            declared = f"this checkpoint declares {own}" if own else "this checkpoint declares none"
            raise UsageError(
                f"`poolers` cannot be {AUTO}, the pooler that a checkpoint declares ({declared}); list some or pass all"
            )
        with ExitStack() as stack:
            yield MultiPooler.load(
                self.model,
                self.poolers,
                simcse_names=self.simcse_names,
                similarity=self.similarity,
                max_tokens=self.max_tokens,
                precision=self.precision or AUTO,
                device=self.device,
                runtime=self.runtime,
                also=layer_names() if self.layers else (),
                cache=stack.enter_context(VectorCache(max_mb=self.cache_mb)) if self.cache_mb else None,
            )


EXPECTED: Mapping[str, Check] = {
    **dict.fromkeys(("kind", "model", "precision", "device", "runtime", "split", "style", "fusion"), TEXT),
    **dict.fromkeys(("poolers", "transforms", "duel", "tasks", "measures", "modes"), NAMES),
    **dict.fromkeys(("max_tokens", "cache_mb", "seed", "sample"), WHOLE),
    **dict.fromkeys(("simcse_names", "layers", "drop_same_id", "check", "skip_bad"), FLAG),
    "similarity": SETTINGS["similarity"],
    "progress": (callable, "a function that takes the number of texts just encoded"),
    "scored": (callable, "a function that takes the number of rows scored so far and the total"),
    "chunking": (lambda value: isinstance(value, Chunking), "a semsearch.Chunking"),
    "reading": (lambda value: isinstance(value, ReadOptions), "a semsearch.ReadOptions"),
}
"""Checks by field, each with a description of the expected value."""
