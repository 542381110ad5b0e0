"""Location of query words in a text: FTS5 itself finds them, in a table with the tokenizers of an index.

A text is folded before it is indexed, which changes its characters and their number, so this module records for each
folded character where it came from.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

from semsearch.stores.words.keywords import (
    as_typed,
    exact_in,
    exact_tokens,
    fold,
    match_expression,
    phrases,
    spaced,
    spelled,
)
from semsearch.stores.words.tokenizer import EXACT_WORDS, WORDS
from semsearch.types import Term

Spans: TypeAlias = list[tuple[int, int]]
"""Character offsets into a text: half-open, ascending, without overlaps."""

OPENING, CLOSING = "\x02", "\x03"
"""Markers that FTS5 puts around a match; they never occur in the folded text passed to it."""

WORD = 40
"""Maximum number of characters of a word that is cached."""

_CHUNK = re.compile(r"\S+")
_CONTROL = dict.fromkeys((*range(0x20), *range(0xD800, 0xE000)), " ")
"""Characters to replace: NUL ends a text for `highlight`, two are its markers, and lone surrogates are invalid."""


_MATCH = re.compile(f"{OPENING}([^{CLOSING}]*){CLOSING}")


@dataclass(frozen=True, slots=True)
class _Traced:
    """A folded text with the origin of each of its characters: its start and end in the original text."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def join(cls, parts: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> _Traced:
        """Concatenate several parts."""
        texts, starts, ends = [], list[int](), list[int]()
        for text, some_starts, some_ends in parts:
            texts.append(text)
            starts += some_starts
            ends += some_ends
        return cls("".join(texts), starts, ends)

    def part(self, start: int, end: int) -> tuple[str, Sequence[int], Sequence[int]]:
        """Return a range of characters with their origins, in the form that `join` takes."""
        return self.text[start:end], self.starts[start:end], self.ends[start:end]


READ = 50_000
"""Number of characters examined at the start of a text; a passage is longer only if truncation was chosen."""

NOTHING = (" ", (0,), (0,))
"""An inserted space, which has no origin in the text."""


def find_matches(query: str, texts: Sequence[str]) -> list[Spans]:
    """Locate in each text what keyword search matches for a query: words in any inflection, pairs, exact tokens.

    Args:
        query: The query as it is searched.
        texts: Texts of passages, or titles.

    Returns:
        The matched spans of each text.
    """
    wanted = {WORDS: [match_expression(query)], EXACT_WORDS: [" OR ".join(exact_tokens(query))]}
    found: list[Spans] = [[] for _ in texts]
    for _, text, spans in _find(wanted, texts):
        found[text] += spans
    return [merge(spans) for spans in found]


def find_terms(query: str, text: str) -> dict[Term, Spans]:
    """Locate each term of a query in a text; terms are named as in `Readable.keyword_terms`."""
    words, exact = list(dict.fromkeys(phrases(query))), list(exact_tokens(query))
    named = {phrase: Term(as_typed(phrase), exact=False) for phrase in words}
    named |= {token: Term(as_typed(token), exact=True) for token in exact}
    every = _find({WORDS: words, EXACT_WORDS: exact}, [text])
    return {named[expression]: merge(list(spans)) for expression, _, spans in every}


def _find(
    wanted: Mapping[str, Sequence[str]], texts: Sequence[str]
) -> Iterator[tuple[str, int, Iterable[tuple[int, int]]]]:
    """Match each expression of each tokenizer with FTS5; yield it with the number of a matching text, and its spans."""
    traced: list[_Traced] = []
    with closing(sqlite3.connect(":memory:")) as connection:
        for number, (tokenizer, prepare) in enumerate(TABLES.items()):
            expressions = [expression for expression in wanted[tokenizer] if expression]
            if not expressions:
                continue
            traced = traced or [_trace(text[:READ]) for text in texts]
            rows, table = [prepare(one) for one in traced], f"table{number}"
            connection.execute(f'CREATE VIRTUAL TABLE {table} USING fts5(body, tokenize="{tokenizer}")')
            connection.executemany(f"INSERT INTO {table} (rowid, body) VALUES (?, ?)", enumerate(r.text for r in rows))
            marked = f"SELECT rowid, highlight({table}, 0, ?, ?) FROM {table} WHERE {table} MATCH ?"
            for expression in expressions:
                for row, body in connection.execute(marked, (OPENING, CLOSING, expression)):
                    yield expression, row, _unmark(body, rows[row])


