"""Checks of everything a server depends on: versions, extras, the model, the indexes, and the server itself."""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from semsearch.errors import SemsearchError, UsageError
from semsearch.version import __version__

if TYPE_CHECKING:
    from semsearch.cli.locations import IndexPlace
    from semsearch.index import Index

OK, NOTE, FAILED = "ok", "note", "failed"

OLDEST_PYTHON = (3, 11)

PACKAGES = ("torch", "openvino", "faiss-cpu", "transformers", "tokenizers", "numpy")

TIMEOUT_SECONDS = 3.0

LONGEST_REPLY = 4_096


class Check(NamedTuple):
    """The result of one check.

    Attributes:
        what: The thing that was checked.
        state: `ok`, `note` or `failed`.
        said: The finding, or advice on what to do.
    """

    what: str
    state: str
    said: str


def check_versions() -> Iterator[Check]:
    """Check Python, semsearch and the packages that it depends on."""
    enough = sys.version_info >= OLDEST_PYTHON
    yield Check("python", OK if enough else FAILED, f"{platform.python_version()} at {sys.executable}")
    versions = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    said = f"semsearch {__version__}, {found}" + (f"; missing: {', '.join(missing)}" if missing else "")
    yield Check("packages", FAILED if missing else OK, said)


def check_extras() -> Iterator[Check]:
    """Check each extra by the packages that it requires."""
    for extra, packages in _extras().items():
        missing = [name for name in packages if _version(name) is None]
        said = (
            f"missing {', '.join(missing)}; install with: pip install 'semsearch[{extra}]'" if missing else "installed"
        )
        yield Check(f"extra {extra}", NOTE if missing else OK, said)


def check_model() -> Iterator[Check]:
    """Check that the default model is available, without fetching anything."""
    from semsearch.encoder.checkpoints.locate import DEFAULT_MODEL
    from semsearch.encoder.checkpoints.open import open_checkpoint

    try:
        checkpoint = open_checkpoint(None)
    except SemsearchError as error:
        yield Check("default model", NOTE, str(error))
    else:
        yield Check("default model", OK, f"{DEFAULT_MODEL} at {checkpoint.backbone}")


def check_indexes(indexes: Mapping[str, IndexPlace]) -> Iterator[Check]:
    """Check of each index that it can be read, that its checkpoint is unchanged, and that its hits have confidences."""
    from semsearch.index import Index

    for name, folder in indexes.items():
        what, started = f"index {name}", time.perf_counter()
        try:
            with Index.open(folder) as index:
                status = index.status()
                yield Check(what, OK, f"{status['documents']:,} documents, {status['bytes'] / 1e6:.1f} MB, {folder}")
                _ = index.encoder
                seconds = time.perf_counter() - started
                yield Check(f"{what}: model", OK, f"{index.spec.model}, loaded in {seconds:.1f} s")
                yield from _check_confidence(what, index)
        except (SemsearchError, OSError) as error:
            yield Check(what, FAILED, str(error))


def _check_confidence(what: str, index: Index) -> Iterator[Check]:
    try:
        index.search("a", 1, min_confidence=0)
    except UsageError as error:
        yield Check(f"{what}: confidence", NOTE, str(error))


def check_server(url: str, indexes: Sequence[str], *, expected: bool) -> Iterator[Check]:
    """Check whether a server answers: request `/health`, then `/ready`, which names the indexes that it serves.

    Args:
        url: URL of the server, without a trailing slash.
        indexes: Names of the indexes that it should serve.
        expected: Whether a server that does not answer is a failure rather than a note.
    """
    for path in ("/health", "/ready"):
        try:
            status, reply = _get(f"{url}{path}")
        except (URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            yield Check("server", FAILED if expected else NOTE, f"no answer from {url} ({reason})")
            return
        if status in (401, 403):
            yield Check(f"server {path}", OK, "requires a key")
        elif status == 503:
            yield Check(f"server {path}", NOTE, f"not ready yet: {_short(reply)}")
        elif status != 200 or not _is_object(reply):
            yield Check(f"server {path}", FAILED, f"{url}{path} answers {status}: something else is listening there")
            return
        else:
            yield Check(f"server {path}", OK, _short(reply))
            yield from _check_served(reply, indexes if path == "/ready" else ())


def _check_served(reply: str, indexes: Sequence[str]) -> Iterator[Check]:
    """Check that a server serves the indexes that it should serve."""
    served = json.loads(reply).get("indexes")
    if not isinstance(served, dict):
        return
    missing = [name for name in indexes if name not in served]
    if missing:
        there = ", ".join(served) or "none"
        said = f"it does not serve {', '.join(missing)}; it serves {_short(there)}"
        yield Check("server indexes", NOTE, said)


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> Request | None:
        """Follow no redirects, because this address is the one to check."""
        return None


def _get(url: str) -> tuple[int, str]:
    """Return the status and the beginning of the body; proxies are bypassed because they cannot reach this machine."""
    try:
        with build_opener(ProxyHandler({}), _NoRedirects).open(url, timeout=TIMEOUT_SECONDS) as response:
            return response.status, response.read(LONGEST_REPLY).decode("utf-8", "replace")
    except HTTPError as error:
        return error.code, error.read(LONGEST_REPLY).decode("utf-8", "replace")


def _is_object(reply: str) -> bool:
    try:
        return isinstance(json.loads(reply), dict)
    except (ValueError, RecursionError):
        return False


def _short(reply: str) -> str:
    return reply if len(reply) <= 200 else f"{reply[:199]}…"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, list[str]]:
    """Return the packages that each extra of the installed semsearch requires directly."""
    extras: dict[str, list[str]] = {}
    try:
        wanted = metadata.requires("semsearch") or []
    except metadata.PackageNotFoundError:
        return {}
    for line in wanted:
        found = re.match(r"([\w.-]+)(?:\[[^]]*\])?[^;]*;.*\bextra == ['\"]([\w-]+)['\"]", line)
        if found and found[1] != "semsearch":
            extras.setdefault(found[2], []).append(found[1])
    return extras
