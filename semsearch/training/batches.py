"""The order of examples: batches of row numbers, shuffled anew in each epoch, the same for the same seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from semsearch.errors import UsageError

LOOK_AHEAD = 50
"""Number of batches of examples that are searched for one that shares no text with its batch."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches of examples.

    Attributes:
        n: Number of examples.
        size: Number of examples in a batch; the last batch of an epoch may be smaller.
        seed: Random seed.
        texts: Columns of texts that must not repeat within a batch, because an in-batch negative would be a positive.
            Examples that cannot be placed without a repetition are left out of that epoch. Empty for no such rule.
    """

    n: int
    size: int
    seed: int
    texts: Sequence[Sequence[str]] = ()

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """Yield epoch, from 0, and row numbers of each batch, without end.

        Raises:
            UsageError: If every two examples share a text that must not repeat within a batch.
        """
        for epoch in count():
            rows = np.random.default_rng((self.seed, epoch)).permutation(self.n).tolist()
            found = False
            for batch in self._distinct(rows) if self.texts else self._plain(rows):
                found = True
                yield epoch, batch
            if not found:
                raise UsageError(
                    f"no two of the {self.n:,} examples are free of common texts, so there are no in-batch negatives; "
                    "expected examples with different texts"
                )

    def per_epoch(self) -> int:
        """Return the number of batches in the first epoch."""
        for number, (epoch, _) in enumerate(self):
            if epoch:
                return number
        raise AssertionError

    def _plain(self, rows: list[int]) -> Iterator[list[int]]:
        for start in range(0, len(rows), self.size):
            yield rows[start : start + self.size]

    def _distinct(self, rows: list[int]) -> Iterator[list[int]]:
        """Yield batches in which no text occurs in two examples.

        An example that shares a text with as many of the following ones as are searched is left out with these.
        """
        waiting = deque(rows)
        while waiting:
            batch: list[int] = []
            seen: set[str] = set()
            later: list[int] = []
            while waiting and len(batch) < self.size and len(later) < LOOK_AHEAD * self.size:
                row = waiting.popleft()
                own = {column[row] for column in self.texts}
                if seen.isdisjoint(own):
                    batch.append(row)
                    seen |= own
                else:
                    later.append(row)
            if len(batch) > 1:
                waiting.extendleft(reversed(later))
                yield batch
