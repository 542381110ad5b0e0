"""From settings to a process that listens: the socket, one worker or several, and an end in order."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from uvicorn.supervisors import Multiprocess

from semsearch.errors import UsageError
from semsearch.server.app import create_app
from semsearch.server.logs import config
from semsearch.server.metrics import SHARED_FOLDER
from semsearch.server.settings import Settings

GRACE_SECONDS = 10
"""How long requests have to end when the server is stopped."""


def bind(host: str, port: int) -> socket.socket:
    """A socket at this address; port 0 takes a free one.

    Raises:
        UsageError: The port is in use or not allowed, or the address is not one of this machine.
    """
    host = host.strip("[]")
    listening: socket.socket | None = None
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio looks for it: no Nagle
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        if listening:
            listening.close()
        number = getattr(error, "errno", None)
        reason = REASONS.get(number or 0, getattr(error, "strerror", None) or str(error))
        raise UsageError(f"cannot listen on {host}:{port}: {reason}") from None
    listening.set_inheritable(True)
    return listening


REASONS = {
    errno.EADDRINUSE: "the port is in use; choose another `port`, or stop what listens there",
    errno.EACCES: "ports below 1024 need more rights; choose another `port`",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose another `host`",
}


def serve(indexes: Mapping[str, str | Path], settings: Settings, listening: socket.socket, *, workers: int = 1) -> None:
    """Answer requests until the process is told to stop; requests that have begun are ended first.

    Args:
        indexes: Folders by the names under which they are served.
        settings: How the server behaves.
        listening: See `bind`.
        workers: Processes, each with a model of its own; they share nothing but the indexes.
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
        os.environ[SHARED_FOLDER] = folder  # of the workers, which read it when they start
        try:
            Multiprocess(told, [listening]).run()
        finally:
            del os.environ[SHARED_FOLDER]
