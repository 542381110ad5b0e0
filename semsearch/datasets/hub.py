"""Dataset repositories of the Hugging Face hub: what they hold at a commit, and their files."""

from __future__ import annotations

import errno
import hashlib
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from semsearch.errors import SourceError

TIMEOUT = 30.0  # seconds

DISK_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at a commit.

    Attributes:
        files: What the hub says of each: the sha256 of a large file, git's id of any other, None where it is silent.
    """

    repo: str
    commit: str
    files: Mapping[str, str | None]


@contextmanager
def _reaching(repo: str) -> Iterator[None]:
    """Makes one line of whatever the hub's client raises, which differs by its version; the disk's errors pass."""
    from huggingface_hub import constants

    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        said = error.__cause__ or error  # the cause names the status, where the error gives advice
        words = str(said).partition(" for url")[0]  # which may be a signed one
        reason = textwrap.shorten(f"{type(said).__name__}: {words}", 240, placeholder=" …")
        hint = HINTS.get(type(error).__name__, "check the network and try again; what was downloaded is kept")
        raise SourceError(f"{repo} cannot be fetched from {constants.ENDPOINT} ({reason}); {hint}") from None


HINTS = {
    "RepositoryNotFoundError": "it is gone or closed: look for a newer semsearch",
    "RevisionNotFoundError": "the commit is gone: use `refresh` to take what the hub has now",
}
"""What to do about the hub's own errors, by class."""


def list_files(repo: str, revision: str) -> Listing:
    """What a repository holds at a commit, branch or tag."""
    from huggingface_hub import HfApi

    with _reaching(repo):
        info = HfApi().dataset_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    files = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in info.siblings or ()}
    return Listing(repo, info.sha or revision, files)


def download(listing: Listing, file: str, cache: Path) -> Path:
    """A file of a repository, as it was at that commit; what an interruption left is gone on with."""
    from huggingface_hub import hf_hub_download

    with _reaching(listing.repo):
        return Path(
            hf_hub_download(listing.repo, file, repo_type="dataset", revision=listing.commit, cache_dir=str(cache))
        )


def git_id(path: Path) -> str:
    """What git calls a file's content: the SHA-1 of its length and bytes."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
