"""Addresses of indexes in PostgreSQL: URLs as libpq reads them, with two parameters of our own.

    postgresql://user@host:5432/database?schema=semsearch&timeout=60

The index is the `schema` of the database; `timeout` is the number of seconds that a query may take. Everything else
goes to libpq, which also reads `PGPASSWORD`, `~/.pgpass` and its other environment variables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from semsearch.errors import UsageError

SCHEMES = ("postgresql", "postgres")

SCHEMA = "semsearch"
"""Default schema."""

SECONDS = 60
"""Default number of seconds that a query may take."""

_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,49}")  # PostgreSQL's limit is 63 bytes; a draft has a longer name

_USER = re.compile(r"[^/@?#\s]*")

_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:/@\s]*)(:\d*)?")

EXPECTED = "expected postgresql://user@host/database?schema=name"

_SECRETS = ("password", "sslpassword")

HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an index in PostgreSQL is; as text, it never has the password.

    Attributes:
        schema: Name of the schema.
        seconds: Number of seconds that a query may take.
        conninfo: The URL for libpq, with the password.
        shown: The same as users see it, without the password, with the schema.
        secrets: Every spelling of the passwords in it.
    """

    schema: str
    seconds: int
    conninfo: str = field(repr=False)
    shown: str
    secrets: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        return self.shown

    def redacted(self, text: str) -> str:
        """Return a text with its passwords hidden."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text

    @property
    def name(self) -> str:
        """The name of the schema, which names the index where it has no other name."""
        return self.schema

    def of(self, schema: str) -> Address:
        """Return the address of another schema in the same database."""
        shown = self.shown.replace(f"schema={self.schema}", f"schema={schema}")
        return Address(schema, self.seconds, self.conninfo, shown, self.secrets)


def is_url(location: object) -> bool:
    """Return whether a location is the URL of a PostgreSQL database rather than a path."""
    return isinstance(location, str) and location.partition("://")[0] in SCHEMES and "://" in location


def parse_address(url: str) -> Address:
    """Parse the URL of an index.

    Raises:
        UsageError: If it is not valid; the message does not repeat it.
    """
    user, server, query = _split(url)
    try:
        asked = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise UsageError(f"the parameters of the `location` are not valid; {EXPECTED}") from None
    own = dict(asked)
    rest = [(key, value) for key, value in asked if key not in ("schema", "timeout")]
    schema, timeout = own.get("schema", SCHEMA), own.get("timeout", str(SECONDS))
    if not _NAME.fullmatch(schema):
        raise UsageError(
            f"the schema {schema!r:.60} of the `location` is not valid; expected up to 50 lowercase letters, digits "
            "and _, such as schema=notes"
        )
    if not timeout.isascii() or not timeout.isdigit() or not 0 < int(timeout[:9]) < 10**6:
        raise UsageError(f"the timeout {timeout!r:.60} of the `location` is not valid; expected seconds, such as 60")
    public = [(key, value) for key, value in rest if key not in _SECRETS]
    return Address(
        schema,
        int(timeout),
        _url(user, server, rest),
        _url(user.partition(":")[0], server, [*public, ("schema", schema)]),
        _secrets(user, rest),
    )


def _split(url: str) -> tuple[str, str, str]:
    """Split a URL into the user with the password, the servers with the database, and the parameters.

    Raises:
        UsageError: If a password may be where it would be taken for something else, because it is not escaped.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    user, _, server = rest.rpartition("@")
    hosts = server.partition("/")[0].split(",")
    if not _USER.fullmatch(user) or "#" in url or "@" in query or not all(map(_HOST.fullmatch, hosts)):
        raise UsageError(
            f"the `location` is not a valid URL; {EXPECTED}, with every character of a password but letters and digits "
            "escaped, such as %2F for / and %40 for @"
        )
    return user, server, query


def _url(user: str, server: str, query: list[tuple[str, str]]) -> str:
    """Put a URL together."""
    joined = "&".join(f"{quote(key, safe='')}={quote(value, safe='/')}" for key, value in query)
    return f"postgresql://{user}{'@' if user else ''}{server}" + (f"?{joined}" if joined else "")


def _secrets(user: str, query: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return every spelling of the passwords in a URL, the longest first."""
    typed = user.partition(":")[2]
    given = [typed, unquote(typed), *(value for key, value in query if key in _SECRETS)]
    every = {spelling for one in given if one for spelling in (one, quote(one, safe=""))}
    return tuple(sorted(every, key=lambda one: (-len(one), one)))
