"""Inverted indexes: for each term of a range of passages, in which of them it occurs, and how often.

An inverted index is a set of named arrays, immutable and disposable. It does not know which of its passages have been
deleted since. A row is the place of a passage among the passages of one inverted index.

    passages    <i8 [n]               numbers of the passages, ascending
    lengths     <u4 [n]               tokens of each passage, as FTS5 counts them
    terms       |u1                   the distinct terms, ascending, one after another
    term_ends   <u8 [t]               where each term ends in `terms`
    starts      <u8 [t + 1]           where the postings of each term begin, and where the last ones end
    rows        <u4 [p]               rows that have a term, ascending for each term
    counts      |u1, <u2, <u4 [p]     how often these rows have it
    peaks       <f4 [t]               highest saturation of each term, count / (count + norm), which bounds its scores
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.arrays import Array
from semsearch.stores.words.analysis import Text, analyze

Mask: TypeAlias = NDArray[np.bool_]
"""For each row of an inverted index, whether its passage counts; bool `[n]`."""

K1, B = 1.2, 0.75
"""FTS5's parameters of BM25; see https://sqlite.org/fts5.html#the_bm25_function."""

DTYPES = {
    "passages": ("<i8",),
    "lengths": ("<u4",),
    "terms": ("|u1",),
    "term_ends": ("<u8",),
    "starts": ("<u8",),
    "rows": ("<u4",),
    "counts": ("|u1", "<u2", "<u4"),
    "peaks": ("<f4",),
}

AT_ONCE = 2**18
"""Number of postings that are checked at a time, so that they stay in the processor's cache."""

FIRST_BYTES = np.array([2**64 - 2 ** (64 - 8 * n) for n in range(9)], np.uint64)
"""Masks for the first n bytes of a big-endian number of eight bytes."""

MAX_TERM_BYTES = 2**17
"""Above the length of any term: FTS5 truncates tokens at 32,768 bytes."""

MERGED_AT_ONCE = 2**21
"""Number of postings that are merged at a time."""

