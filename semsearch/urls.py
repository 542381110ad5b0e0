"""URLs of files and folders outside this machine, which pyarrow opens: those of object stores and of HDFS.

A URL may carry keys, so it is neither printed nor stored as it was given; see `without_secrets`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from semsearch.errors import UsageError
from semsearch.messages import first_line

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Schemes of the URLs that pyarrow opens, apart from `file`."""

WITH_CONTAINER = ("abfs", "abfss")
"""Schemes whose URLs have the name of a container or an account in front of the host, rather than a key."""


def scheme_of(text: str) -> str:
    """Return the scheme of a URL in lower case, or an empty string for a path."""
    found = URL.match(text)
    return found[1].lower() if found else ""


def without_secrets(url: str) -> str:
    """Return a URL as it is printed and stored: decoded, without keys, options and a slash at its end.

    A path, and a text that is no URL after all, is returned as it is.
    """
    scheme = scheme_of(url)
    if not scheme:
        return url
    host, slash, path = url[len(scheme) + 3 :].partition("?")[0].partition("/")
    user, _, host = host.rpartition("@")
    name = user.partition(":")[0]
    place = f"{name}@{host}" if name and scheme in WITH_CONTAINER else host
    return f"{scheme}://{place}{slash}{unquote(path)}".rstrip("/")


def local_path(text: str) -> str:
    """Return the path of a URL with the scheme `file`; anything else is returned as it is.

    Raises:
        UsageError: If the URL names another machine.
    """
    if scheme_of(text) != "file":
        return text
    from urllib.request import url2pathname  # which is slow to import

    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(
            f'"{text:.300}" names the machine {parts.netloc!r:.60}; expected three slashes: file:///folder'
        )
    return url2pathname(parts.path)


def open_location(location: str, what: str, expected: str) -> tuple[FileSystem, str]:
    """Open the file system of a URL, or of an absolute path.

    Args:
        location: The URL or path.
        what: The location as messages name it.
        expected: What is expected, for the message.

    Returns:
        The file system, and the path in it.

    Raises:
        UsageError: If pyarrow cannot open it, or is not installed.
    """
    need_pyarrow(what)
    import pyarrow as pa
    from pyarrow.fs import FileSystem

    try:
        files, path = FileSystem.from_uri(location)
    except (pa.ArrowException, OSError, ImportError, ValueError) as error:
        raise UsageError(f"{what} cannot be opened ({reason_of(error, location)}); expected {expected}") from None
    return files, path


def need_pyarrow(what: str) -> None:
    """Check that pyarrow is installed.

    Raises:
        UsageError: If it is not.
    """
    try:
        import pyarrow.fs  # noqa: F401  only whether it can be
    except ImportError:
        needs = f"{what} needs pyarrow, which is not installed; pip install 'semsearch[parquet]'"
        raise UsageError(needs) from None


def reason_of(error: BaseException, url: str) -> str:
    """Return the first line of an error about a URL, without the secrets in it."""
    text = str(getattr(error, "strerror", None) or first_line(error)).replace(url, without_secrets(url))
    authority, _, options = url.partition("?")
    user, at, _ = authority.partition("://")[2].partition("/")[0].rpartition("@")
    secrets = [*(user.split(":") if at else ()), *(option.partition("=")[2] for option in options.split("&"))]
    if scheme_of(url) in WITH_CONTAINER:
        secrets = secrets[1:] if at else secrets
    for secret in sorted({form for one in secrets for form in (one, unquote(one)) if len(form) > 3}, key=len)[::-1]:
        text = text.replace(secret, "…")
    return text
