"""Loading models in the background, so that a server answers at once: by words alone until a model is there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from semsearch.errors import SemsearchError
from semsearch.index import Index

log = logging.getLogger(__name__)


class Warming:
    """Loads the encoder of each index in a thread of its own, one after another."""

    def __init__(self, indexes: Mapping[str, Index]) -> None:
        """Take indexes by name; nothing is loaded before `start`."""
        self._indexes = dict(indexes)
        self._warm: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._load, name="semsearch-warming", daemon=True)

    def start(self) -> None:
        """Begin to load; returns at once."""
        self._thread.start()

    def is_warm(self, name: str) -> bool:
        """Whether the encoder of an index is loaded; an index whose model cannot be loaded never is."""
        return name in self._warm

    def wait(self, seconds: float) -> bool:
        """Wait until everything is loaded or has failed; returns whether that is so."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Load no more; what is being loaded is left to itself, and its errors go unsaid, for the process may end."""
        self._stopped.set()

    def _load(self) -> None:
        for name, index in self._indexes.items():
            if self._stopped.is_set():
                return
            try:
                index.encoder.encode_queries(["warm up"])
            except Exception as error:
                if self._stopped.is_set():
                    return
                if not isinstance(error, SemsearchError | OSError):
                    log.exception("the model of the index %r cannot be loaded", name)
                log.warning("the index %r is searched by words alone: %s", name, error)
            else:
                self._warm.add(name)
