"""Metadata of a document that is a file: what the file system and the text itself tell about it."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from semsearch.corpus.languages import language_of
from semsearch.corpus.sources import STDIN, Source

WITHOUT_LANGUAGE = ("code",)
"""Formats whose documents are not in a natural language."""


def about(source: Source, text: str) -> dict[str, str | int]:
    """Return what is known about a file.

    Args:
        source: The file.
        text: The text of its document.

    Returns:
        `path` (the id), `type` (the format), `size` (bytes on disk), `modified` (ISO 8601 in UTC, to the second) and
        `language` (ISO 639-1), each only if it is known.

    Raises:
        OSError: If the file no longer exists.
    """
    found: dict[str, str | int] = {"path": source.doc_id, "type": source.format}
    if stored := _stored(source):
        found["size"], nanoseconds = stored
        if modified := moment_of(nanoseconds):
            found["modified"] = modified
    language = None if source.format in WITHOUT_LANGUAGE else language_of(text)
    return {**found, "language": language} if language else found


def _stored(source: Source) -> tuple[int, int] | None:
    """Return the size in bytes and the time of modification in nanoseconds, if there is a file."""
    if source.opened or source.path == STDIN:
        return source.stored
    status = os.stat(source.path)
    return status.st_size, status.st_mtime_ns


def moment_of(nanoseconds: int) -> str | None:
    """Return a time since 1970 such as `2026-01-31T10:00:00Z`; None outside the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    except (ValueError, OverflowError, OSError):
        return None
