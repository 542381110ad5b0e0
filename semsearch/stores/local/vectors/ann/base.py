"""The protocol of a kind of vector index: how it is built, stored as arrays, and searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from semsearch.arrays import Array, Ids, Vectors
from semsearch.stores.local.vectors.ann.library import Chosen, FaissIndex

Arrays: TypeAlias = Mapping[str, Array]


class Kind(Protocol):
    """A kind of vector index over n rows, which are known by their positions 0 to n - 1.

    Its factory string says the rest, in FAISS's notation, such as `HNSW32,SQ8`.
    """

    @property
    def efforts(self) -> Sequence[int]:
        """The values of its search parameter that are tried until recall is sufficient, ascending."""
        ...

    def accepts(self, factory: str) -> bool:
        """Return whether a factory string describes an index of this kind that can be stored."""
        ...

    def bytes_per_row(self, factory: str, dim: int) -> float:
        """Return the approximate memory that a row takes while it is searched."""
        ...

    def least_rows(self, factory: str) -> int:
        """Return the number of rows below which the index cannot be built."""
        ...

    def n_training(self, factory: str) -> int:
        """Return the number of rows to train on."""
        ...

    def prepare(self, index: FaissIndex) -> None:
        """Set the parameters of a newly created, empty index."""
        ...

    def arrays(self, index: FaissIndex) -> Iterator[tuple[str, Array]]:
        """Yield the contents of an index as named arrays."""
        ...

    def restore(self, index: FaissIndex, arrays: Arrays, n: int) -> bool:
        """Fill a newly created, empty index with n rows from its arrays, which the caller must keep.

        Returns:
            Whether the arrays are valid: an index that was filled with other arrays could crash the interpreter.
        """
        ...

    def candidates(self, index: FaissIndex, queries: Vectors, k: int, effort: int, chosen: Chosen | None) -> Ids:
        """Find rows to compare with each query exactly, because the k best are probably among them.

        Args:
            index: An index that is not empty.
            queries: float32 `[n, dim]`.
            k: Number of rows wanted.
            effort: Value of the search parameter; see `efforts`.
            chosen: The rows that may be found; None for all.

        Returns:
            Positions `[n, at least k, unless there are fewer]`, padded with -1.
        """
        ...
