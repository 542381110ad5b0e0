"""API keys: one table for every route of who may read and write which indexes.

Keys are accepted in every form that clients send: `Authorization: Bearer K`, `Authorization: K`, `Bearer Bearer K`
(LlamaIndex's TEI client), `api-key: K`, `x-api-key: K`, and as the password of Basic authentication (browsers).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from semsearch.errors import ForbiddenError, UnauthorizedError, UnknownIndexError, UsageError

READ, WRITE = "read", "write"
SCOPES = frozenset({READ, WRITE})

KEY_HEADERS = ("authorization", "api-key", "x-api-key")

_PREFIXED = re.compile(r"(?P<scopes>read|write|read\+write)?(?:@(?P<indexes>[^:]*))?:(?P<secret>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """A key and what it allows.

    Attributes:
        secret: The key itself; never shown.
        scopes: `read`, `write` or both.
        indexes: Names of the indexes that it is valid for; None for all.
    """

    secret: str = field(repr=False)
    scopes: frozenset[str] = SCOPES
    indexes: frozenset[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Key:
        """Parse `KEY`, `read:KEY`, `write:KEY`, `@notes,birds:KEY` or `read@notes:KEY`.

        Raises:
            UsageError: If the key is empty or has characters that no header can carry, or `@` names no index.
        """
        found = _PREFIXED.fullmatch(text)
        prefixed = found is not None and (found["scopes"] is not None or found["indexes"] is not None)
        secret = found["secret"] if found and prefixed else text
        if not secret or not secret.isascii() or not secret.isprintable() or secret != secret.strip():
            raise UsageError("a `token` is empty or has characters that headers cannot carry; expected printable ASCII")
        if not found or not prefixed:
            return cls(secret)
        names = None if found["indexes"] is None else frozenset(filter(None, found["indexes"].split(",")))
        if names is not None and not names:
            raise UsageError("a `token` names no index after its @; expected at least one, as in read@notes:KEY")
        return cls(secret, frozenset(found["scopes"].split("+")) if found["scopes"] else SCOPES, names)


@dataclass(frozen=True, slots=True)
class Access:
    """Permissions of a request."""

    scopes: frozenset[str] = SCOPES
    indexes: frozenset[str] | None = None

    def names(self, served: Iterable[str]) -> list[str]:
        """Return those of the served indexes that may be seen, in their order."""
        return [name for name in served if self.indexes is None or name in self.indexes]

    def require(self, scope: str, index: str, served: Collection[str]) -> None:
        """Check that an index may be read or written.

        Raises:
            UnknownIndexError: If it is not served, or hidden from this key; the error does not tell which.
            ForbiddenError: If the key lacks the scope.
        """
        seen = self.names(served)
        if index not in seen:
            raise UnknownIndexError(f"unknown index {index!r:.100}; expected one of {', '.join(seen) or 'none'}")
        self.require_scope(scope)

    def require_scope(self, scope: str) -> None:
        """Check that the key allows reading or writing; raise ForbiddenError if not."""
        if scope not in self.scopes:
            raise ForbiddenError(f"this key has no {scope} access; use a key with the scope {scope!r}")


EVERYTHING = Access()


class Keys:
    """Table of the keys; if it is empty, every request is allowed."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    def access(self, headers: Mapping[str, str]) -> Access:
        """Return what the key in these headers allows.

        Every key is compared in full and in constant time, even after a match.

        Args:
            headers: Header values by lowercase name.

        Raises:
            UnauthorizedError: If the key is missing or invalid.
        """
        if not self._keys:
            return EVERYTHING
        candidates = [c for name in KEY_HEADERS if name in headers for c in candidates_of(headers[name])]
        found: Key | None = None
        for given in candidates:
            for key in self._keys:
                if hmac.compare_digest(given.encode(), key.secret.encode()):
                    found = found or key
        if found is None:
            what = "the key is invalid" if candidates else "this server requires a key"
            raise UnauthorizedError(f"{what}; send one in the header Authorization: Bearer KEY")
        return Access(found.scopes, found.indexes)


def candidates_of(header: str) -> list[str]:
    """Return the keys that a header may contain: its value with and without leading `Bearer`, or a Basic password."""
    value = header.strip()
    kind, _, rest = value.partition(" ")
    if kind.lower() == "basic":
        return [secret for secret in [_password(rest.strip())] if secret]
    found = [value]
    while kind.lower() == "bearer":
        value = rest.strip()
        found.append(value)
        kind, _, rest = value.partition(" ")
    return [one for one in found if one]


def _password(encoded: str) -> str:
    """Return the password of `Authorization: Basic`, whatever the user name."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
