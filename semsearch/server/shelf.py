"""The served indexes, opened when they are first used, and the encoders that they share.

Keyword search works as soon as an index is open. Its encoder is loaded by a background thread, once for all indexes
with the same fingerprint; from then on dense search works, too. Everything here may block, so it is called in worker
threads.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Condition, Thread

from semsearch.errors import MismatchError, NotReadyError, SemsearchError
from semsearch.index import Index
from semsearch.server.batching import EncodingQueue
from semsearch.server.problems import told
from semsearch.server.queued_encoder import QueuedEncoder
from semsearch.server.settings import Settings
from semsearch.stores.base import Store
from semsearch.stores.open import Location, open_store
from semsearch.types import EncoderSettings

log = logging.getLogger(__name__)

WARM, WARMING, FAILED, CLOSED = "warm", "warming", "failed", "closed"
"""States of an index: encoder loaded; keyword search only, until it is; keyword search only, for good; not opened."""

FOLLOW_SECONDS = 1.0
"""Seconds between checks of whether an index was replaced."""

FIRST = "the first text takes longer than those after it"


@dataclass
class Slot:
    """One index.

    Attributes:
        cold: The index without an encoder; None until it is first used.
        warm: The same index with its encoder; None until that is loaded.
        queue: The queue of that encoder.
        error: Why the encoder cannot be loaded.
    """

    place: Location
    cold: Index | None = None
    warm: Index | None = None
    queue: EncodingQueue | None = None
    error: SemsearchError | None = None
    stores: list[Store] = field(default_factory=list)

    @property
    def state(self) -> str:
        """WARM, WARMING, FAILED or CLOSED."""
        if self.warm:
            return WARM
        return FAILED if self.error else WARMING if self.cold else CLOSED


class Shelf:
    """The served indexes by name."""

    def __init__(
        self,
        places: Mapping[str, Location],
        settings: Settings,
        watch: Callable[[int, float], None] | None = None,
    ) -> None:
        """Store the locations of the indexes; nothing is opened yet.

        Args:
            places: Locations of indexes by name.
            settings: Server settings.
            watch: As in `EncodingQueue`.
        """
        self._slots = {name: Slot(place) for name, place in places.items()}
        self._settings, self._watch = settings, watch
        self._changed = Condition()
        self._queues: dict[str, EncodingQueue] = {}
        self._wanted: list[str] = []
        self._loader: Thread | None = None
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all indexes, in the order given."""
        return tuple(self._slots)

    @property
    def waiting(self) -> int:
        """Number of texts that are waiting to be encoded."""
        return sum(queue.waiting for queue in list(self._queues.values()))

    def state(self, name: str) -> tuple[str, str]:
        """Return WARM, WARMING, FAILED or CLOSED, and why it failed."""
        slot = self._slots[name]
        return slot.state, told(slot.error) if slot.error else ""

    def start(self) -> None:
        """Open all indexes, start loading their encoders, and start checking for indexes that are replaced."""
        for name in self._slots:
            try:
                self.cold(name)
            except SemsearchError as error:  # requests to this index report it again
                log.warning("index %s: %s", name, error)
        Thread(target=self._follow, name="follower", daemon=True).start()

    def cold(self, name: str) -> Index:
        """Return the index, opened if necessary, for everything that needs no encoder."""
        slot = self._slots[name]
        with self._changed:
            if self._closed:
                raise NotReadyError("the server is stopping; try again")
            if slot.cold is None:
                store = open_store(slot.place)
                settings = EncoderSettings(device=self._settings.device, runtime=self._settings.runtime)
                slot.cold = Index(store, settings=settings)
                slot.stores.append(store)
                self._want(name)
            return slot.cold

    def warm(self, name: str) -> Index | None:
        """Return the index with its encoder; None while that is loading, or if it cannot be loaded."""
        self.cold(name)
        return self._slots[name].warm

    def failure(self, name: str) -> SemsearchError | None:
        """Return why the encoder cannot be loaded; None if it is loaded or still loading."""
        return self._slots[name].error

    def wait_for(self, name: str, seconds: float) -> Index:
        """Return the index with its encoder, waiting until that is loaded.

        Raises:
            NotReadyError: If the encoder is not loaded in time.
            ModelError, MismatchError: If the encoder cannot be loaded.
        """
        self.cold(name)
        slot, until = self._slots[name], time.monotonic() + seconds
        with self._changed:
            while slot.warm is None and slot.error is None and not self._closed:
                if not self._changed.wait(until - time.monotonic()) and time.monotonic() >= until:
                    break
            if slot.warm:
                return slot.warm
        raise slot.error or NotReadyError(f"the model of index {name!r} is still loading; try again")

    def queue(self, name: str) -> EncodingQueue | None:
        """Return the queue for the encoder of an index; None until that is loaded. Never blocks."""
        return self._slots[name].queue

    def forget(self, name: str, index: Index) -> None:
        """Have an index opened again when it is next used, because it was deleted or replaced."""
        slot = self._slots[name]
        with self._changed:
            if index in (slot.warm, slot.cold):
                log.info("index %s was replaced or deleted; it will be reopened when it is next used", name)
                slot.cold = slot.warm = slot.queue = slot.error = None

    def close(self) -> None:
        """Close all queues and stores, after the batches that are being encoded."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for queue in self._queues.values():
            queue.close()
        for slot in self._slots.values():
            for store in slot.stores:
                store.close()

    def _follow(self) -> None:
        """Reopen indexes soon after they are replaced, even if nobody searches them."""
        while True:
            with self._changed:
                if self._closed or self._changed.wait_for(lambda: self._closed, FOLLOW_SECONDS):
                    return
            for name, slot in self._slots.items():
                index, queue = slot.warm, slot.queue
                if index is None or queue is None:
                    continue
                try:
                    if not Index.exists(slot.place) or index.spec.fingerprint != queue.encoder.spec.fingerprint:
                        self.forget(name, index)
                        self.cold(name)
                except SemsearchError:
                    self.forget(name, index)

    def _want(self, name: str) -> None:
        """Request the encoder of an index; the caller must hold the lock."""
        self._wanted.append(name)
        if self._loader is None:
            self._loader = Thread(target=self._load_wanted, name="loader", daemon=True)
            self._loader.start()

    def _load_wanted(self) -> None:
        while True:
            with self._changed:
                if not self._wanted or self._closed:
                    self._loader = None
                    return
                name = self._wanted.pop(0)
                cold = self._slots[name].cold
            if cold:
                self._load(self._slots[name], name, cold)

    def _load(self, slot: Slot, name: str, cold: Index) -> None:
        queue: EncodingQueue | None = None
        warm: Index | None = None
        error: SemsearchError | None = None
        started = time.perf_counter()
        try:
            queue = self._queue_for(cold)
            warm = Index(slot.stores[-1], encoder=QueuedEncoder(queue))
        except SemsearchError as failure:
            error = failure
        except Exception as failure:
            log.exception("index %s: its encoder cannot be loaded", name)
            error = MismatchError(f"the encoder of index {name!r} cannot be loaded ({type(failure).__name__})")
        with self._changed:
            if slot.cold is cold:  # the index was not replaced in the meantime
                slot.warm, slot.queue, slot.error = warm, queue, error
            retired, slot.stores = slot.stores[:-1], slot.stores[-1:]
            used = {id(one.queue) for one in self._slots.values()}
            idle = [key for key, one in self._queues.items() if id(one) not in used]
            unused = [self._queues.pop(key) for key in idle]
            self._changed.notify_all()
        for queue_left in unused:
            queue_left.close()
        for store in retired:
            store.close()
        gc.unfreeze()  # lets the leftovers of a replaced index be collected
        gc.collect()
        gc.freeze()  # loaded objects stay, and scanning them would delay every request by 0.1 s
        log.log(
            logging.WARNING if error else logging.INFO,
            "index %s: %s after %.1f s",
            *(name, error or "encoder loaded", time.perf_counter() - started),
        )

    def _queue_for(self, index: Index) -> EncodingQueue:
        """Return the queue of the index's encoder, which is loaded unless another index already uses it."""
        fingerprint = index.spec.fingerprint
        if fingerprint not in self._queues:
            encoder = index.encoder
            encoder.encode_queries([FIRST])
            settings = self._settings
            self._queues[fingerprint] = EncodingQueue(
                encoder,
                batch_tokens=settings.batch_tokens,
                max_waiting=settings.max_waiting,
                together=settings.batching,
                watch=self._watch,
            )
        return self._queues[fingerprint]
