"""Converted graphs, and the on-disk cache that keeps them for the next process.

    <cache>/graphs/<key>/graph.xml, graph.bin, sums.json      a graph and its checksums
    <cache>/graphs/<key>.lock                                 held by the process that is converting
    <cache>/graphs/<key>.refused                              why the graph is not used: it gives different vectors
    <cache>/graphs/compiled/<key>.blob                        compiled for one CPU and precision: sha256, then the blob

A graph is converted from weights that are stored elsewhere, so any of these files can be deleted. A file that does not
match its checksum is created again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from filelock import FileLock, Timeout

from semsearch.encoder.cache import cache_folder, warn_of_cache
from semsearch.encoder.runtimes.networks import Network
from semsearch.encoder.runtimes.openvino_library import core, openvino
from semsearch.errors import UnsupportedError
from semsearch.files import hash_ahead, hash_file

FORMAT = 3
"""Version of the conversion; increase it when the same checkpoint and heads would give a different graph."""

XML, BIN, SUMS = "graph.xml", "graph.bin", "sums.json"

REACH = "reach"
"""Name of the length, in sums.json, up to which a graph is verified."""

REFUSED = ".refused"

MAX_MB = 4_096
"""Maximum total size of the cached graphs; the least recently used ones are deleted first."""

WAIT_SECONDS = 600
"""How long to wait for another process that converts the same graph; a large backbone takes minutes."""

Compiled: TypeAlias = Any
"""An openvino.CompiledModel; openvino is imported only when a graph is loaded."""

log = logging.getLogger(__name__)


class Graph(Protocol):
    """A converted network."""

    @property
    def reach(self) -> int | None:
        """Length of the longest text for which its vectors are verified; None if there is no limit."""
        ...

    def read(self) -> Any:
        """Return the graph as an openvino.Model."""
        ...

    def compile(self, precision: str, aim: str) -> Compiled:
        """Compile the graph for this CPU.

        Args:
            precision: OpenVINO's name of the precision, such as `bf16`.
            aim: OpenVINO's performance hint, such as `LATENCY`.

        Raises:
            RuntimeError: If the graph's files are gone.
        """
        ...

    def is_intact(self) -> bool:
        """Return whether the weights match their checksum."""
        ...


@dataclass(frozen=True, slots=True)
class LooseGraph:
    """A graph that exists only in memory, because the cache cannot be written."""

    model: Any
    reach: int | None = None

    def read(self) -> Any:
        """Return the graph as an openvino.Model."""
        return self.model

    def compile(self, precision: str, aim: str) -> Compiled:
        """Compile the graph for this CPU; see `Graph`."""
        return core().compile_model(self.model, "CPU", _settings(precision, aim))

    def is_intact(self) -> bool:
        """Return True, as there is no file that could be damaged."""
        return True


@dataclass(frozen=True, slots=True)
class StoredGraph:
    """A graph on disk.

    Attributes:
        folder: Folder with graph.xml and graph.bin.
        sha256: Hash over both files, in hex.
        bin_sha256: Hash of graph.bin as it was written, in hex.
        reach: See `Graph`.
    """

    folder: Path
    sha256: str
    bin_sha256: str
    reach: int | None = None

    @classmethod
    def open(cls, folder: Path) -> StoredGraph | None:
        """Open a graph whose graph.xml matches its checksum and whose graph.bin has the right size, else return None.

        This starts hashing the weights in the background. They may be used meanwhile; call `is_intact` afterwards.
        """
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            stated = json.loads((folder / SUMS).read_text(encoding="utf-8"))
            if stated["bytes"] == (folder / BIN).stat().st_size and stated[XML] == hash_file(folder / XML):
                hash_ahead([folder / BIN])
                whole = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
                return cls(folder, whole, stated[BIN], stated.get(REACH))
        return None

    @classmethod
    def write(cls, model: Any, folder: Path, reach: int | None = None) -> StoredGraph:
        """Write an openvino.Model into a new folder."""
        folder.mkdir(parents=True)
        openvino().save_model(model, folder / XML, compress_to_fp16=False)
        limit = {} if reach is None else {REACH: reach}
        (folder / SUMS).write_text(json.dumps(_sums(folder) | limit, sort_keys=True), encoding="utf-8")
        graph = cls.open(folder)
        assert graph
        return graph

    def read(self) -> Any:
        """Return the graph as an openvino.Model."""
        return core().read_model(self.folder / XML)

    def is_intact(self) -> bool:
        """Return whether the weights match their checksum."""
        return hash_file(self.folder / BIN) == self.bin_sha256

    def compile(self, precision: str, aim: str) -> Compiled:
        """Compile the graph for this CPU, or load a previously compiled one; see `Graph`."""
        settings = {**_settings(precision, aim), "CACHE_MODE": "OPTIMIZE_SIZE"}  # without weights: graph.bin has them
        cpu = [core().get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        key = hashlib.sha256(repr([self.sha256, openvino().__version__, cpu, settings]).encode()).hexdigest()[:32]
        path = cache_folder() / "graphs" / "compiled" / f"{key}.blob"
        if blob := _read(path):
            try:
                return core().import_model(blob, "CPU", {**settings, "WEIGHTS_PATH": str(self.folder / BIN)})
            except RuntimeError:
                log.warning("the compiled model %s cannot be loaded and will be compiled again", path)
        compiled = core().compile_model(self.folder / XML, "CPU", settings)
        with suppress(OSError, RuntimeError):  # without it, the next start compiles again
            _write(path, compiled.export_model())
        return compiled


def _settings(precision: str, aim: str) -> dict[str, str]:
    threads = os.environ.get("OMP_NUM_THREADS", "")  # as for torch; OpenVINO's own threads do not heed it
    limited = threads.isdecimal() and int(threads)
    # OpenVINO would pin the threads to the first cores, so that several processes with a limit would share these
    limit = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": "NO"} if limited else {}
    return {"PERFORMANCE_HINT": aim, "INFERENCE_PRECISION_HINT": precision, **limit}


def _sums(folder: Path) -> dict[str, str | int]:
    return {"bytes": (folder / BIN).stat().st_size, **{name: hash_file(folder / name) for name in (BIN, XML)}}


def _read(path: Path) -> bytes | None:
    """Return a blob that matches its checksum, else None."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[32:]).digest() == data[:32]:
        return data[32:]
    log.warning("the compiled model %s is damaged and will be compiled again", path)
    return None


