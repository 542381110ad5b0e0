"""What is at the paths that a run was given: files, folders, patterns, and URLs."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from semsearch.corpus.beir import BEIR_CORPUS, may_be_beir, what_is_beside
from semsearch.corpus.globs import Glob
from semsearch.corpus.remote import Place, find_place, is_folder
from semsearch.corpus.roots import Coverage
from semsearch.corpus.sources import STDIN, ReadOptions
from semsearch.errors import SourceError
from semsearch.paths import shown
from semsearch.types import Origin
from semsearch.urls import local_path, scheme_of, without_secrets

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo


@dataclass(frozen=True, slots=True)
class Given:
    """A path that a run was given, once it is known what is there.

    Attributes:
        path: The file or folder to read, as the user spelled it, or STDIN; of a pattern, the folder before it.
        real: The absolute path with links resolved, or the URL without secrets.
        is_folder: Whether it is a folder.
        glob: The pattern that restricts the folder, if there is one.
        remote: Where it is and what pyarrow says about it, if it is a URL.
    """

    path: str
    real: str
    is_folder: bool
    glob: Glob | None = None
    remote: tuple[Place, FileInfo] | None = None

    def origin(self, coverage: Coverage) -> Origin:
        """Return the file or folder by its root, which is known now."""
        return Origin(None, "<stdin>") if self.path == STDIN else coverage.origin_of(self.real, found=False)

    def __str__(self) -> str:
        """Return what was given, as messages name it."""
        return shown(os.path.join(self.path, *self.glob.parts) if self.glob else self.path)


def place_of(path: str) -> str:
    """Return where a given path leads, as an index stores it: absolute, or a URL without secrets; STDIN has a name.

    Of a pattern, it is the folder before it.
    """
    path = local_path(path)
    if path == STDIN:
        return "<stdin>"
    if scheme_of(path):
        return without_secrets(_folder_and_glob(path)[0])
    glob = glob_of(path)
    return str(Path(glob.base if glob else path).resolve())


def glob_of(path: str) -> Glob | None:
    """Return the pattern that a path is, unless there is something of this very name."""
    return None if os.path.lexists(path) else Glob.of(path)


def given_at(path: str, options: ReadOptions) -> Given:
    """Find out what is at a path.

    Raises:
        SourceError: If nothing is there that can be read, or nobody answers.
        UsageError: If pyarrow cannot open a URL.
    """
    if path == STDIN:
        return Given(path, path, is_folder=False)
    if scheme_of(path):
        return _given_url(path, options)
    glob = glob_of(path)
    if glob is None:
        corpus = _corpus_of(path, options)
        return Given(corpus, os.path.realpath(corpus), os.path.isdir(corpus))
    folder = glob.base or os.curdir
    if not os.path.isdir(folder):
        raise SourceError(
            f'"{shown(path)}" does not exist; as a pattern it needs the folder "{shown(folder)}", which does not exist '
            "either"
        )
    return Given(folder, os.path.realpath(folder), is_folder=True, glob=glob)


def _given_url(url: str, options: ReadOptions) -> Given:
    """Find out what is at a URL."""
    address, glob = _folder_and_glob(url)
    place, info = find_place(address)
    if glob and info.is_file:
        raise SourceError(f'"{shown(without_secrets(url))}" needs the folder "{shown(place.url)}", which is a file')
    if not glob and not info.is_file and may_be_beir(options):
        place, info = _remote_corpus_of(place, info, options)
    return Given(place.url, place.url, not info.is_file, glob, (place, info))


def _folder_and_glob(url: str) -> tuple[str, Glob | None]:
    """Return a URL without a pattern or, if its path has `*` or `[`, the folder before these and the pattern."""
    address, mark, settings = url.partition("?")
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    glob = Glob.of(path, "*[")
    if glob is None:
        return url, None
    return f"{scheme}://{host}/{glob.base}{mark}{settings}", Glob(glob.base, tuple(map(unquote, glob.parts)))


def _remote_corpus_of(place: Place, info: FileInfo, options: ReadOptions) -> tuple[Place, FileInfo]:
    """Return what can be read as a corpus: of a folder in the BEIR layout, the file with its documents."""
    try:
        there = {one.base_name: one for one in place.listed()}
    except OSError as error:
        raise SourceError(f'"{shown(place.url)}" cannot be listed: {error.strerror}') from None
    for name in BEIR_CORPUS:
        if name in there and there[name].is_file:
            _warn_of_the_rest(place.url, name, {one: is_folder(there[one]) for one in there}, options)
            return place.at(name), there[name]
    return place, info


def _corpus_of(path: str, options: ReadOptions) -> str:
    """Return a path that can be read as a corpus: for a folder in the BEIR layout, the file with its documents.

    Raises:
        SourceError: If the path does not exist, or is neither a file nor a folder.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        missing = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
        if isinstance(error, OSError) and error.errno not in missing:
            raise SourceError(f'"{shown(path)}" cannot be read: {error.strerror}') from None
        raise SourceError(
            f'"{shown(path)}" does not exist; expected a file, a folder, or "-" for standard input'
        ) from None
    if stat.S_ISREG(mode):
        return path
    if not stat.S_ISDIR(mode):
        raise SourceError(
            f'"{shown(path)}" is neither a file nor a folder; to index the output of a pipe or device, redirect it '
            "to standard input: semsearch index - < PIPE"
        )
    for name in BEIR_CORPUS if may_be_beir(options) else ():
        if os.path.isfile(os.path.join(path, name)):
            _warn_of_the_rest(
                path, name, {one: os.path.isdir(os.path.join(path, one)) for one in os.listdir(path)}, options
            )
            return os.path.join(path, name)
    return path


def _warn_of_the_rest(folder: str, corpus: str, entries: Mapping[str, bool], options: ReadOptions) -> None:
    """Warn about what is not read because its folder is in the BEIR layout; see `what_is_beside`."""
    if unread := what_is_beside(folder, corpus, entries, options):
        warnings.warn(f"{unread} (pass their paths to read them too)", stacklevel=2)
