"""Loading of models in the background, so that a server answers immediately, by keywords until a model is loaded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from semsearch.errors import SemsearchError
from semsearch.index import Index

log = logging.getLogger(__name__)


class Warming:
    """A background thread that loads the encoders of all indexes, one after another."""

    def __init__(self, indexes: Mapping[str, Index]) -> None:
        """Initialize with indexes by name; nothing is loaded before `start`."""
        self._indexes = dict(indexes)
        self._warm: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._load, name="semsearch-warming", daemon=True)

    def start(self) -> None:
        """Start loading and return immediately."""
        self._thread.start()

    def is_warm(self, name: str) -> bool:
        """Return whether the encoder of an index is loaded; it never is if the model cannot be loaded."""
        return name in self._warm

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` until every encoder is loaded or has failed; returns whether that is the case."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Load no further encoders; errors of the current one are not logged, since the process may be ending."""
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
                    log.exception("the model of index %r cannot be loaded", name)
                log.warning("index %r is searched by keywords only: %s", name, error)
            else:
                self._warm.add(name)
