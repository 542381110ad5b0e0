"""The store at a location: a folder on this machine, or an index in a database of PostgreSQL or Milvus."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias, TypeGuard

from semsearch.paths import as_path
from semsearch.stores.addresses import Address, is_url, parse_address
from semsearch.stores.base import Store
from semsearch.stores.local.store import LocalStore
from semsearch.stores.milvus.address import Address as MilvusAddress
from semsearch.stores.postgres.address import Address as PostgresAddress

Location: TypeAlias = str | Path | Address | Store
"""A folder, the URL of an index in a database or its address, or a store."""


def open_store(location: Location) -> Store:
    """Return the store at a location, or a given one as it is; nothing is read or connected to yet.

    Raises:
        UsageError: If the location is something else, or the driver for it is not installed.
    """
    if is_store(location):
        return location
    if isinstance(location, str) and is_url(location):
        location = parse_address(location)
    if isinstance(location, PostgresAddress):
        from semsearch.stores.postgres.store import PostgresStore

        return PostgresStore(location)
    if isinstance(location, MilvusAddress):
        from semsearch.stores.milvus.store import MilvusStore

        return MilvusStore(location)
    return LocalStore(as_path(location, "location"))


def is_store(location: object) -> TypeGuard[Store]:
    """Return whether a location is a store."""
    return callable(getattr(type(location), "search_vectors", None))
