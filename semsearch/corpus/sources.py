"""Finding the files that a path stands for, and their formats, by name and ending alone."""

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
    """Options for reading a corpus.

    Attributes:
        id_field: Field that holds the id; None for `_id`, or else `id`.
        text_field: Field that holds the text.
        title_field: Field that holds the title; records may lack it.
        format: One of FORMATS, or an ending such as `txt`, for every file; None to choose by the ending of each file
            (standard input: jsonl).
        per_line: Treat each line of a text file as a document, rather than each file.

    Raises:
        UsageError: The name of a field is not text.
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
        name: The file as the user named it, for messages.
        relative: Path relative to the given folder, with `/`; the file name if a file was given.
        path: The path to open, or STDIN.
        format: A key of READERS.
    """

    name: str
    relative: str
    path: str
    format: str

    def open(self) -> AbstractContextManager[BinaryIO | BufferedIOBase]:
        """Open the bytes, decompressed if the name ends in .gz; standard input stays open afterwards."""
        if self.path == STDIN:
            return nullcontext(sys.stdin.buffer)
        return gzip.open(self.path) if self.path.lower().endswith(".gz") else open(self.path, "rb")


def as_written(path: object, name: str = "path") -> str:
    """Return a path as text, as the user spelled it: a Path would drop a leading `./`.

    Raises:
        UsageError: It is neither text nor a path; `name` is the parameter that it was given for.
    """
    return path if isinstance(path, str) else str(as_path(path, name))


def find_sources(path: str | os.PathLike[str], options: ReadOptions) -> Iterator[Source | RecordError]:
    """Find the files that a path stands for; the path itself is checked when this is called.

    Args:
        path: A file, a folder, or STDIN.
        options: Options for reading.

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
                f'"{shown(given)}" has an unknown ending; expected {_endings()}, or give its format with `format`'
            )
        return iter((source,))
    found = _in_folder(given, options)
    first = next(found, None)
    if first is None:
        raise SourceError(f'"{shown(given)}" holds no file that can be read; expected {_endings()}')
    return chain((first,), found)


def _source(path: str, relative: str, options: ReadOptions) -> Source | None:
    """Return the file as a source, or None if its ending is unknown."""
    ending = Path(path.lower().removesuffix(".gz")).suffix
    file_format = options.format or ENDINGS.get(ending)
    return Source(_printable(path), Path(relative).as_posix(), path, file_format) if file_format else None


def _printable(path: str) -> str:
    """Make a path printable that may not be UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def shown(path: str) -> str:
    """Shorten for a message what was given as a path, which may be a whole text."""
    line = " ".join(_printable(path).split())
    return line if len(line) <= 300 else f"{line[:299]}…"


def _endings() -> str:
    return f"{', '.join(ENDINGS)} (each also .gz)"


def _in_folder(folder: str, options: ReadOptions) -> Iterator[Source | RecordError]:
    """Walk a folder; each real folder is entered once, so that a loop of links ends.

    A warning at the end counts files with unknown endings; hidden files are skipped silently.
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
        # A broken link is yielded, to be reported; a pipe or a device would block.
        elif os.path.isfile(path) or not os.path.exists(path):
            source = _source(path, os.path.relpath(path, folder), options)
            if source is not None:
                found = True
                yield source
            elif os.path.isfile(path):
                ignored[Path(path).suffix or "without an ending"] += 1
    if found and ignored:
        listed = ", ".join(f"{n} {ending}" for ending, n in ignored.most_common(8))
        warnings.warn(f'ignored files in "{folder}" that are not documents: {listed}', stacklevel=2)