def _write(path: Path, blob: Any) -> None:
    data = bytes(blob.getbuffer() if hasattr(blob, "getbuffer") else blob)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    temporary.write_bytes(hashlib.sha256(data).digest() + data)
    temporary.replace(path)


def graph_of(network: Network, *, anew: bool = False) -> Graph:
    """Return the graph of a network, from the cache or newly converted and then cached.

    Args:
        network: Network to convert.
        anew: Convert the network even if the cache has its graph, which was found to be damaged.

    Returns:
        A graph whose integrity may still have to be checked; it is in memory if the cache cannot be written.

    Raises:
        UnsupportedError: If the network cannot be converted, the graph gives different numbers, or it is not verified
            for the length of the network's texts.
        ModelError: If the checkpoint cannot be loaded.
    """
    graph, checkpoint = _kept_or_converted(network, anew), network.checkpoint
    if graph.reach is not None and (network.max_tokens or checkpoint.max_tokens) > graph.reach:
        raise UnsupportedError(
            f"model {checkpoint.name!r} attends within a window of {graph.reach:,} tokens, and its conversion to "
            f"OpenVINO is not verified for longer texts; lower `max_tokens` to {graph.reach}"
        )
    return graph


def _kept_or_converted(network: Network, anew: bool) -> Graph:
    key = _key(network)
    folder = cache_folder() / "graphs" / key
    if reason := _refused(folder):
        raise UnsupportedError(f"model {network.checkpoint.name!r} {reason}")
    if not anew and (kept := StoredGraph.open(folder)):
        with suppress(OSError):
            (folder / SUMS).touch()
        return kept
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{key}.lock"), timeout=WAIT_SECONDS):
            if not anew and (kept := StoredGraph.open(folder)):  # another process was faster
                return kept
            if folder.exists():
                log.warning("the converted model %s is damaged and will be converted again", folder)
            return _convert_into(folder, network)
    except (OSError, Timeout) as error:
        warn_of_cache(
            f"the converted model cannot be saved in {str(folder.parent)!r} ({error}), so every start converts it "
            "again; choose another folder with $SEMSEARCH_CACHE"
        )
        return LooseGraph(*_convert(network))


def _convert_into(folder: Path, network: Network) -> StoredGraph:
    """Convert a network and store the graph in a folder of the cache; the caller holds its lock."""
    half_made = folder.with_name(f"{folder.name}.new")
    for old in (half_made, folder):
        shutil.rmtree(old, ignore_errors=True)
    model, reach = _convert(network, folder.with_suffix(REFUSED))
    made = StoredGraph.write(model, half_made, reach)
    half_made.rename(folder)
    _prune(folder)
    return replace(made, folder=folder)


def _convert(network: Network, refused: Path | None = None) -> tuple[Any, int | None]:
    """Convert a network; if it cannot be verified, store the reason, which spares the next process the work."""
    from semsearch.encoder.runtimes.openvino_convert import UnfaithfulError, convert

    try:
        if network.checkpoint.onnx:
            from semsearch.encoder.runtimes.openvino_onnx import read_export

            return read_export(network), None
        return convert(network)
    except UnfaithfulError as error:
        if refused:
            refused.write_text(error.reason, encoding="utf-8")
        raise


def _refused(folder: Path) -> str:
    """Return why the graph of this folder is not used, or an empty string."""
    with suppress(OSError, ValueError):
        return folder.with_suffix(REFUSED).read_text(encoding="utf-8")
    return ""


def _key(network: Network) -> str:
    """Return a hash of everything that a graph depends on."""
    return hashlib.sha256(json.dumps([FORMAT, openvino().__version__, network.parts]).encode()).hexdigest()[:32]


def _prune(current: Path) -> None:
    """Delete the least recently used graphs until the rest fit within `MAX_MB`, but never the current one."""

    def used(folder: Path) -> float:
        with suppress(OSError):
            return (folder / SUMS).stat().st_mtime
        return 0.0

    total = 0
    for folder in sorted(current.parent.glob("*/"), key=used, reverse=True):
        if not (folder / SUMS).is_file():
            continue
        total += sum(file.stat().st_size for file in folder.iterdir())
        if total > MAX_MB * 2**20 and folder != current:
            shutil.rmtree(folder, ignore_errors=True)  # one that is open in another process may stay
