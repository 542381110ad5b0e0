"""What is to be read, and how: a file that is not open yet, and the options of the user."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import BinaryIO

from semsearch.corpus.gzipped import Count, open_bytes
from semsearch.errors import UsageError
from semsearch.types import Origin

STDIN = "-"

BLOCK = 2**20
"""Number of bytes to read at once from a file that is not on this machine, since each request takes its time."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a corpus.

    Attributes:
        id_field: Name of the field with the id; None for `_id`, or else `id`, or else an id derived from the content.
        text_field: Name of the field with the text, or several names, as a tuple or separated by commas; the fields are
            then joined, each on a line with its name. A name that itself contains a comma works, too.
        title_field: Name of the field with the title, which is optional in a record.
        format: Format of every file, such as `markdown`, or an extension such as `md`; None to choose by the name of
            each file (`jsonl` for standard input).
        per_line: Whether to treat each line of a text file as a document, rather than the whole file.
        follow_links: Whether to follow symbolic links that lead out of a folder; by default they are counted and
            skipped.
        all_files: Whether to read all files of a folder that can be read, even those that are hidden, that a
            `.gitignore` names, that lie in a cache, or that were generated; see `semsearch.corpus.selection`.
        include: Patterns as in a `.gitignore`, relative to the given folder; of a folder, only the files that match
            one, or that lie in a folder that does, are read. Empty for all.
        exclude: Patterns of the same kind; files and folders that match one are passed over.
        need_ids: Whether a record of a file without an id is bad, rather than given an id derived from its content.

    Raises:
        UsageError: If a field name is not a string, there is none for the text, or the patterns are not strings.
    """

    id_field: str | None = None
    text_field: str | tuple[str, ...] = "text"
    title_field: str = "title"
    format: str | None = None
    per_line: bool = False
    follow_links: bool = False
    all_files: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    need_ids: bool = False

    def __post_init__(self) -> None:
        for name, value in (("id", self.id_field or ""), ("title", self.title_field)):
            if not isinstance(value, str):
                raise UsageError(f"`{name}_field` is {value!r:.60}; expected a field name")
        names = self.text_field if isinstance(self.text_field, tuple) else (self.text_field,)
        if not names or not all(isinstance(name, str) for name in names):
            raise UsageError(f"`text_field` is {self.text_field!r:.60}; expected a field name, or a tuple of names")
        for name, globs in (("include", self.include), ("exclude", self.exclude)):
            if isinstance(globs, str) or not all(isinstance(glob, str) and glob.strip() for glob in globs):
                raise UsageError(f"`{name}` is {globs!r:.60}; expected a list of patterns such as '*.md'")
            object.__setattr__(self, name, tuple(globs))  # hashable, as options are


@dataclass(frozen=True, slots=True)
class Source:
    """A file, here or of a URL, a member of an archive, or standard input, not yet opened.

    Attributes:
        name: The file as the user named it, for messages.
        path: The path to open, STDIN, or a URL without secrets.
        format: A key of FORMATS.
        origin: Root of the file and path relative to it, as stored in an index.
        inner: Path inside an archive or container, with `/` as separator; empty for a file.
        opened: Function that opens a member of an archive, or a file of a URL; None for a file on this machine.
        stored: Size in bytes and time of modification in nanoseconds of these, as far as they are known.
        count: Receives the number of bytes, of the file itself, whenever some are read.
    """

    name: str
    path: str
    format: str
    origin: Origin
    inner: str = ""
    opened: Callable[[], AbstractContextManager[BinaryIO | BufferedIOBase]] | None = None
    stored: tuple[int, int] | None = None
    count: Count | None = field(default=None, compare=False, repr=False)

    @property
    def doc_id(self) -> str:
        """The id of the document, if the file is a single document."""
        return f"{self.origin.doc_id}/{self.inner}" if self.inner else self.origin.doc_id

    def open(self) -> AbstractContextManager[BinaryIO | BufferedIOBase]:
        """Open the source for reading bytes, decompressed if the name ends in .gz; standard input stays open."""
        if self.opened:
            return self.opened()
        if self.path == STDIN:
            return nullcontext(sys.stdin.buffer)
        return open_bytes(self.path, self.count)
