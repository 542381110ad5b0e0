"""Pseudo-queries from an unlabeled corpus: a part of a document is the query, and the rest is the passage to find.

title      the title is the query, the body the passage
sentence   one sentence of the body, not the first, is the query, the others are the passage
first      the first sentence of the body is the query, the others are the passage

A passage never contains a title, nor the query that was taken out of it. Each passage is the source of one query and a
distractor for the others. This module makes the tasks and knows nothing about encoders or measures.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import TypeAlias

from semsearch.errors import SourceError, UsageError
from semsearch.types import Document

MAX_CHARS = 1000
"""About 256 tokens, which is all that small models read."""

LEAST_QUERY = 40
LEAST_PASSAGE = 80
"""Minimum widths of a sentence that can be a query (about 8 words) and of a passage."""

LEAST_QUERIES = 2
"""Minimum number of queries in a task; with fewer, there is nothing to rank."""

LONGEST_BEGINNING = 32
"""Number of first characters of a query to look it up by; few queries of a corpus share as many."""

WIDE_AS = 4
"""Number of alphabetic characters that a Chinese, Japanese or Korean one counts as: both are about one token."""

Pair: TypeAlias = tuple[str, str]
"""A query, and the passage that it was taken out of."""


@dataclass(frozen=True, slots=True)
class PseudoTask:
    """Queries and passages, where each query has one passage as its source.

    Attributes:
        name: `title`, `sentence` or `first`.
        queries: Texts of the queries.
        passages: Texts of the passages to search.
        sources: Index of the source of each query: `queries[i]` was taken out of `passages[sources[i]]`. A passage
            whose query was dropped is the source of none.
    """

    name: str
    queries: tuple[str, ...]
    passages: tuple[str, ...]
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """The numbers of queries of one task that were kept, repeated or ambiguous, which sum to the number of passages.

    Attributes:
        passages: Number of passages, one for each query that was made.
        queries: Number of queries that were kept.
        repeated: Number of queries that were dropped because their text occurs in a passage.
        ambiguous: Number of other queries that were dropped because they, or their passage, have a duplicate.
    """

    passages: int
    queries: int
    repeated: int
    ambiguous: int


@dataclass(frozen=True, slots=True)
class PseudoQuerySummary:
    """Counts of what the tasks were made from.

    Attributes:
        documents: Number of documents in the corpus.
        sampled: Number of documents that were used for at least one task.
        tasks: Counts by task name, including tasks that were left out.
    """

    documents: int
    sampled: int
    tasks: Mapping[str, TaskCounts]


def make_pseudo_tasks(
    documents: Iterable[Document], *, sample: int = 500, seed: int = 0, max_chars: int = MAX_CHARS
) -> tuple[list[PseudoTask], PseudoQuerySummary]:
    """Make retrieval tasks from a corpus without judgments: sample documents, and hold out a part of each as the query.

    Texts are compared without regard to case and white space. A query that occurs in any passage of its task is
    dropped, because word matching alone would find it; so are queries that two passages answer. Their passages remain
    as distractors.

    Args:
        documents: The corpus; it is read once and not kept. Of documents whose texts have the same first `max_chars`
            characters, one is used.
        sample: Maximum number of documents to use, drawn from those that suit at least one task.
        seed: Random seed. Together with a document's text, it determines whether the document is drawn and which
            sentence is held out; the order of the corpus has no influence.
        max_chars: Maximum number of characters to use of a document: its first sentences, as many as fit. A Chinese,
            Japanese or Korean character counts as four.

    Returns:
        The tasks that have at least two queries, and counts of what they were made from.

    Raises:
        UsageError: If `sample` or `max_chars` is too small to leave anything to compare.
        SourceError: If no task has two queries.
    """
    if sample < LEAST_QUERIES:
        raise UsageError(f"`sample` must be at least {LEAST_QUERIES} documents, got {sample}")
    if max_chars < LEAST_QUERY + LEAST_PASSAGE:
        raise UsageError(f"`max_chars` must be at least {LEAST_QUERY + LEAST_PASSAGE} characters, got {max_chars}")
    met, sampled = _sample(documents, sample, seed, max_chars)
    made = [_task(name, [pairs[name] for pairs in sampled if name in pairs]) for name in MAKERS]
    summary = PseudoQuerySummary(met, len(sampled), {task.name: counts for task, counts in made})
    tasks = [task for task, _ in made if len(task.queries) >= LEAST_QUERIES]
    if not tasks:
        raise SourceError(_too_few(summary))
    return tasks, summary


def _too_few(summary: PseudoQuerySummary) -> str:
    found = ", ".join(
        f"{name} {counts.queries} (and {counts.passages - counts.queries} that are not unique)"
        for name, counts in summary.tasks.items()
    )
    return (
        f"too few pseudo-queries from {summary.documents} documents, {summary.sampled} of them used: {found}; expected "
        f"at least {LEAST_QUERIES} of a kind, from different documents that have a title or several sentences, and at "
        f"least {LEAST_PASSAGE} characters of other text"
    )


# --- sampling


def _sample(documents: Iterable[Document], size: int, seed: int, max_chars: int) -> tuple[int, list[dict[str, Pair]]]:
    """Count the documents, and return the pairs of a sample in the order of the corpus.

    The sample consists of the texts with the smallest keys. A duplicate text has the same key, so it is either in the
    sample already, or its key was too large before: each text is used once without a list of all texts.
    """
    heap: list[tuple[int, int, dict[str, Pair]]] = []  # negated key, so that the largest comes first; position; pairs
    held: set[int] = set()
    met = 0
    for document in documents:
        met += 1
        text = document.text.strip()
        key = _key(text[:max_chars], seed)
        if key in held or (len(heap) == size and key > -heap[0][0]):
            continue
        if not (pairs := _pairs(document.title, text, key, max_chars)):
            continue
        held.add(key)
        heapq.heappush(heap, (-key, met, pairs))
        if len(heap) > size:
            held.remove(-heapq.heappop(heap)[0])
    return met, [pairs for _, _, pairs in sorted(heap, key=itemgetter(1))]


def _key(text: str, seed: int) -> int:
    """Return a pseudorandom 128-bit number that is determined by the text and the seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest())


