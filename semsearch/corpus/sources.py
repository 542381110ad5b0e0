"""Which files a path stands for, and how they are to be read. Knows names and endings, nothing of what is inside."""

from __future__ import annotations

import gzip
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.paths import as_path

STDIN = "-"

ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read a corpus.

    Attributes:
        id_field: None takes `_id`, else `id`.
        format: One of FORMATS, or an ending such as `txt` for it, for every file; None goes by each file name's ending
            (standard input: jsonl).
        per_line: Plain text holds a document a line, not a document a file.
    """

    id_field: str | None = None
    text_field: str = "text"
    title_field: str = "title"
    format: str | None = None
    per_line: bool = False

    def __post_init__(self) -> None:
        for name, value in (("id", self.id_field or ""), ("text", self.text_field), ("title", self.title_field)):
            if not isinstance(value, str):
                raise UsageError(f"`{name}_field` is {value!r:.60}; expected the name of a field")
        object.__setattr__(self, "format", ENDINGS.get(f".{self.format}", self.format))


@dataclass(frozen=True, slots=True)
class Source:
    """A file or standard input, not yet open.

    Attributes:
        name: As the user named it, for messages.
        relative: Path below the folder that was given, with `/`; the file's name where a file was given.
        path: Where it is, or STDIN.
        format: A key of READERS.
    """

    name: str
    relative: str
    path: str
    format: str

    def open(self) -> AbstractContextManager[BinaryIO | BufferedIOBase]:
        """The bytes, decompressed on the way where the name ends in .gz; standard input stays open on leaving."""
        if self.path == STDIN:
            return nullcontext(sys.stdin.buffer)
        return gzip.open(self.path) if self.path.lower().endswith(".gz") else open(self.path, "rb")


def as_written(path: object, name: str = "path") -> str:
    """A path as text, in its user's own spelling: a Path would drop a leading `./`.

    Raises:
        UsageError: It is neither text nor a path; `name` is the parameter that it was given for.
    """
    return path if isinstance(path, str) else str(as_path(path, name))


def find_sources(path: str | os.PathLike[str], options: ReadOptions) -> Iterator[Source | RecordError]:
    """The files that a path stands for, which is looked at when this is called.

    Args:
        path: A file, a folder, or STDIN.
        options: How they are to be read.

    Raises:
        UsageError: The path is neither text nor a path.
        SourceError: It does not exist, has an unknown ending, or is a folder with nothing to read.
    """
    given = as_written(path)
    if given == STDIN:
        return iter((Source("<stdin>", "<stdin>", STDIN, options.format or "jsonl"),))
    if not os.path.exists(given):
        raise SourceError(f'"{shown(given)}" does not exist; expected a file, a folder, or "-" for standard input')
    corpus = os.path.join(given, "corpus.jsonl")
    if os.path.isfile(corpus) and options.format in (None, "jsonl"):
        given = corpus
    if not os.path.isdir(given):
        source = _source(given, os.path.basename(given), options)
        if source is None:
            raise SourceError(
                f'"{shown(given)}" has an unknown ending; expected {_endings()}, or name its format with `format`'
            )
        return iter((source,))
    found = _in_folder(given, options)
    first = next(found, None)
    if first is None:
        raise SourceError(f'"{shown(given)}" holds no file that can be read; expected {_endings()}')
    return chain((first,), found)


def _source(path: str, relative: str, options: ReadOptions) -> Source | None:
    """The file as a source, None where its ending is unknown."""
    ending = Path(path.lower().removesuffix(".gz")).suffix
    file_format = options.format or ENDINGS.get(ending)
    return Source(_printable(path), Path(relative).as_posix(), path, file_format) if file_format else None


def _printable(path: str) -> str:
    """A path for a message, also where it is not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def shown(path: str) -> str:
    """What was given as a path, on one line; it may be a whole text."""
    line = " ".join(_printable(path).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _endings() -> str:
    return f"{', '.join(ENDINGS)} (each also .gz)"


def _in_folder(folder: str, options: ReadOptions) -> Iterator[Source | RecordError]:
    """The files below; each real folder is entered once, so that a loop of links ends.

    Warns at the end of files whose endings are unknown; hidden ones are passed over without a word.
    """
    entered: set[str] = set()
    ignored: Counter[str] = Counter()
    found = False
    stack = [folder]
    while stack:
        path = stack.pop()
        if os.path.isdir(path):
            real = os.path.realpath(path)
            if real in entered:
                continue
            entered.add(real)
            try:
                names = sorted((name for name in os.listdir(path) if not name.startswith(".")), reverse=True)
            except OSError as error:
                yield RecordError(path, None, f"cannot be read: {error.strerror}")
            else:
                stack.extend(os.path.join(path, name) for name in names)
        # A broken link is passed on to be reported; a pipe or a device would block.
        elif os.path.isfile(path) or not os.path.exists(path):
            source = _source(path, os.path.relpath(path, folder), options)
            if source is not None:
                found = True
                yield source
            elif os.path.isfile(path):
                ignored[Path(path).suffix or "without an ending"] += 1
    if found and ignored:
        listed = ", ".join(f"{n} {ending}" for ending, n in ignored.most_common(8))
        warnings.warn(f'files in "{folder}" that cannot be read as documents were ignored: {listed}', stacklevel=2)
