"""The candidates of a comparison: a pooler, optionally with a transform, and for retrieval a search mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.errors import UsageError
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.transforms import TRANSFORMS, Transform, canonical_transform, fit_transform, parse_transform, unit_rows
from semsearch.types import COSINE

TRUNCATE = "truncate:"

NONE = "none"
"""The name, among transforms, for vectors without one."""

AT_ONCE = 256
"""Number of vectors of two poolers to compare at a time; most poolers differ in the first ones."""

Scored: TypeAlias = Callable[[int, int], None]
"""Called with the number of candidates scored so far and the total number of candidates."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pooler, a transform and a search mode: one row of a table.

    Attributes:
        pooler: Name of the pooler as requested; empty for keyword search.
        transform: Name of the transform, such as `whiten:128`; empty for none.
        mode: `dense`, `keyword` or `hybrid`.
        similarity: Function that ranks passages by their vectors: the encoder's own, or cosine with a fitted transform.
    """

    pooler: str = ""
    transform: str = ""
    mode: str = field(default="dense", kw_only=True)
    similarity: str = field(default=COSINE, kw_only=True, compare=False)

    @property
    def label(self) -> str:
        """The name in tables, such as `mean`, `mean, whiten:128`, `mean, hybrid` or `keyword`."""
        return ", ".join(
            part for part in (self.pooler, self.transform, "" if self.mode == "dense" else self.mode) if part
        )


def candidates_of(encoder: MultiPooler, transforms: Sequence[str] = ()) -> list[Candidate]:
    """Return each pooler without a transform, followed by the same pooler with each transform.

    Args:
        encoder: Encoder with the poolers.
        transforms: Names such as `center`, `whiten:128` or `truncate:64`; `all` for every kind that is fitted.

    Raises:
        UsageError: If a transform is unknown, or its K does not fit the dimension of a pooler's vectors.
    """
    every = (one for name in transforms for one in (TRANSFORMS if name == "all" else (name,)))
    wanted = dict.fromkeys(map(canonical_transform, every))
    wanted.pop(NONE, None)
    for spec in encoder.specs.values():
        for name in wanted:
            _check(name, spec.dim)
    return [
        Candidate(name, transform, similarity=COSINE if _is_fitted(transform) else encoder.similarity)
        for name in encoder.names
        if name not in encoder.also
        for transform in ("", *wanted)
    ]


def candidates_also(encoder: MultiPooler) -> list[Candidate]:
    """Return the poolers that were only requested through `also`, without transforms."""
    return [Candidate(name, similarity=encoder.similarity) for name in encoder.also]


def fit(transform: str, vectors: Vectors, similarity: str = COSINE) -> Callable[[Vectors], Vectors]:
    """Fit a transform, and return the function that turns pooled vectors `[n, dim]` into searched ones `[n, dim_out]`.

    Args:
        transform: Transform of a candidate; empty for none.
        vectors: Vectors to fit it on, float32 `[n, dim]` as pooled.
        similarity: Function that ranks the vectors. For cosine, and after a fitted transform, they are unit rows.
    """
    if _is_fitted(transform):
        return fit_transform(transform, [vectors], vectors.shape[1])
    keep = int(transform.removeprefix(TRUNCATE)) if transform else None
    return lambda rows: unit_rows(rows[:, :keep]) if similarity == COSINE else rows[:, :keep]


def _is_fitted(transform: str) -> bool:
    return bool(transform) and not transform.startswith(TRUNCATE)


class Fits:
    """Transforms fitted on the vectors of each pooler, each on first use."""

    def __init__(self, vectors: Mapping[str, Vectors]) -> None:
        """Keep the vectors to fit on, by pooler, float32 `[n, dim]` as pooled."""
        self._vectors = vectors
        self._fitted: dict[tuple[str, str, str], Callable[[Vectors], Vectors]] = {}

    def __call__(self, candidate: Candidate) -> Callable[[Vectors], Vectors]:
        """Return the function that turns a candidate's pooled vectors into those to search; see `fit`."""
        key = candidate.pooler, candidate.transform, candidate.similarity
        if key not in self._fitted:
            self._fitted[key] = fit(candidate.transform, self._vectors[candidate.pooler], candidate.similarity)
        return self._fitted[key]


def one_by_one(candidates: Sequence[Candidate], scored: Scored | None) -> Iterator[Candidate]:
    """Yield candidates, and report each one as scored when the next one is requested."""
    for number, candidate in enumerate(candidates):
        if scored:
            scored(number, len(candidates))
        yield candidate
    if scored and candidates:
        scored(len(candidates), len(candidates))


def repeats(candidates: Sequence[Candidate], vectors: Mapping[str, Vectors]) -> dict[str, str]:
    """Map each candidate whose vectors equal those of an earlier one, up to rounding, to that one, by their labels.

    For example, `mean-sqrt-len` repeats `mean`, because their vectors differ only in length. With a fitted transform it
    does not, because transforms are fitted on vectors as pooled; nor does it if vectors are not ranked by cosine.

    Args:
        candidates: Candidates in the order of the rows.
        vectors: By pooler, float32 `[n, dim]` as pooled.
    """
    found: dict[str, str] = {}
    for number, one in enumerate(candidates):
        for other in candidates[:number]:
            alike = (other.transform, other.mode) == (one.transform, one.mode) and other.label not in found
            if alike and one.pooler and other.pooler and _repeats(one, vectors[one.pooler], vectors[other.pooler]):
                found[one.label] = other.label
                break
    return found


def _repeats(one: Candidate, ours: Vectors, theirs: Vectors) -> bool:
    def equal(start: int) -> bool:
        a, b = ours[start : start + AT_ONCE], theirs[start : start + AT_ONCE]
        if one.similarity == COSINE and not _is_fitted(one.transform):
            a, b = unit_rows(a), unit_rows(b)
        return bool(np.abs(a - b).max(initial=0) <= 1e-5 * np.abs(b).max(initial=0))

    return ours.shape == theirs.shape and all(map(equal, range(0, len(ours), AT_ONCE)))


def is_flat(finish: Callable[[Vectors], Vectors], vectors: Vectors) -> bool:
    """Return whether whitening kept an axis for each distinct vector but one, so that all cosines are equal.

    n points with identity covariance in n - 1 dimensions are the corners of a simplex: all cosines are -1 / (n - 1),
    and any difference between them is rounding.

    Args:
        finish: Function as `fit` returns it.
        vectors: Vectors that it was fitted on.
    """
    if not isinstance(finish, Transform) or finish.name.partition(":")[0] != "whiten":
        return False
    return int(np.count_nonzero(finish.matrix.any(0))) >= len(np.unique(vectors, axis=0)) - 1


def _check(transform: str, dim: int) -> None:
    kind, _, number = transform.partition(":")
    if kind in TRANSFORMS:
        parse_transform(transform, dim)
    elif f"{kind}:" != TRUNCATE:
        known = f"{', '.join(TRANSFORMS)}, as NAME or NAME:K, {TRUNCATE}K, all, {NONE}"
        raise UsageError(f"unknown transform {transform!r}; known: {known}")
    elif not number.isdecimal() or not 1 <= int(number) <= dim:
        raise UsageError(f"transform {transform!r}: K must be a whole number from 1 to {dim}")