CHARACTERS_AT_ONCE = 2**22
"""Number of characters of texts that are analyzed at a time."""


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index; see the module for its arrays."""

    passages: Array
    lengths: Array
    terms: Array
    term_ends: Array
    starts: Array
    rows: Array
    counts: Array
    peaks: Array

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def mean_length(self) -> float:
        """Mean length of all passages, to which `peaks` refer."""
        return mean_length(int(self.lengths.sum(dtype=np.int64)), len(self.lengths))

    def find(self, term: bytes) -> int | None:
        """Return the place of a term, by bisection; None if no passage has it."""
        place = bisect_left(range(len(self.term_ends)), term, key=self.term)
        return place if place < len(self.term_ends) and self.term(place) == term else None

    def term(self, place: int) -> bytes:
        """Return one of the terms."""
        start = int(self.term_ends[place - 1]) if place else 0
        return self.terms[start : int(self.term_ends[place])].tobytes()

    def all_terms(self) -> list[bytes]:
        """Return all terms, ascending."""
        data = self.terms.tobytes()
        return [data[start:end] for start, end in pairwise([0, *self.term_ends.tolist()])]

    def postings(self, place: int) -> tuple[Array, Array]:
        """Return the rows that have a term, and how often they have it."""
        within = slice(int(self.starts[place]), int(self.starts[place + 1]))
        return self.rows[within], self.counts[within]


def word_sums(postings: Postings) -> NDArray[np.uint64]:
    """Return a checksum of the terms of each passage, with their counts, and of its length; uint64 `[n]`."""
    hashes = np.fromiter(map(zlib.crc32, postings.all_terms()), np.uint64, len(postings.term_ends))
    sums = postings.lengths.astype(np.uint64)
    for first, last in _ranges(postings.starts):
        begin, end = int(postings.starts[first]), int(postings.starts[last])
        starts: Array = postings.starts[first : last + 1].astype(np.int64)
        of_terms = np.repeat(hashes[first:last], starts[1:] - starts[:-1])
        np.add.at(sums, postings.rows[begin:end], of_terms * postings.counts[begin:end])
    return sums


def mean_length(n_tokens: int, n_passages: int) -> float:
    """Return the mean length of passages; positive, also if there are none, or none has tokens."""
    return max(n_tokens / max(n_passages, 1), 1e-9)


def norms(lengths: Array, mean: float) -> NDArray[np.float64]:
    """Return the count of a term at which its saturation is one half, by the lengths of passages; float64 `[n]`."""
    return K1 * (1 - B + B * lengths / mean)


def build(texts: Iterable[Text]) -> Postings:
    """Build an inverted index of passages, given in ascending order of their numbers.

    Texts are analyzed some at a time, so the memory needed beyond twice the result does not depend on their number.
    """
    return merge([(part, None) for part in _parts(texts)])


def _parts(texts: Iterable[Text]) -> Iterator[Postings]:
    left = iter(texts)
    while some := list(_some(left)):
        yield _build(some)


def _some(texts: Iterator[Text]) -> Iterator[Text]:
    """Yield the texts that are analyzed together."""
    size = 0
    for text in texts:
        yield text
        size += len(text[1]) + len(text[2]) + 1
        if size >= CHARACTERS_AT_ONCE:
            break


def _build(texts: Sequence[Text]) -> Postings:
    """Build an inverted index of passages all at once."""
    found = analyze([(title, text) for _, title, text in texts])
    order = sorted(range(len(found.terms)), key=found.terms.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    keys, counts = np.unique(rank[found.numbers] * len(texts) + found.rows, return_counts=True)
    owners, rows = np.divmod(keys, max(len(texts), 1))
    terms = [found.terms[place] for place in order]
    passages = np.array([number for number, _, _ in texts], np.int64)
    n_having = np.bincount(owners, minlength=len(terms))
    return _assemble(passages, found.lengths, terms, n_having, rows, counts)


def _assemble(
    passages: Array, lengths: Array, terms: Sequence[bytes], n_having: Array, rows: Array, counts: Array
) -> Postings:
    """Return an inverted index of terms that n_having rows have, each at least one."""
    starts = np.concatenate([[0], np.cumsum(n_having)]).astype(np.uint64)
    made = Postings(
        passages,
        lengths.astype(np.uint32),
        np.frombuffer(b"".join(terms), np.uint8),
        np.cumsum(np.fromiter(map(len, terms), np.uint64, len(terms)), dtype=np.uint64),
        starts,
        rows.astype(np.uint32, copy=False),
        _smallest(counts),
        np.empty(0, np.float32),
    )
    return Postings(**{**made.arrays(), "peaks": _peaks(made)})


def _smallest(counts: Array) -> Array:
    """Return numbers in the smallest type that holds them."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))), copy=False)


def _peaks(postings: Postings) -> NDArray[np.float32]:
    """Return the highest saturation of each term, rounded up, with the mean length of these passages."""
    norm, peaks = norms(postings.lengths, postings.mean_length), np.empty(len(postings.term_ends), np.float32)
    for first, last in _ranges(postings.starts):
        begin, end = int(postings.starts[first]), int(postings.starts[last])
        counts = postings.counts[begin:end]
        saturation = counts / (counts + norm[postings.rows[begin:end]])
        highest = np.maximum.reduceat(saturation, postings.starts[first:last].astype(np.int64) - begin)
        peaks[first:last] = np.minimum(np.nextafter(highest.astype(np.float32), np.float32(2)), 1)
    return peaks


def _ranges(starts: Array) -> Iterator[tuple[int, int]]:
    """Yield ranges of terms that have at most `MERGED_AT_ONCE` postings together, or are one term."""
    first, n = 0, len(starts) - 1
    while first < n:
        last = int(np.searchsorted(starts, int(starts[first]) + MERGED_AT_ONCE, "right")) - 1
        last = min(max(last, first + 1), n)
        yield first, last
        first = last