def merge(spans: Spans) -> Spans:
    """Sort spans and merge those that overlap or touch."""
    merged: Spans = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _trace(text: str) -> _Traced:
    """Return `fold(text)` with the origin of each character; runs without white space are folded separately."""
    if text.isascii():
        return _Traced(text.translate(_CONTROL), range(len(text)), range(1, len(text) + 1))

    def parts() -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
        for chunk in _CHUNK.finditer(text):
            yield NOTHING
            first, end = chunk.span()
            if chunk[0].isascii():
                yield chunk[0].translate(_CONTROL), range(first, end), range(first + 1, end + 1)
            else:
                folded, starts, ends = (_trace_word if end - first <= WORD else _trace_chunk)(chunk[0])
                yield folded, [first + place for place in starts], [first + place for place in ends]

    return _Traced.join(parts())


def _trace_chunk(chunk: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """Return a folded run, with the start and end of each character's origin in the run."""
    pieces = list(_pieces(chunk))
    starts = [start for start, _, folded in pieces for _ in folded]
    ends = [end for _, end, folded in pieces for _ in folded]
    return "".join(folded for _, _, folded in pieces).translate(_CONTROL), starts, ends


_trace_word = lru_cache(4_096)(_trace_chunk)
"""Cached, because the same words recur throughout texts."""


def _pieces(chunk: str) -> Iterator[tuple[int, int, str]]:
    """Yield the pieces of a run as (start, end, folded text), such that the folded texts add up to the folded run."""
    bounds = _bounds(chunk)
    pieces = [(start, end, fold(chunk[start:end])) for start, end in pairwise(bounds)]
    whole = fold(chunk)
    if "".join(folded for _, _, folded in pieces) == whole:
        yield from pieces
        return
    start = done = 0  # adjacent characters affect each other, so fold every prefix
    for end in bounds[1:]:
        folded = fold(chunk[:end])
        if whole.startswith(folded) and len(folded) > done:
            yield start, end, whole[done : len(folded)]
            start, done = end, len(folded)
    if done < len(whole):
        yield start, len(chunk), whole[done:]


def _bounds(chunk: str) -> list[int]:
    """Return where each character begins, with the marks and format characters after it, and where the last ends."""
    starts = [
        place
        for place, character in enumerate(chunk)
        if character.isascii() or not place or unicodedata.category(character) not in ("Mn", "Mc", "Me", "Cf")
    ]
    return [*starts, len(chunk)]


def _body(traced: _Traced) -> _Traced:
    """Return the text as `keywords.body` indexes it, with spaces between the characters of unspaced scripts."""
    if traced.text.isascii():
        return traced
    return _Traced.join(NOTHING if space else traced.part(start, end) for space, start, end in spaced(traced.text))


def _tokens(traced: _Traced) -> _Traced:
    """Return the text as `keywords.tokens` indexes it: exact tokens, spelled as one word each."""
    parts = (traced.part(start, end) for start, end in exact_in(traced.text))
    return _Traced.join(one for text, starts, ends in parts for one in ((spelled(text), starts, ends), NOTHING))


def _unmark(marked: str, traced: _Traced) -> Iterator[tuple[int, int]]:
    """Yield the origins of the characters that FTS5 marked, except for spaces."""
    for n, match in enumerate(_MATCH.finditer(marked)):
        first = match.start() - 2 * n  # each earlier match is surrounded by two markers
        yield from (
            (traced.starts[place], traced.ends[place])
            for place, character in enumerate(match[1], first)
            if character != " "
        )


TABLES: dict[str, Callable[[_Traced], _Traced]] = {WORDS: _body, EXACT_WORDS: _tokens}
"""FTS5 tokenizers, each with the function that prepares texts for its table."""
