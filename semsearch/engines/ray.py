"""The engine that encodes on a Ray cluster: long-lived actors write shards, which the run merges into the index.

Ray starts, places and restarts the actors, and moves documents to them. This module only hands each actor its next
batches, again if a worker or a node was lost, and reads the shards in the order of the corpus. The documents come from
the run, which has already left out those that are unchanged.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from semsearch.checks import is_whole
from semsearch.engines.base import EncodedDocument, Tick
from semsearch.engines.local import chunker_of
from semsearch.engines.shard_worker import order_of, rows_of
from semsearch.engines.shards import ShardFolder, recipe_of, shard_name
from semsearch.errors import ClusterError, RecordError, UsageError
from semsearch.messages import first_line
from semsearch.types import AUTO, Document
from semsearch.urls import without_secrets
from semsearch.version import __version__

if TYPE_CHECKING:
    from semsearch.corpus.chunking import Chunking
    from semsearch.encoder.encoder import TextEncoder

log = logging.getLogger(__name__)

QUEUED = 2
"""Number of batches that an actor has at a time: the one that it encodes, and the next, so that it never waits."""

AHEAD = 3
"""Number of batches per actor that are begun: those that actors have, and one whose shard waits for its turn."""

LOSSES = 3
"""Number of times that a batch is given to another worker because its own was lost."""

CONNECT_SECONDS = 10.0
"""Time within which the address of a cluster has to answer."""

START_SECONDS = 600.0
"""Time within which at least one worker has to be ready, loading its model included."""

PATIENCE_SECONDS = 30.0
"""Time without any worker after which a warning says what the cluster has to offer."""

ADDRESS = re.compile(r"auto|local|[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Encodes on a Ray cluster; pass it to `Index.add` as `engine`.

    Attributes:
        workers: Number of workers. Each takes one CPU of the cluster, and loads the model once.
        address: `HOST:PORT` of the cluster's head node, `auto` for the cluster that this machine belongs to, or `local`
            to start Ray on this machine; None for the address in `RAY_ADDRESS`, or else `local`.
        gpus_per_worker: Number of GPUs of each worker, or the share of one, such as 0.5; 0 to encode on the CPU.
        shards: Folder in which workers store what they have encoded until the index holds it: a path that all nodes
            and this machine share, or a URL that pyarrow can open; None for a folder beside the index.

    Raises:
        UsageError: If a setting is invalid.
    """

    workers: int = 1
    address: str | None = None
    gpus_per_worker: float = 0.0
    shards: str | Path | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.workers) or self.workers < 1:
            raise UsageError(f"`workers` must be at least 1, got {self.workers!r:.60}")
        gpus = self.gpus_per_worker
        if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 0 <= gpus < float("inf"):
            raise UsageError(f"`gpus_per_worker` must be at least 0, got {gpus!r:.60}")
        if gpus > 1 and gpus != int(gpus):
            raise UsageError(f"`gpus_per_worker` is {gpus}; expected a whole number, or a share below 1")
        if self.address is not None and not (isinstance(self.address, str) and ADDRESS.fullmatch(self.address)):
            raise UsageError(f"`address` is {self.address!r:.60}; expected HOST:PORT, auto or local")
        if self.shards is not None and not isinstance(self.shards, str | Path):
            raise UsageError(f"`shards` is {self.shards!r:.60}; expected a folder or a URL")

    @contextmanager
    def start(self, encoder: TextEncoder, chunking: Chunking, location: str) -> Iterator[RayWorkers]:
        """See `Engine.start`.

        Raises:
            UsageError: If Ray is not installed, or the encoder or the location cannot be used with it.
            ClusterError: If the cluster cannot be reached.
        """
        missing = [name for name in ("ray", "pyarrow") if find_spec(name) is None]
        if missing:
            raise UsageError(
                f"`engine` ray needs {' and '.join(missing)}, not installed here; pip install 'semsearch[ray]'"
            )
        if encoder.artifacts:
            raise UsageError(
                "`engine` ray cannot encode with an 8-bit model, which only the machine of the index has; use the "
                "local engine, or an index with another `precision`"
            )
        chunker_of(encoder, chunking)  # refuses lengths that do not fit, before anything is started
        recipe = recipe_of(encoder.spec, chunking)
        folder = ShardFolder(self._place(location), recipe)
        device = "cuda" if self.gpus_per_worker else AUTO
        order = order_of(encoder.spec, chunking, recipe, folder.location, device, __version__)
        with _connected(self.address or os.environ.get("RAY_ADDRESS") or "local") as ray:
            workers = RayWorkers(ray, self, order, folder, encoder.spec.dim)
            try:
                yield workers
            finally:
                workers.stop()
        workers.tidy()

    def _place(self, location: str) -> str:
        """Return the folder of the shards as an absolute path, or as a URL."""
        if self.shards is None and "://" in location:
            raise UsageError("this index is not in a folder; choose one for the work in progress with `shards`")
        place = str(self.shards or f"{location.rstrip('/')}.shards")
        return place if "://" in place else os.path.abspath(os.path.expanduser(place))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, unless this process is already connected to one; yields the module of Ray.

    Raises:
        ClusterError: If there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it when it is imported
    import ray

    if ray.is_initialized():
        yield ray
        return
    if ":" in address:
        _refuse_silence(address)
    own = {"include_dashboard": False, "object_store_memory": STORE_BYTES} if address == "local" else {}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    try:
        ray.init(address, **own, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"cannot connect to Ray at {address!r}: {first_line(error)}; check that a cluster runs there, with the "
            "versions of Ray and Python that are installed here"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


STORE_BYTES = 2**28
"""Memory for documents on their way to the workers, if Ray is started on this machine: a batch takes 0.3 MB."""


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of HTTP/2 begins (RFC 9113, 3.4); a server answers with a frame of settings, whose type is 4 too."""


def _refuse_silence(address: str) -> None:
    """Check that a server of gRPC, as Ray's is, answers at an address; Ray itself would wait for minutes.

    Raises:
        ClusterError: If none does.
    """
    host, _, port = address.rpartition(":")
    secured = os.environ.get("RAY_USE_TLS", "0") not in ("", "0")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            connection.settimeout(CONNECT_SECONDS)
            if not secured:
                connection.sendall(PREFACE)
            if not secured and connection.recv(4)[3:] != b"\4":
                raise OSError("what answers is something else")
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ClusterError(f"no Ray cluster answers at {address!r}: {reason}; check `address`") from None


def _actor_class() -> type:
    """Return the class of the actors.

    It is defined in a function, so that Ray sends its code instead of its name: a node without semsearch, or with
    another version of it, can then say so.
    """

    class EncodingActor:
        """Encodes batches of documents; what goes wrong is told in words, which any version understands."""

        def __init__(self, order: dict[str, Any]) -> None:
            import os

            import ray

            os.environ.setdefault("RAYON_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # of the tokenizer
            context = ray.get_runtime_context()
            self.node = f"node {ray.util.get_node_ip_address()} ({context.get_node_id()[:8]})"
            self.problem = self.load(order)

        def load(self, order: dict[str, Any]) -> str:
            """Load the encoder; return what prevents it, or an empty string."""
            try:
                from semsearch.version import __version__
            except ImportError as error:
                return f"{self.node} has no semsearch ({error}); install version {order['version']} there"
            if __version__ != order["version"]:
                return f"{self.node} has semsearch {__version__}, not {order['version']} as here; install that version"
            try:
                from semsearch.engines.shard_worker import ShardWorker
                from semsearch.errors import SemsearchError
            except ImportError as error:
                return f"{self.node} lacks a library: {error}; pip install 'semsearch[ray]' there"
            try:
                self.worker = ShardWorker(order)
            except SemsearchError as error:
                return f"{self.node}: {error}"
            return ""

        def ready(self) -> str:
            """Return what prevents the encoder from working, or an empty string."""
            return self.problem

        def encode(self, name: str, rows: list[Any]) -> str:
            """Encode documents and write their shard; return what prevents it, or an empty string."""
            from semsearch.errors import SemsearchError

            try:
                self.worker.encode(name, rows)
            except (SemsearchError, MemoryError) as error:
                return f"{self.node}: {error or 'out of memory'}"
            return ""

    return EncodingActor


@dataclass(eq=False, slots=True)
class _Actor:
    """A worker of the cluster.

    Attributes:
        handle: Ray's handle.
        is_up: Whether it has loaded its encoder since it was last started.
        jobs: Number of batches that it has.
    """

    handle: Any
    is_up: bool = False
    jobs: int = 0


@dataclass(eq=False, slots=True)
class RayWork:
    """A batch that the cluster encodes; see `Work`."""

    workers: RayWorkers
    name: str
    documents: Sequence[Document]
    is_done: bool = False
    is_found: bool = False
    losses: int = 0

    def finish(self, tick: Tick) -> list[EncodedDocument | RecordError]:
        """See `Work.finish`.

        Raises:
            ClusterError: If the cluster cannot encode the batch.
        """
        return self.workers.finish(self, tick) if self.documents else []

    def discard(self) -> None:
        """See `Work.discard`: the index holds what was in the shard."""
        if self.documents:
            self.workers.folder.delete(self.name)


@dataclass(eq=False, slots=True)
class RayWorkers:
    """The workers of a cluster, with the batches that they have; see `Workers`.

    One thread begins batches while another waits for them.
    """

    ray: Any
    engine: RayEngine
    order: dict[str, Any]
    folder: ShardFolder
    dim: int
    actors: list[_Actor] = field(default_factory=list)
    queue: deque[RayWork] = field(default_factory=deque)
    running: dict[Any, tuple[_Actor, RayWork | None]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    n_found: int = 0
    last_up: float = 0.0
    is_warned: bool = False
    lock: Any = field(default_factory=RLock)

    @property
    def ahead(self) -> int:
        """See `Workers.ahead`."""
        return AHEAD * self.engine.workers

    @property
    def shards(self) -> tuple[int, int]:
        """See `Workers.shards`."""
        return len(self.names), self.n_found

    def begin(self, documents: Sequence[Document]) -> RayWork:
        """See `Workers.begin`: the batch is put into the queue, unless there is a shard of it."""
        work = RayWork(self, shard_name(self.order["recipe"], documents), documents)
        if not documents:
            return work
        self.names.add(work.name)
        work.is_done = work.is_found = self.folder.has(work.name)
        if not work.is_done:
            with self.lock:
                self.queue.append(work)
                self._hire()
                self._assign()
        return work

    def finish(self, work: RayWork, tick: Tick) -> list[EncodedDocument | RecordError]:
        """Wait for the shard of a batch, and return what is in it."""
        if work.is_found:
            encoded = self.folder.read(work.name, work.documents, self.dim)
            if encoded is not None:
                self.n_found += 1
                return self._told(encoded, tick)
            work.is_done = work.is_found = False
            with self.lock:
                self.queue.appendleft(work)
                self._hire()
        while not work.is_done:
            tick(0, 0.0)
            self._watch()
        encoded = self.folder.read(work.name, work.documents, self.dim)
        if encoded is None:
            raise ClusterError(
                f"a worker has written a shard that cannot be read here; {self.folder.name} must be a "
                "folder that this machine and all nodes of the cluster share"
            )
        return self._told(encoded, tick)

    def stop(self) -> None:
        """End the actors."""
        for actor in self.actors:
            with suppress(Exception):  # the cluster may be gone
                self.ray.kill(actor.handle)

    def tidy(self) -> None:
        """Remove what is left of the shards; mention those of other runs, which are not used."""
        left = self.folder.tidy(self.names)
        if left:
            log.warning(
                "%s has %d other files, from other encoders, documents or settings, which were not used; delete them "
                "unless another run needs them",
                without_secrets(self.folder.location),
                left,
            )

    def _told(self, encoded: list[EncodedDocument | RecordError], tick: Tick) -> list[EncodedDocument | RecordError]:
        tick(sum(len(each.passages) for each in encoded if isinstance(each, EncodedDocument)), 1.0)
        return encoded

    def _hire(self) -> None:
        """Start the actors when the first batch has to be encoded."""
        if self.actors:
            return
        self.last_up = time.monotonic()
        for _ in range(self.engine.workers):
            self.actors.append(self._started())

    def _started(self) -> _Actor:
        remote = self.ray.remote(_actor_class())
        # a worker that is lost starts again, on any node that has room; its batches go to others meanwhile
        options = {"num_cpus": 1, "num_gpus": self.engine.gpus_per_worker, "max_restarts": -1, "max_task_retries": 0}
        actor = _Actor(remote.options(**options).remote(self.order))
        self._await(actor)
        return actor

    def _await(self, actor: _Actor) -> None:
        """Wait, beside everything else, until an actor has loaded its encoder, however often it starts."""
        self.running[actor.handle.ready.options(max_task_retries=-1).remote()] = (actor, None)

    def _assign(self) -> None:
        """Give the next batches to the actors that have the fewest."""
        free = [actor for actor in self.actors if actor.is_up and actor.jobs < QUEUED]
        while self.queue and free:
            actor, work = min(free, key=lambda one: one.jobs), self.queue.popleft()
            reference = actor.handle.encode.remote(work.name, rows_of(work.documents))
            self.running[reference] = (actor, work)
            actor.jobs += 1
            free = [one for one in free if one.jobs < QUEUED]

    def _watch(self) -> None:
        """Wait for a moment, and take note of what the actors have done."""
        with self.lock:
            self._assign()
            references = list(self.running)
        done, _ = self.ray.wait(references, num_returns=1, timeout=0.2)
        with self.lock:
            for reference in done:
                self._note(reference)
            self._assign()
        self._refuse_idleness()

    def _note(self, reference: Any) -> None:
        """Take note of the answer to a call, or of the loss of the actor."""
        actor, work = self.running.pop(reference)
        actor.jobs -= work is not None
        try:
            problem = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError:
            raise  # a bug
        except self.ray.exceptions.RayError as error:
            self._lose(actor, work, error)
            return
        if problem:
            raise ClusterError(problem)
        if work is not None:
            work.is_done = True
        else:
            actor.is_up = True

    def _lose(self, actor: _Actor, work: RayWork | None, error: Exception) -> None:
        """Give the batch of a lost actor to another one, and wait until the actor is there again."""
        if work is not None:
            work.losses += 1
            if work.losses > LOSSES:
                raise ClusterError(
                    f"the workers that were to encode {work.documents[0].doc_id!r:.100} and the documents after it "
                    f"were lost {work.losses} times: {first_line(error)}; see Ray's logs, for example for a lack of "
                    "memory"
                )
            self.queue.appendleft(work)
        if isinstance(error, self.ray.exceptions.ActorDiedError):  # for good
            if work is None:
                raise ClusterError(f"a worker of the cluster cannot start: {str(error).strip().splitlines()[-1]}")
            if actor in self.actors:
                self.actors[self.actors.index(actor)] = self._started()
        elif actor.is_up:
            self._await(actor)
        actor.is_up = False

    def _refuse_idleness(self) -> None:
        """Warn or give up if there has been no worker for long.

        Raises:
            ClusterError: If there was none for so long that none is to be expected.
        """
        now = time.monotonic()
        if any(actor.is_up for actor in self.actors):
            self.last_up, self.is_warned = now, False
            return
        idle = now - self.last_up
        if idle < PATIENCE_SECONDS or (self.is_warned and idle < START_SECONDS):
            return
        each = f"1 CPU and {self.engine.gpus_per_worker:g} GPU" if self.engine.gpus_per_worker else "1 CPU"
        there = {name: value for name, value in self.ray.cluster_resources().items() if name in ("CPU", "GPU")}
        free = self.ray.available_resources()
        shown = ", ".join(f"{free.get(name, 0):g} of {value:g} {name} free" for name, value in sorted(there.items()))
        what = f"no worker has started for {idle:.0f} s: each needs {each}, and the cluster has {shown or 'no CPU'}"
        if idle >= START_SECONDS:
            raise ClusterError(f"{what}; free some, or ask for fewer with `gpus_per_worker`")
        self.is_warned = True
        log.warning("%s; still waiting", what)
