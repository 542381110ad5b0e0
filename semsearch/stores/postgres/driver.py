"""The driver, psycopg: its import, connections, and translation of its errors to messages without passwords."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.errors import (
    DiskFullError,
    LockedError,
    NoIndexError,
    StoreError,
    UsageError,
)
from semsearch.messages import first_line

try:
    import psycopg
    from psycopg import errors
except ImportError as error:  # the module, or the libpq that it needs
    raise UsageError(
        "an index in PostgreSQL needs psycopg, which is not installed or cannot be loaded; "
        "pip install 'semsearch[pgvector]'"
    ) from error

if TYPE_CHECKING:
    from semsearch.stores.postgres.address import Address

Connection: TypeAlias = psycopg.Connection[Any]

DriverError, ConnectionLost = psycopg.Error, psycopg.OperationalError
"""Errors of the driver, for modules that must not import it themselves: here, the error for its absence is raised."""

CONNECT_SECONDS = 10
"""Default number of seconds to wait for a connection; `connect_timeout` in the URL takes precedence."""

WAIT_SECONDS = 600
"""Number of seconds that a commit waits for that of another writer, which may build a vector index."""

DEFAULTS = {"connect_timeout": CONNECT_SECONDS, "application_name": "semsearch"} | {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Settings of libpq that a URL may change; a server that vanished is noticed within a minute."""

SETUP = """
    SELECT set_config('search_path', quote_ident(%s) || ', ' || coalesce((
        SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'vector'
    ), 'public'), false),
    set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false), set_config('jit', 'off', false)
"""
"""JIT takes a second to compile the expression of a keyword search, which then takes milliseconds."""


def connect(address: Address, *, write: bool = False) -> Connection:
    """Connect to the database of an index; the schema comes first in the search path.

    Statements of readers end after the seconds of the address. Those of writers take as long as they take, but wait for
    others for WAIT_SECONDS at most.

    Raises:
        StoreError: If the server cannot be reached in time, or refuses.
    """
    with translated(address, connecting=True):
        given = psycopg.conninfo.conninfo_to_dict(address.conninfo)
        settings: dict[str, Any] = {**DEFAULTS, **given}
        connection: Connection = psycopg.connect(**settings, autocommit=True, prepare_threshold=None)
        try:
            limits = ("0", f"{WAIT_SECONDS}s") if write else (f"{address.seconds}s", "0")
            connection.execute(SETUP, (address.schema, *limits))
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated(address: Address, *, connecting: bool = False) -> Iterator[None]:
    """Raise errors of the driver as errors of the store, which name the index and never the password."""
    try:
        yield
    except psycopg.Error as error:
        raise _translation(address, error, connecting=connecting) from None


def _translation(address: Address, error: psycopg.Error, *, connecting: bool) -> Exception:
    """Return the error to raise instead of one of the driver."""
    reason = address.redacted(first_line(error))
    for kinds, make in _KNOWN:
        if isinstance(error, kinds):
            return make(address, reason)
    if connecting:
        return StoreError(f"cannot connect to {address.shown!r}: {reason}; check that it runs, and the user")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return StoreError(
            f"the connection to {address.shown!r} was lost: {reason}; what was committed is kept: run the same command "
            "again"
        )
    return StoreError(f"PostgreSQL refuses a request to {address.shown!r}: {reason}")


def _slow(address: Address, reason: str) -> Exception:
    return StoreError(
        f"a query to {address.shown!r} took longer than {address.seconds} s and was ended; ask for less, or allow more "
        "with timeout=SECONDS in the URL"
    )


def _forbidden(address: Address, reason: str) -> Exception:
    return StoreError(f"the user of {address.shown!r} lacks a permission: {reason}")


def _full(address: Address, reason: str) -> Exception:
    return DiskFullError(f"the disk of {address.shown!r} is full; committed batches are kept: {reason}")


def _locked(address: Address, reason: str) -> Exception:
    return LockedError(
        f"{address.shown!r} is being written by others, for more than {WAIT_SECONDS} s; run the same command again"
    )


def _read_only(address: Address, reason: str) -> Exception:
    return StoreError(f"{address.shown!r} is read-only, as a replica is; pass the URL of the primary server to write")


def _gone(address: Address, reason: str) -> Exception:
    return NoIndexError(f"no index in {address.shown!r} anymore, or not the whole: {reason}")


def _unfit(address: Address, reason: str) -> Exception:
    return UsageError(f"PostgreSQL cannot store a value in {address.shown!r}: {reason}")


_KNOWN: list[tuple[Any, Callable[[Address, str], Exception]]] = [
    (errors.QueryCanceled, _slow),
    (errors.InsufficientPrivilege, _forbidden),
    (errors.DiskFull, _full),
    (errors.LockNotAvailable, _locked),
    (errors.ReadOnlySqlTransaction, _read_only),
    ((errors.UndefinedTable, errors.InvalidSchemaName), _gone),
    (psycopg.DataError, _unfit),
]
