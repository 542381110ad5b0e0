"""The store at a location: a folder on this machine, or a schema in a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias, TypeGuard

from semsearch.paths import as_path
from semsearch.stores.base import Store
from semsearch.stores.local.store import LocalStore
from semsearch.stores.postgres.address import Address, is_url, parse_address

Location: TypeAlias = str | Path | Address | Store
"""A folder, the URL of a PostgreSQL database or its address, or a store."""


def open_store(location: Location) -> Store:
    """Return the store at a location, or a given one as it is; nothing is read or connected to yet.

    Raises:
        UsageError: If the location is something else, or the driver for it is not installed.
    """
    if is_store(location):
        return location
    if isinstance(location, str) and is_url(location):
        location = parse_address(location)
    if isinstance(location, Address):
        from semsearch.stores.postgres.store import PostgresStore

        return PostgresStore(location)
    return LocalStore(as_path(location, "location"))


def is_store(location: object) -> TypeGuard[Store]:
    """Return whether a location is a store."""
    return callable(getattr(type(location), "search_vectors", None))
