"""Which files of a folder or an archive are documents, and what is passed over: hidden, ignored, cached, generated."""

from __future__ import annotations

import gzip
import os
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semsearch.corpus.formats.code import is_generated, language_of_script
from semsearch.corpus.formats.table import format_of
from semsearch.corpus.gzipped import CORRUPT, ending_of
from semsearch.corpus.ignored import Rules, rules_of
from semsearch.corpus.plain import is_text
from semsearch.corpus.sources import ReadOptions
from semsearch.paths import printable, shown

STORES = frozenset({".git", ".hg", ".svn"})
"""Names of the folders in which version control keeps its history, which is never read."""

CACHES = {
    "node_modules": "packages that npm installs",
    "bower_components": "packages that Bower installs",
    "__pypackages__": "packages that PDM installs",
    "__pycache__": "compiled Python modules",
    "__MACOSX": "what macOS adds to archives",
}
"""Names of folders that hold what can be downloaded or made again, with what is in them."""

MARKERS = {"pyvenv.cfg": b"", "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55"}
"""Names of files that mark such a folder, with their first bytes: virtual environments of Python, and caches by the
Cache Directory Tagging Specification, such as Cargo's `target`."""

IGNORED, CACHED, GENERATED = "in .gitignore", "caches", "generated"
EXCLUDED, NOT_INCLUDED = "excluded", "not included"
"""Reasons why files and folders are passed over, as messages name them."""

HEAD = 2**12
"""Number of bytes by which a file without an extension is recognized as text."""


def recognized(path: str, options: ReadOptions, head: Callable[[int], bytes]) -> str | None:
    """Return the format of a file; without an extension, `text` for text such as README, and `code` for a script.

    Args:
        path: The file, or its path inside an archive.
        options: Options for reading.
        head: Returns so many of the first bytes of the file, decompressed; called only if the name does not decide.

    Raises:
        OSError: If a file without an extension cannot be read.
    """
    named = format_of(path, options)
    if named is not None or ending_of(path):
        return named
    try:
        first = head(HEAD)
    except (gzip.BadGzipFile, *CORRUPT):
        return None
    if not is_text(first):
        return None
    return "code" if language_of_script(first) else "text"


def is_left_out(path: str, file_format: str | None, options: ReadOptions, head: Callable[[int], bytes]) -> bool:
    """Return whether a file is source code that was generated or minified, which is passed over.

    Raises:
        OSError: If it cannot be read; what is wrong with gzip data is the business of its reader.
    """
    try:
        return file_format == "code" and not options.all_files and is_generated(path, head)
    except (gzip.BadGzipFile, *CORRUPT):
        return False


def what_is_ignored(folder: str, ignored: Counter[str]) -> str:
    """Return a warning about the files of a folder or an archive that are not documents, counted by extension."""
    return f'ignored files in "{shown(folder)}" that are not documents: {counts(ignored)}'


def kind_of(path: str) -> str:
    """Return the extension of a file that is no document, as messages name it."""
    return Path(path).suffix or "without an extension"


def what_is_passed_over(folder: str, omitted: Counter[str]) -> str:
    """Return a warning about what of a folder or an archive was passed over, counted by reason."""
    hint = "; pass `all_files` to read them too" if {*omitted} - {EXCLUDED, NOT_INCLUDED} else ""
    return f'passed over files and folders in "{shown(folder)}": {counts(omitted)}{hint}'


def tell_left_out(folder: str, ignored: Counter[str], omitted: Counter[str]) -> None:
    """Warn about the files of a folder that are not documents, and about what of it was passed over, if any."""
    if ignored:
        warnings.warn(what_is_ignored(folder, ignored), stacklevel=3)
    if omitted:
        warnings.warn(what_is_passed_over(folder, omitted), stacklevel=3)


def is_hidden(name: str, options: ReadOptions) -> bool:
    """Return whether a file or folder is passed over without being counted, by its name alone."""
    return name in STORES or (name.startswith(".") and not options.all_files)


@dataclass(frozen=True, slots=True)
class Choice:
    """The user's patterns for what lies in a folder or an archive."""

    included: Rules
    excluded: Rules

    @classmethod
    def of(cls, folder: str, options: ReadOptions) -> Choice:
        """Return the patterns of the options, which are relative to a folder."""
        return cls(rules_of(folder, options.include), rules_of(folder, options.exclude))

    def reason(self, path: str, *, is_folder: bool) -> str | None:
        """Return why a file or folder below that folder is passed over, or None if it is not."""
        if self.excluded.verdict(path, is_folder=is_folder):
            return EXCLUDED
        if self.included.rules and not is_folder and not self.included.covers(path):
            return NOT_INCLUDED
        return None


def is_marked(folder: str) -> bool:
    """Return whether a folder contains one of the MARKERS."""
    for name, head in MARKERS.items():
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            try:
                with open(path, "rb") as file:
                    if file.read(len(head)) == head:
                        return True
            except OSError:
                continue
    return False


def counts(counter: Counter[str]) -> str:
    """Return all counts, the highest first, and those that are equal by name."""
    ordered = sorted(counter.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{n:,} {printable(name)}" for name, n in ordered)