# --- one document


def _pairs(title: str, text: str, key: int, max_chars: int) -> dict[str, Pair]:
    """Return the document's query and passage for each task that it suits."""
    sentences = _window(text, max_chars)
    if sentences and _plain(sentences[0]) == _plain(title):
        del sentences[0]  # a heading that repeats the title
    made = {name: make(title.strip(), sentences, key) for name, make in MAKERS.items()}
    return {name: pair for name, pair in made.items() if pair}


def _window(text: str, max_chars: int) -> list[str]:
    """Return the first sentences of a text, as many as fit; if the first one is too long, its beginning."""
    sentences = split_sentences(text[: max_chars + 1])  # one more character shows whether a sentence ends before it
    ends = list(accumulate(_width(sentence) for sentence in sentences))
    return sentences[: bisect_right(ends, max_chars)] or [text[:max_chars]]


def _title_out(title: str, sentences: Sequence[str], key: int) -> Pair | None:
    return _long_enough(title, "".join(sentences)) if title else None


def _sentence_out(title: str, sentences: Sequence[str], key: int) -> Pair | None:
    pairs = [pair for number in range(1, len(sentences)) if (pair := _held_out(sentences, number))]
    return pairs[key % len(pairs)] if pairs else None


def _first_out(title: str, sentences: Sequence[str], key: int) -> Pair | None:
    return _held_out(sentences, 0) if sentences else None


MAKERS: dict[str, Callable[[str, Sequence[str], int], Pair | None]] = {
    "title": _title_out,
    "sentence": _sentence_out,
    "first": _first_out,
}
"""Functions by task that make a pair from a document's title, its sentences and its random key."""


