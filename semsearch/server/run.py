"""Run the server: bind the socket, start one or more workers, and shut down gracefully."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from functools import partial
from tempfile import TemporaryDirectory

import uvicorn
from uvicorn.supervisors import Multiprocess

from semsearch.errors import UsageError
from semsearch.server.app import create_app
from semsearch.server.logs import config
from semsearch.server.metrics import SHARED_FOLDER
from semsearch.server.settings import Settings
from semsearch.stores.open import Location

GRACE_SECONDS = 10
"""Seconds that running requests have to finish when the server is stopped."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on this address; port 0 picks a free port.

    Raises:
        UsageError: If the port is in use or not allowed, or the address does not belong to this machine.
    """
    host = host.strip("[]")
    listening: socket.socket | None = None
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so asyncio disables Nagle
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # clients that connect before the server runs wait instead of being refused
    except (OSError, OverflowError, UnicodeError) as error:
        if listening:
            listening.close()
        number = getattr(error, "errno", None)
        reason = REASONS.get(number or 0, getattr(error, "strerror", None) or str(error))
        raise UsageError(f"cannot listen on {host}:{port}: {reason}") from None
    listening.set_inheritable(True)
    return listening


REASONS = {
    errno.EADDRINUSE: "the port is in use; choose another `port`, or stop the program that uses it",
    errno.EACCES: "ports below 1024 need special privileges; choose another `port`",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose another `host`",
}


def serve(indexes: Mapping[str, Location], settings: Settings, listening: socket.socket, *, workers: int = 1) -> None:
    """Answer requests until the process is told to stop; requests in progress are finished first.

    Args:
        indexes: Index folders, keyed by the names under which they are served.
        settings: Server settings.
        listening: Socket to listen on, from `bind`.
        workers: Number of processes, each with its own model; they share nothing but the indexes.
    """
    told = uvicorn.Config(
        partial(create_app, indexes, settings),
        factory=True,
        workers=workers,
        log_config=config(),
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=64 * 2**10,
    )
    if workers == 1:
        uvicorn.Server(told).run(sockets=[listening])
        return
    with TemporaryDirectory(prefix="semsearch-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder  # inherited by the workers, which read it at startup
        try:
            Multiprocess(told, [listening]).run()
        finally:
            del os.environ[SHARED_FOLDER]