def merge(parts: Sequence[tuple[Postings, Mask | None]]) -> Postings:
    """Merge the inverted indexes of successive ranges of passages into one, without analyzing texts.

    The memory needed beyond the result is that of a fixed number of postings, and about 200 bytes for each term.

    Args:
        parts: Inverted indexes in ascending order of their passages, each with its rows to keep; None for all.

    Returns:
        What `build` returns for the passages that are kept.
    """
    if len(parts) == 1 and parts[0][1] is None:
        return parts[0][0]
    union = _union([part for part, _ in parts])
    number_of = {term: number for number, term in enumerate(union)}
    sources, n_rows = list[_Source](), 0
    for part, mask in parts:
        numbers = np.fromiter(map(number_of.__getitem__, part.all_terms()), np.int64, len(part.term_ends))
        sources.append(_Source(part, mask, numbers, n_rows))
        n_rows += len(sources[-1].passages)
    del number_of
    limits = np.zeros(len(union) + 1, np.int64)  # where postings would begin if all rows were kept
    for source in sources:
        limits[source.numbers + 1] += np.diff(source.part.starts.astype(np.int64))
    limits = np.cumsum(limits)
    rows = np.empty(limits[-1], np.uint32)
    counts = np.empty(limits[-1], np.result_type(np.uint8, *(part.counts.dtype for part, _ in parts)))
    having, end = np.zeros(len(union), np.int64), 0
    for first, last in _ranges(limits):
        sizes, some, many = _merge_range(sources, first, last)
        having[first:last], begin, end = sizes, end, end + len(some)
        rows[begin:end], counts[begin:end] = some, many
    left = np.flatnonzero(having)
    return _assemble(
        np.concatenate([np.empty(0, np.int64), *(source.passages for source in sources)]),
        np.concatenate([np.empty(0, np.uint32), *(source.lengths for source in sources)]),
        [union[number] for number in left.tolist()],
        having[left],
        rows[:end],
        counts[:end],
    )


def _union(parts: Iterable[Postings]) -> list[bytes]:
    """Return the terms of all parts, ascending, of one part after another to save memory."""
    union = set[bytes]()
    for part in parts:
        union.update(part.all_terms())
    return sorted(union)


class _Source:
    """An inverted index that is merged with others.

    Attributes:
        part: The inverted index.
        numbers: The number of each of its terms among those of all parts, ascending; int64 `[t]`.
        passages, lengths: Those of the rows to keep.
    """

    def __init__(self, part: Postings, mask: Mask | None, numbers: Array, n_before: int) -> None:
        """Keep the rows of a mask (None for all), which follow those of other parts."""
        self.part, self.numbers, self._mask = part, numbers, mask
        self.passages, self.lengths = (each if mask is None else each[mask] for each in (part.passages, part.lengths))
        kept = np.ones(len(part.passages), bool) if mask is None else mask
        self._renumbered = (n_before + np.cumsum(kept) - 1).astype(np.uint32)

    def take(self, first: int, last: int) -> tuple[Array, Array, Array, Array]:
        """Return the postings of a range of the terms of all parts.

        Returns:
            The numbers of the terms within the range, how many rows have each, these rows in the result, and counts.
        """
        low, high = np.searchsorted(self.numbers, [first, last])
        starts = self.part.starts[low : high + 1].astype(np.int64)
        rows, counts = self.part.rows[starts[0] : starts[-1]], self.part.counts[starts[0] : starts[-1]]
        if self._mask is not None:
            kept = self._mask[rows]
            starts = np.concatenate([[0], np.cumsum(kept)])[starts - starts[0]]
            rows, counts = rows[kept], counts[kept]
        return self.numbers[low:high] - first, np.diff(starts), self._renumbered[rows], counts


