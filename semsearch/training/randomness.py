"""Random numbers that depend on a seed alone, and leave those of the caller as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers, and restore their state on all devices afterwards."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # without naming them, several are a warning
        torch.manual_seed(seed)
        yield
