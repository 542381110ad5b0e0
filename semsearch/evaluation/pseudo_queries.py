"""Pseudo-queries from a corpus of one's own: a part of a document is the query, the rest is the passage to find.

title      the title is the query, the body the passage
sentence   one sentence of the body, not the first, is the query, the others are the passage
first      the first sentence of the body is the query, the others are the passage

A passage never holds a title, nor the query that was taken out of it. Each is the source of one query and a
distractor for the others. This module makes the tasks and knows nothing of encoders or measures.
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
"""About the 256 tokens that small models see."""

LEAST_QUERY = 40
LEAST_PASSAGE = 80
"""Widths of the shortest sentence that is a query, some 8 words, and of the shortest passage that can be found."""

LEAST_QUERIES = 2
"""With fewer a task ranks nothing."""

LONGEST_BEGINNING = 32
"""Characters, which few queries of a corpus share."""

WIDE_AS = 4
"""Characters of an alphabet that a Chinese, Japanese or Korean one counts as: both are about one token."""

Pair: TypeAlias = tuple[str, str]
"""A query and the passage that it was taken from, which does not hold it any more."""


@dataclass(frozen=True, slots=True)
class PseudoTask:
    """Queries, and the passages among which each has one source.

    Attributes:
        name: `title`, `sentence` or `first`.
        sources: `queries[i]` was taken from `passages[sources[i]]`; a passage may have lost its query.
    """

    name: str
    queries: tuple[str, ...]
    passages: tuple[str, ...]
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """What became of the queries of one task: kept, repeated or ambiguous; together as many as passages.

    Attributes:
        passages: One for each query that was made.
        queries: That were kept.
        repeated: Dropped, for their text stands in a passage.
        ambiguous: Dropped, for another query or another passage reads the same.
    """

    passages: int
    queries: int
    repeated: int
    ambiguous: int


@dataclass(frozen=True, slots=True)
class PseudoQuerySummary:
    """What the tasks were made from.

    Attributes:
        documents: Met in the corpus.
        sampled: Of those, used for at least one task.
        tasks: Counts by name, also of tasks that were left out.
    """

    documents: int
    sampled: int
    tasks: Mapping[str, TaskCounts]


def make_pseudo_tasks(
    documents: Iterable[Document], *, sample: int = 500, seed: int = 0, max_chars: int = MAX_CHARS
) -> tuple[list[PseudoTask], PseudoQuerySummary]:
    """Sample a corpus and hold a part of each document out.

    Case and white space do not count where texts are compared. A query that stands in any passage of its task is
    dropped, for words alone would find it; so are queries that two sources answer. Their passages stay.

    Args:
        documents: Read once and not kept; texts that begin alike, for `max_chars` characters, are taken once.
        sample: The most documents to use, drawn from those that are good for at least one task.
        seed: Decides with a document's text whether it is drawn and which sentence is held out; the order of the
            corpus does not matter to that.
        max_chars: Of a longer document the first sentences are used that have room in so many characters; a Chinese,
            Japanese or Korean character counts as four.

    Returns:
        The tasks that have at least two queries, and what was counted on the way.

    Raises:
        UsageError: A sample or a length that leaves nothing to compare.
        SourceError: No task has two queries.
    """
    if sample < LEAST_QUERIES:
        raise UsageError(f"`sample` is {sample}; expected {LEAST_QUERIES} or more documents")
    if max_chars < LEAST_QUERY + LEAST_PASSAGE:
        raise UsageError(f"`max_chars` is {max_chars}; expected {LEAST_QUERY + LEAST_PASSAGE} or more characters")
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
        f"{LEAST_QUERIES} of a kind, from different documents with a title or several sentences, and a text of "
        f"{LEAST_PASSAGE} characters or more besides"
    )


# --- sampling


def _sample(documents: Iterable[Document], size: int, seed: int, max_chars: int) -> tuple[int, list[dict[str, Pair]]]:
    """Count the documents and keep the pairs of some, in the order of the corpus.

    The sample are the texts with the smallest keys. A text that is met again has its old key, so it is either held
    already or was not small enough before: no list of all texts is needed to take each once.
    """
    heap: list[tuple[int, int, dict[str, Pair]]] = []  # minus the key, so that the largest comes first; position; pairs
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
    """A random number of 128 bits that belongs to the text under this seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest())


# --- one document


def _pairs(title: str, text: str, key: int, max_chars: int) -> dict[str, Pair]:
    """The document's query and passage for each task that it is good for."""
    sentences = _window(text, max_chars)
    if sentences and _plain(sentences[0]) == _plain(title):
        del sentences[0]  # a heading that repeats the title
    made = {name: make(title.strip(), sentences, key) for name, make in MAKERS.items()}
    return {name: pair for name, pair in made.items() if pair}


def _window(text: str, max_chars: int) -> list[str]:
    """The first sentences of a text, as many as have room; of a first one that is too long, the beginning."""
    sentences = split_sentences(text[: max_chars + 1])  # one more, to see whether a sentence ends before it
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
"""What each task makes of a document's title, its sentences and its random key."""


def _held_out(sentences: Sequence[str], number: int) -> Pair | None:
    query = sentences[number].strip()
    rest = "".join((*sentences[:number], *sentences[number + 1 :]))
    return _long_enough(query, rest) if _width(query) >= LEAST_QUERY else None


def _long_enough(query: str, rest: str) -> Pair | None:
    passage = rest.strip()
    return (query, passage) if _width(passage) >= LEAST_PASSAGE else None


# --- one task


def _task(name: str, pairs: Sequence[Pair]) -> tuple[PseudoTask, TaskCounts]:
    """Drop the queries that could be found without understanding, or rightly in two places."""
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
    """The queries that stand somewhere in a passage.

    Time is linear in the passages, however many queries there are: each is looked for only where its beginning, of a
    power of two of characters so that there are few lengths to try, is met.
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
"""What may end a sentence. A match takes all that it has looked at, so that no character is read twice."""

_WIDE_MARKS = frozenset("。｡！？")
_WIDE = re.compile("[\u2e80-\U0003ffff]")


def split_sentences(text: str) -> list[str]:
    """Cut a text into its sentences, each with the white space behind it; joined they are the text again.

    A sentence ends at a blank line, at 。！？, and at . ! ? … before white space, unless a lower case letter goes on
    ("e.g. this"). Where the mark itself stands apart, as in text that was cut into words , case does not matter .
    Abbreviations before a capital ("Dr. Who") are not known. Time is linear in the text.
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
    """A text without its case and its layout."""
    return " ".join(text.casefold().split())


def _width(text: str) -> int:
    """Length in characters of an alphabet; see WIDE_AS."""
    return len(text) + (WIDE_AS - 1) * len(_WIDE.findall(text))
