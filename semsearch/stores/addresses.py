"""Addresses of indexes in databases, told apart by the scheme of their URLs."""

from __future__ import annotations

from typing import TypeAlias

from semsearch.stores.milvus import address as milvus
from semsearch.stores.postgres import address as postgres

Address: TypeAlias = postgres.Address | milvus.Address
"""Where an index in a database is."""


def is_url(location: object) -> bool:
    """Return whether a location is the URL of an index in a database rather than a path."""
    return postgres.is_url(location) or milvus.is_url(location)


def parse_address(url: str) -> Address:
    """Parse the URL of an index.

    Raises:
        UsageError: If it is not valid; the message does not repeat it.
    """
    return milvus.parse_address(url) if milvus.is_url(url) else postgres.parse_address(url)