def _held_out(sentences: Sequence[str], number: int) -> Pair | None:
    query = sentences[number].strip()
    rest = "".join((*sentences[:number], *sentences[number + 1 :]))
    return _long_enough(query, rest) if _width(query) >= LEAST_QUERY else None


def _long_enough(query: str, rest: str) -> Pair | None:
    passage = rest.strip()
    return (query, passage) if _width(passage) >= LEAST_PASSAGE else None


# --- one task


def _task(name: str, pairs: Sequence[Pair]) -> tuple[PseudoTask, TaskCounts]:
    """Make a task, without queries that word matching alone would find or that two passages answer."""
    queries = [_plain(query) for query, _ in pairs]
    passages = [_plain(passage) for _, passage in pairs]
    standing = standing_in(queries, passages)
    repeated = {number for number, query in enumerate(queries) if query in standing}
    of_query, of_passage = Counter(queries), Counter(passages)
    twice = {n for n in range(len(pairs)) if of_query[queries[n]] > 1 or of_passage[passages[n]] > 1}
    dropped = repeated | twice
    sources = tuple(n for n in range(len(pairs)) if n not in dropped)
    task = PseudoTask(name, tuple(pairs[n][0] for n in sources), tuple(passage for _, passage in pairs), sources)
    return task, TaskCounts(len(pairs), len(sources), len(repeated), len(twice - repeated))


def standing_in(queries: Iterable[str], passages: Iterable[str]) -> set[str]:
    """Return the queries that occur anywhere in a passage.

    Time is linear in the passages, no matter how many queries there are: a query is compared only where its beginning
    occurs. The length of a beginning is a power of two, so that there are few lengths to try.
    """
    by_beginning: dict[str, set[str]] = {}
    for query in queries:
        length = min(LONGEST_BEGINNING, 1 << (len(query).bit_length() - 1))
        by_beginning.setdefault(query[:length], set()).add(query)
    lengths = {len(beginning) for beginning in by_beginning}
    return {
        query
        for passage in passages
        for length in lengths
        for start in range(len(passage) - length + 1)
        for query in by_beginning.get(passage[start : start + length], ())
        if passage.startswith(query, start)
    }


# --- text

_PAUSE = re.compile(r"""(?P<mark>[.!?…؟۔।。｡！？]++)["'”’»)\]」』）】]*+(?P<gap>\s*+)|\n(?P<line>\s*+)""")
"""Matches a possible end of a sentence. A match consumes everything it has examined, so no character is read twice."""

_WIDE_MARKS = frozenset("。｡！？")
_WIDE = re.compile("[\u2e80-\U0003ffff]")


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, each with the white space that follows it; joined, they yield the text again.

    A sentence ends at a blank line, at 。！？, and at . ! ? … before white space, unless a lowercase letter follows
    ("e.g. this"). If white space also precedes the mark, as in tokenized text ("like this ."), case does not matter.
    Abbreviations before a capital letter ("Dr. Who") are not recognized. Time is linear in the text.
    """
    begin = len(text) - len(text.lstrip())
    ends = (pause.end() for pause in _PAUSE.finditer(text, begin) if _ends_sentence(text, pause))
    return [text[start:end] for start, end in pairwise(sorted({0, *ends, len(text)}))]


def _ends_sentence(text: str, pause: re.Match[str]) -> bool:
    mark, gap, line = pause.group("mark", "gap", "line")
    if not mark:
        return "\n" in line
    if gap.count("\n") > 1 or not _WIDE_MARKS.isdisjoint(mark):
        return True
    stands_apart = text[max(0, pause.start() - 1) : pause.start()].isspace()
    return bool(gap) and (stands_apart or not text[pause.end() : pause.end() + 1].islower())


def _plain(text: str) -> str:
    """Return a text in folded case, with single spaces as its only white space."""
    return " ".join(text.casefold().split())


def _width(text: str) -> int:
    """Return the length of a text in alphabetic characters; see WIDE_AS."""
    return len(text) + (WIDE_AS - 1) * len(_WIDE.findall(text))
