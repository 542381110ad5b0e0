"""FTS5's tokenizers, applied to texts outside of any index: SQLite itself says which tokens a text consists of."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

EXACT_WORDS = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
WORDS = f"porter {EXACT_WORDS}"
"""FTS5 tokenizers of an index, for exact tokens and for words."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of several texts.

    Attributes:
        distinct: The distinct tokens, in UTF-8, ascending.
        numbers: For each token of each text, one text after another, its place in `distinct`; int64 `[n_tokens]`.
        starts: Where each text's tokens begin in `numbers`, and where the last one's end; int64 `[n_texts + 1]`.
    """

    distinct: list[bytes]
    numbers: NDArray[np.int64]
    starts: NDArray[np.int64]

    def of(self, text: int) -> list[bytes]:
        """Return the tokens of one text, in order."""
        return [self.distinct[number] for number in self.numbers[self.starts[text] : self.starts[text + 1]]]


class Tokenizer:
    """One of FTS5's tokenizers, in a database in memory that threads take turns with; see `tokenizer`."""

    def __init__(self, name: str) -> None:
        self._lock = Lock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.text_factory = bytes  # FTS5 truncates tokens at 32,768 bytes, perhaps within a character
        table = f'CREATE VIRTUAL TABLE texts USING fts5(text, content="", columnsize=0, tokenize="{name}")'
        self._connection.execute(table)
        self._connection.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab(texts, instance)")

    def tokens(self, texts: Iterable[str]) -> Tokens:
        """Split texts into tokens."""
        rows, distinct = list(enumerate(texts)), dict[bytes, int]()
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                self._connection.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", rows)
                tokens = self._connection.execute("SELECT term, doc, offset FROM tokens")  # ordered by term
                found = [(distinct.setdefault(term or b"", len(distinct)), text, at) for term, text, at in tokens]
            finally:
                self._connection.execute("ROLLBACK")
        columns = np.array(found, np.int64).reshape(-1, 3)
        columns = columns[np.lexsort((columns[:, 2], columns[:, 1]))]
        return Tokens(list(distinct), columns[:, 0], np.searchsorted(columns[:, 1], np.arange(len(rows) + 1)))


def tokenizer(name: str) -> Tokenizer:
    """Return the tokenizer `WORDS` or `EXACT_WORDS`, of which a forked process gets its own."""
    return _tokenizer(name, os.getpid())


@cache
def _tokenizer(name: str, process: int) -> Tokenizer:
    return Tokenizer(name)