def _merge_range(sources: Sequence[_Source], first: int, last: int) -> tuple[Array, Array, Array]:
    """Return, for a range of terms, how many rows have each, and the postings."""
    taken = [source.take(first, last) for source in sources]
    having = np.zeros(last - first, np.int64)
    for numbers, sizes, _, _ in taken:
        having[numbers] += sizes
    rows = np.empty(having.sum(), np.uint32)
    counts = np.empty(len(rows), np.result_type(np.uint8, *(many.dtype for _, _, _, many in taken)))
    ends = np.cumsum(having) - having
    for numbers, sizes, some, many in taken:
        places = np.repeat(ends[numbers] - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(some))
        rows[places], counts[places] = some, many
        ends[numbers] += sizes
    return having, rows, counts


def read(arrays: Mapping[str, Array | None]) -> Postings | None:
    """Return the inverted index that consists of these arrays, which may come from someone else.

    Returns:
        The inverted index; None if no inverted index has such arrays: every search ends, and within the passages.
    """
    given = {name: array for name in DTYPES if (array := arrays.get(name)) is not None}
    if len(given) < len(DTYPES) or not all(a.ndim == 1 and a.dtype.str in DTYPES[name] for name, a in given.items()):
        return None
    postings = Postings(**given)
    return postings if _is_sound(postings) else None


def _is_sound(postings: Postings) -> bool:
    n, n_terms, n_postings = len(postings.passages), len(postings.term_ends), len(postings.rows)
    return (
        len(postings.lengths) == n
        and len(postings.peaks) == n_terms
        and len(postings.starts) == n_terms + 1
        and len(postings.counts) == n_postings
        and bool((postings.passages[1:] > postings.passages[:-1]).all())
        and _ascend(postings.term_ends, 0, len(postings.terms))
        and _are_sorted(postings)
        and _ascend(postings.starts[1:], 1, n_postings)
        and int(postings.starts[0]) == 0
        and bool(((postings.peaks >= 0) & (postings.peaks <= 1)).all())
        and int(postings.counts.min(initial=1)) > 0
        and _are_rows(postings, n)
    )


def _ascend(ends: Array, least: int, last: int) -> bool:
    """Return whether ends ascend by at least `least` to `last`."""
    if not len(ends):
        return last == 0
    if int(ends[0]) < least or int(ends[-1]) != last or int(ends.max()) > last:
        return False
    return bool((ends[1:] >= ends[:-1] + np.uint64(least)).all())


def _are_sorted(postings: Postings) -> bool:
    """Return whether terms ascend; compared as numbers of eight bytes, and by the next eight where these are equal."""
    data = np.concatenate([postings.terms, np.zeros(8, np.uint8)])
    numbers: Array = np.ndarray(len(data) - 7, ">u8", data, strides=(1,))  # each byte with the seven that follow it
    ends = postings.term_ends.astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])

    def part(places: Array, at: int) -> Array:
        begin = np.minimum(starts[places] + at, ends[places])
        n_bytes = np.minimum(ends[places] - begin, 8)
        bytes_there: Array = numbers[begin].astype(np.uint64) & FIRST_BYTES[n_bytes]
        return bytes_there

    equal = np.arange(1, len(ends))
    for at in range(0, MAX_TERM_BYTES, 8):
        before, after = part(equal - 1, at), part(equal, at)
        if (before > after).any():
            return False
        equal = equal[before == after]
        if (starts[equal] + at + 8 >= ends[equal]).any():  # the same term twice, or followed by zeros
            return False
        if not len(equal):
            return True
    return False


def _are_rows(postings: Postings, n: int) -> bool:
    """Return whether the rows of each term ascend, and are below n."""
    rows, n_breaks = postings.rows, 0
    for start in range(0, len(rows), AT_ONCE):
        some = rows[max(start - 1, 0) : start + AT_ONCE]
        if int(some.max()) >= n:
            return False
        n_breaks += int(np.count_nonzero(some[1:] <= some[:-1]))
    heads = postings.starts[1:-1].astype(np.int64)
    return n_breaks == int(np.count_nonzero(rows[heads] <= rows[heads - 1]))
