"""Where the words of a query stand in a text: FTS5 itself finds them, in a table with the tokenizers of an index.

A text is folded before it is indexed, which changes its characters and their number, so this module keeps for each
folded character the place that it came from.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from semsearch.stores.local.keywords import (
    EXACT_WORDS,
    WORDS,
    exact_in,
    exact_tokens,
    fold,
    match_expression,
    spaced,
    spelled,
)

Spans: TypeAlias = list[tuple[int, int]]
"""Character offsets into a text, half open, ascending, without overlaps."""

OPENING, CLOSING = "\x02", "\x03"
"""What FTS5 puts around a match; no folded text that is handed to it has them."""

_CHUNK = re.compile(r"\S+")
_CONTROL = dict.fromkeys(range(0x20), " ")


_MATCH = re.compile(f"{OPENING}([^{CLOSING}]*){CLOSING}")


@dataclass(frozen=True, slots=True)
class _Traced:
    """A folded text, and where each of its characters comes from: start and end in the text as it was."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def join(cls, parts: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> _Traced:
        """Several such, one behind the other."""
        texts, starts, ends = [], list[int](), list[int]()
        for text, some_starts, some_ends in parts:
            texts.append(text)
            starts += some_starts
            ends += some_ends
        return cls("".join(texts), starts, ends)

    def part(self, start: int, end: int) -> tuple[str, Sequence[int], Sequence[int]]:
        """What `join` takes, of some of its characters."""
        return self.text[start:end], self.starts[start:end], self.ends[start:end]


NOTHING = (" ", (0,), (0,))
"""A space that was put in."""


def find_matches(query: str, texts: Sequence[str]) -> list[Spans]:
    """Where each text has what keyword search finds for a query: words with their endings, pairs, exact tokens.

    Args:
        query: As it is searched.
        texts: Of passages, or titles.
    """
    expression, exact = match_expression(query), " OR ".join(exact_tokens(query))
    if not expression:
        return [[] for _ in texts]
    traced = [_trace(text) for text in texts]
    found: list[Spans] = [[] for _ in texts]
    with closing(sqlite3.connect(":memory:")) as connection:
        for table, wanted, prepare in (("words", expression, _body), ("exact", exact, _tokens)):
            if not wanted:
                continue
            tokenize = WORDS if table == "words" else EXACT_WORDS
            connection.execute(f'CREATE VIRTUAL TABLE {table} USING fts5(body, tokenize="{tokenize}")')
            rows = [prepare(one) for one in traced]
            connection.executemany(f"INSERT INTO {table} (rowid, body) VALUES (?, ?)", enumerate(r.text for r in rows))
            marked = f"SELECT rowid, highlight({table}, 0, ?, ?) FROM {table} WHERE {table} MATCH ?"
            for row, text in connection.execute(marked, (OPENING, CLOSING, wanted)):
                found[row] += _unmark(text, rows[row])
    return [merge(spans) for spans in found]


def merge(spans: Spans) -> Spans:
    """Spans in ascending order, those that overlap or touch made one."""
    merged: Spans = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _trace(text: str) -> _Traced:
    """`fold(text)`, with the origin of each character; chunks without white space are folded by themselves."""
    if text.isascii():
        return _Traced(text.translate(_CONTROL), range(len(text)), range(1, len(text) + 1))

    def parts() -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
        for chunk in _CHUNK.finditer(text):
            yield NOTHING
            if chunk[0].isascii():
                start, end = chunk.span()
                yield chunk[0].translate(_CONTROL), range(start, end), range(start + 1, end + 1)
                continue
            for start, end, folded in _pieces(chunk[0]):
                n = len(folded)
                yield folded.translate(_CONTROL), [chunk.start() + start] * n, [chunk.start() + end] * n

    return _Traced.join(parts())


def _pieces(chunk: str) -> Iterator[tuple[int, int, str]]:
    """Pieces of a chunk, start and end, and what each is folded to, such that these make up the folded chunk."""
    bounds = _bounds(chunk)
    pieces = [(start, end, _fold_character(chunk[start:end])) for start, end in zip(bounds, bounds[1:], strict=False)]
    whole = fold(chunk)
    if "".join(folded for _, _, folded in pieces) == whole:
        yield from pieces
        return
    start = done = 0  # neighbors change one another, so ask what every beginning is folded to
    for end in bounds[1:]:
        folded = fold(chunk[:end])
        if whole.startswith(folded) and len(folded) > done:
            yield start, end, whole[done : len(folded)]
            start, done = end, len(folded)
    if done < len(whole):
        yield start, len(chunk), whole[done:]


_fold_character = lru_cache(4_096)(fold)
"""Texts have the same characters again and again."""


def _bounds(chunk: str) -> list[int]:
    """Where characters begin, with the marks and formats behind them, and where the last one ends."""
    starts = [
        place
        for place, character in enumerate(chunk)
        if character.isascii() or not place or unicodedata.category(character) not in ("Mn", "Mc", "Me", "Cf")
    ]
    return [*starts, len(chunk)]


def _body(traced: _Traced) -> _Traced:
    """As `keywords.body` has it: unspaced scripts spaced."""
    if traced.text.isascii():
        return traced
    return _Traced.join(NOTHING if space else traced.part(start, end) for space, start, end in spaced(traced.text))


def _tokens(traced: _Traced) -> _Traced:
    """As `keywords.tokens` has it: exact tokens, spelled as one word each."""
    parts = (traced.part(start, end) for start, end in exact_in(traced.text))
    return _Traced.join(one for text, *origins in parts for one in ((spelled(text), *origins), NOTHING))


def _unmark(marked: str, traced: _Traced) -> Iterator[tuple[int, int]]:
    """The origins of what FTS5 has marked, without the spaces inside."""
    for n, match in enumerate(_MATCH.finditer(marked)):
        first = match.start() - 2 * n  # two marks stand around each match before this one
        yield from (
            (traced.starts[place], traced.ends[place])
            for place, character in enumerate(match[1], first)
            if character != " "
        )
