"""The lease of an index in Milvus, which one writer holds at a time and renews as long as its process lives.

Milvus cannot compare and swap. A writer therefore puts its token into the row `lease`, waits for others that may be
doing the same, and looks whether it is still there; it looks again before each commit. Two writers can only meet if one
of them stands still for longer than the lease lasts, exactly between looking and committing.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from semsearch.errors import LockedError, StoreError
from semsearch.moments import now
from semsearch.stores.local.holder import is_gone
from semsearch.stores.milvus.driver import Session
from semsearch.stores.milvus.schema import NOTHING
from semsearch.stores.milvus.states import read_values

log = logging.getLogger(__name__)

LEASE = "lease"

SECONDS = 60.0
"""Time after which a lease that was not renewed counts no more."""

SETTLE = 0.2
"""Time in which another writer that saw no lease either has put its own token there."""


class Lease:
    """The right to write to an index; see `hold`."""

    def __init__(self, session: Session) -> None:
        self._session, self._token, self._ended = session, secrets.token_hex(8), Event()
        self._holder = f"process {os.getpid()} on {socket.gethostname()}, since {now()}"

    def refuse_loss(self) -> None:
        """Check that the lease is still held.

        Raises:
            LockedError: If another writer has taken it.
        """
        stored = self._stored()
        if stored.get("token") != self._token:
            raise LockedError(
                f"{self._session.address.shown!r} is being written by {stored.get('holder', 'another process')}, which "
                "began because this process had not answered for a minute; run the same command again"
            )

    def _stored(self) -> dict[str, Any]:
        try:
            stored = json.loads(read_values(self._session, [LEASE]).get(LEASE, "{}"))
        except ValueError:
            return {}
        return stored if isinstance(stored, dict) else {}

    def take(self) -> None:
        """Take the lease.

        Raises:
            LockedError: If another writer holds it.
        """
        stored = self._stored()
        holder = str(stored.get("holder", ""))
        if float(stored.get("until", 0)) > time.time() and not is_gone(holder):
            raise LockedError(f"{self._session.address.shown!r} is being written by {holder}; wait until it has ended")
        self._put(SECONDS)
        time.sleep(SETTLE)
        self.refuse_loss()

    def renew(self) -> None:
        """Renew the lease until it is given up."""
        while not self._ended.wait(SECONDS / 3):
            try:
                if self._stored().get("token") == self._token:
                    self._put(SECONDS)
            except StoreError as error:  # the next commit says it if the server is gone
                log.warning("the lease of %s was not renewed: %s", self._session.address.shown, error)

    def give_up(self) -> None:
        """Let others write."""
        self._ended.set()
        if self._stored().get("token") == self._token:
            self._put(0)

    def _put(self, seconds: float) -> None:
        value = json.dumps({"token": self._token, "holder": self._holder, "until": time.time() + seconds})
        self._session.replace(self._session.address.name, [{"key": LEASE, "value": value, "nothing": NOTHING}])


@contextmanager
def hold(session: Session) -> Iterator[Lease]:
    """Hold the lease of an index; the collection of its settings must exist.

    Raises:
        LockedError: If another writer holds it.
    """
    lease = Lease(session)
    lease.take()
    renewing = Thread(target=lease.renew, name="semsearch-lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        try:
            lease.give_up()
        except StoreError as error:
            log.warning("the lease of %s ends by itself: %s", session.address.shown, error)
        renewing.join()
