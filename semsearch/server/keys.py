"""One table of keys for every route: who may read and write which indexes.

Keys arrive as clients send them: `Authorization: Bearer K`, the key alone, `Bearer Bearer K` (LlamaIndex's TEI client),
`api-key: K` and `x-api-key: K`, and as the password of a browser that was asked for one.
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
        secret: Never shown.
        scopes: `read`, `write` or both.
        indexes: Names of those that it is good for; None for all.
    """

    secret: str = field(repr=False)
    scopes: frozenset[str] = SCOPES
    indexes: frozenset[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Key:
        """From `KEY`, `read:KEY`, `write:KEY`, `@notes,birds:KEY` or `read@notes:KEY`.

        Raises:
            UsageError: There is nothing left for the key, or it has characters that no header can carry.
        """
        found = _PREFIXED.fullmatch(text)
        prefixed = found is not None and (found["scopes"] is not None or found["indexes"] is not None)
        secret = found["secret"] if found and prefixed else text
        if not secret or not secret.isascii() or not secret.isprintable() or secret != secret.strip():
            raise UsageError("a `token` is empty, or has characters that no header can carry; expected printable ASCII")
        if not found or not prefixed:
            return cls(secret)
        names = None if found["indexes"] is None else frozenset(filter(None, found["indexes"].split(",")))
        if names is not None and not names:
            raise UsageError("a `token` names no index behind its @; expected one or more, as in read@notes:KEY")
        return cls(secret, frozenset(found["scopes"].split("+")) if found["scopes"] else SCOPES, names)


@dataclass(frozen=True, slots=True)
class Access:
    """What whoever asks may do."""

    scopes: frozenset[str] = SCOPES
    indexes: frozenset[str] | None = None

    def names(self, served: Iterable[str]) -> list[str]:
        """Those of the served indexes that may be seen, in their order."""
        return [name for name in served if self.indexes is None or name in self.indexes]

    def require(self, scope: str, index: str, served: Collection[str]) -> None:
        """Check that an index may be read, or written.

        Raises:
            UnknownIndexError: It is not served, or hidden from this key: an answer does not tell which.
            ForbiddenError: The key lacks the scope.
        """
        seen = self.names(served)
        if index not in seen:
            raise UnknownIndexError(f"unknown index {index!r:.100}; expected one of {', '.join(seen) or 'none'}")
        self.require_scope(scope)

    def require_scope(self, scope: str) -> None:
        """Check that the key allows to read, or to write; raises ForbiddenError."""
        if scope not in self.scopes:
            raise ForbiddenError(f"this key may not {scope}; use one with the scope {scope!r}")


EVERYTHING = Access()


class Keys:
    """The table; empty, it lets everybody in."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    def access(self, headers: Mapping[str, str]) -> Access:
        """What the key in these headers allows.

        Every key is compared in full, and in constant time, whatever was found before.

        Args:
            headers: By lower-case name.

        Raises:
            UnauthorizedError: There is none, or a wrong one.
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
            what = "the key is wrong" if candidates else "this server needs a key"
            raise UnauthorizedError(f"{what}; send it as the header Authorization: Bearer KEY")
        return Access(found.scopes, found.indexes)


def candidates_of(header: str) -> list[str]:
    """The keys that a header may hold: as it stands, and without `Bearer` in front, once or twice."""
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
    """The password of `Authorization: Basic`; whatever the user is called."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
