"""Dataset repositories on the Hugging Face hub: listing and downloading their files at a commit."""

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
    """Files of a repository at a commit.

    Attributes:
        files: Checksum of each file, as published by the hub: sha256 of a large file, git blob id of any other, or
            None.
    """

    repo: str
    commit: str
    files: Mapping[str, str | None]


@contextmanager
def _reaching(repo: str) -> Iterator[None]:
    """Convert the hub client's errors, which vary by version, to SourceErrors of one line; disk errors pass through."""
    from huggingface_hub import constants

    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        said = error.__cause__ or error  # the cause names the status, while the error gives advice
        words = str(said).partition(" for url")[0]  # the URL may be signed
        reason = textwrap.shorten(f"{type(said).__name__}: {words}", 240, placeholder=" …")
        hint = HINTS.get(type(error).__name__, "check the network and try again; completed downloads are kept")
        raise SourceError(f"{repo} cannot be fetched from {constants.ENDPOINT} ({reason}); {hint}") from None


HINTS = {
    "RepositoryNotFoundError": "the repository was removed or made private: upgrade semsearch",
    "RevisionNotFoundError": "the commit no longer exists: use `refresh` to get the hub's current version",
}
"""Advice for the hub client's own errors, by class name."""


def list_files(repo: str, revision: str) -> Listing:
    """List the files of a repository at a commit, branch or tag."""
    from huggingface_hub import HfApi

    with _reaching(repo):
        info = HfApi().dataset_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
    files = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in info.siblings or ()}
    return Listing(repo, info.sha or revision, files)


def download(listing: Listing, file: str, cache: Path) -> Path:
    """Download a file of a repository at a commit, resuming an interrupted download."""
    from huggingface_hub import hf_hub_download

    with _reaching(listing.repo):
        return Path(
            hf_hub_download(listing.repo, file, repo_type="dataset", revision=listing.commit, cache_dir=str(cache))
        )


def git_id(path: Path) -> str:
    """Compute the git blob id of a file: the SHA-1 of its length and content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
