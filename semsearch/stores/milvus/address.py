"""Addresses of indexes in Milvus: URLs of a server, or of a file for milvus-lite.

    milvus://user@host:19530/database?index=notes&timeout=60&consistency=Strong&tls=true
    milvus:///folder/notes.db?index=notes

The index is a set of collections whose names begin with `index`. The password, or a token instead of both, may also be
in the environment variable `MILVUS_TOKEN`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from semsearch.errors import UsageError

SCHEME = "milvus"

PORT = 19_530

NAME = "semsearch"
"""Default name of an index."""

SECONDS = 60
"""Default number of seconds that a request may take."""

LEVELS = ("Strong", "Bounded", "Session", "Eventually")
"""Consistency levels of Milvus; all but the first may miss what was committed in the last seconds."""

ENDING = "__draft"
"""Ending of the name of a draft."""

EXPECTED = "expected milvus://user@host:19530/database?index=name, or milvus:///folder/file.db for milvus-lite"

HIDDEN = "***"

_NAME = re.compile(r"[A-Za-z](?!.*__)[A-Za-z0-9_]{0,99}")

_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}|")

_TRUE = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an index in Milvus is; as text, it never has the password.

    Attributes:
        uri: What the driver connects to: the URL of a server, or the path of a file.
        database: Name of the database; empty for the default one.
        name: Name of the index.
        seconds: Number of seconds that a request may take.
        level: Consistency level of searches.
        token: `user:password`, or a token; empty if there is none.
        shown: The URL as users see it.
    """

    uri: str
    database: str
    name: str
    seconds: int
    level: str
    token: str = field(repr=False)
    shown: str

    def __str__(self) -> str:
        return self.shown

    @property
    def is_file(self) -> bool:
        """Whether the index is in a file of milvus-lite."""
        return "://" not in self.uri

    @property
    def draft(self) -> Address:
        """The address of the index's draft."""
        shown = self.shown.replace(f"index={self.name}", f"index={self.name}{ENDING}")
        return replace(self, name=self.name + ENDING, shown=shown)

    @property
    def drafted(self) -> Address | None:
        """The address of the index whose draft this is; None if it is not a draft."""
        if not self.name.endswith(ENDING):
            return None
        return replace(self, name=self.name.removesuffix(ENDING), shown=self.shown.replace(ENDING, ""))

    def redacted(self, text: str) -> str:
        """Return a text with the password hidden."""
        secrets = {self.token, self.token.partition(":")[2]} - {""}
        for secret in sorted({*secrets, *(quote(one, safe="") for one in secrets)}, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text


def is_url(location: object) -> bool:
    """Return whether a location is the URL of an index in Milvus."""
    return isinstance(location, str) and location.startswith(f"{SCHEME}://")


def parse_address(url: str) -> Address:
    """Parse the URL of an index.

    Raises:
        UsageError: If it is not valid; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORT
        asked = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise UsageError(f"the `location` is not a valid URL; {EXPECTED}") from None
    if parts.fragment or "@" in parts.query or parts.netloc.count("@") > 1 or ("/" in parts.path.strip("/") and host):
        raise UsageError(
            f"the `location` is not a valid URL; {EXPECTED}, with special characters of a password escaped"
        )
    if unknown := set(asked) - {"index", "timeout", "consistency", "tls"}:
        raise UsageError(f"the `location` has an unknown parameter {min(unknown)!r:.60}; {EXPECTED}")
    name, timeout, level = (
        asked.get("index", NAME),
        asked.get("timeout", str(SECONDS)),
        asked.get("consistency", LEVELS[0]),
    )
    tls = _TRUE.get(asked.get("tls", "false"))
    _refuse_invalid(name, timeout, level, tls)
    if not host:
        return _file(unquote(parts.path), name, int(timeout), level)
    database = unquote(parts.path.strip("/"))
    if not _DATABASE.fullmatch(database):
        raise UsageError(
            f"the database {database!r:.60} of the `location` is not valid; expected letters, digits and _"
        )
    bracketed = f"[{host}]" if ":" in host else host
    user = parts.username or ""
    query = "&".join(f"{key}={value}" for key, value in {**asked, "index": name}.items())
    shown = f"{SCHEME}://{user}{'@' if user else ''}{bracketed}:{port}/{database}?{query}"
    token = f"{unquote(user)}:{unquote(parts.password)}" if parts.password else os.environ.get("MILVUS_TOKEN", "")
    return Address(
        f"{'https' if tls else 'http'}://{bracketed}:{port}", database, name, int(timeout), level, token, shown
    )


def _refuse_invalid(name: str, timeout: str, level: str, tls: bool | None) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"the index {name!r:.60} of the `location` is not valid; expected up to 100 letters, digits and single _, "
            "such as index=notes"
        )
    if not timeout.isascii() or not timeout.isdigit() or not 0 < int(timeout[:9]) < 10**6:
        raise UsageError(f"the timeout {timeout!r:.60} of the `location` is not valid; expected seconds, such as 60")
    if level not in LEVELS:
        raise UsageError(f"the consistency {level!r:.60} of the `location` is not valid; expected {', '.join(LEVELS)}")
    if tls is None:
        raise UsageError("the parameter tls of the `location` is not valid; expected true or false")


def _file(path: str, name: str, seconds: int, level: str) -> Address:
    path = path[1:] if re.match(r"/[A-Za-z]:/", path) else path
    if not path.endswith(".db") or not os.path.isabs(path):
        raise UsageError(f"the file of the `location` must be an absolute path that ends in .db; {EXPECTED}")
    return Address(path, "", name, seconds, level, "", f"{SCHEME}://{'' if path[0] == '/' else '/'}{path}?index={name}")
