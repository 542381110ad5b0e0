"""Backbone and poolers converted from torch into one OpenVINO graph, and kept on disk for the next process.

    <cache>/graphs/<key>/graph.xml, graph.bin, sums.json      a graph and its checksums
    <cache>/graphs/<key>.lock                                 who is converting
    <cache>/graphs/compiled/<key>.blob                        compiled for one CPU and precision: sha256, then the blob

A graph is converted from weights that are kept elsewhere, so any of these files can be deleted. One that is not what
its checksum says is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from semsearch.encoder.cache import cache_folder, warn_of_cache
from semsearch.encoder.checkpoint import Checkpoint, Head, hash_beside, hash_file
from semsearch.errors import UnsupportedError

if TYPE_CHECKING:
    from semsearch.encoder.runtimes.torch_model import PooledModel

FORMAT = 1
"""Raise it when the same checkpoint and heads would give another graph."""

XML, BIN, SUMS = "graph.xml", "graph.bin", "sums.json"

MAX_MB = 4_096
"""Bound on the graphs that are kept; those that were used longest ago leave first."""

WAIT_SECONDS = 600
"""For another process that converts the same graph; a large backbone takes minutes."""

CONVERTER = "openvino.tools.ovc"

TOLERANCE = 1e-3
"""Largest distance of a graph's vectors from torch's, in units of their largest component."""

Compiled = Any
"""openvino.CompiledModel; openvino is imported when a graph is."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph on disk.

    Attributes:
        folder: With graph.xml and graph.bin.
        sha256: Over both, in hex.
        bin_sha256: Of graph.bin, as it was written.
    """

    folder: Path
    sha256: str
    bin_sha256: str

    @classmethod
    def open(cls, folder: Path) -> Graph | None:
        """A graph whose weights have the right size, and else is what its checksums say; None for anything else.

        The weights are being hashed from now on, and may be used meanwhile: ask `is_intact` in the end.
        """
        with suppress(OSError, ValueError, TypeError, KeyError):
            stated = json.loads((folder / SUMS).read_text(encoding="utf-8"))
            if stated["bytes"] == (folder / BIN).stat().st_size and stated[XML] == hash_file(folder / XML):
                hash_beside(folder / BIN)
                whole = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
                return cls(folder, whole, stated[BIN])
        return None

    def is_intact(self) -> bool:
        """Whether the weights are what their checksum says."""
        return hash_file(self.folder / BIN) == self.bin_sha256

    def copy(self, folder: Path) -> None:
        """Copy it into a new folder, which is there whole or not at all, also after a loss of power."""
        half_made = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(half_made, ignore_errors=True)
        shutil.copytree(self.folder, half_made)
        for name in (XML, BIN, SUMS):
            with (half_made / name).open("rb+") as file:
                os.fsync(file.fileno())
        half_made.rename(folder)

    @classmethod
    def write(cls, model: Any, folder: Path) -> Graph:
        """Write an openvino.Model into a new folder."""
        folder.mkdir(parents=True)
        openvino().save_model(model, folder / XML, compress_to_fp16=False)
        (folder / SUMS).write_text(json.dumps(_sums(folder), sort_keys=True), encoding="utf-8")
        graph = cls.open(folder)
        assert graph
        return graph


def _sums(folder: Path) -> dict[str, str | int]:
    return {"bytes": (folder / BIN).stat().st_size, **{name: hash_file(folder / name) for name in (BIN, XML)}}


@cache
def openvino() -> Any:
    """The library, without its telemetry: what a user encodes is nobody else's business."""
    missing: dict[str, Any] = dict.fromkeys({"openvino_telemetry", CONVERTER} - sys.modules.keys())
    sys.modules.update(missing)  # None: importing it fails, which openvino takes as not installed
    library = import_module("openvino")
    if CONVERTER in missing:
        del sys.modules[CONVERTER]  # takes as long to import as all the rest, so only when something is converted
    return library


def converter() -> Any:
    """openvino.convert_model."""
    openvino()
    return import_module(CONVERTER).convert_model


@cache
def core() -> Any:
    """Its one openvino.Core."""
    return openvino().Core()


def graph_of(checkpoint: Checkpoint, heads: Sequence[Head]) -> Graph | Any:
    """The graph of a checkpoint's backbone with these heads: from the cache, or converted and kept there.

    Returns:
        A graph on disk, perhaps not proved intact yet, or an openvino.Model where the cache cannot be written.

    Raises:
        UnsupportedError: It does not convert, or not to the same numbers.
        ModelError: The checkpoint cannot be loaded.
    """
    key = _key(checkpoint, heads)
    folder = cache_folder() / "graphs" / key
    if kept := Graph.open(folder):
        with suppress(OSError):
            (folder / SUMS).touch()
        return kept
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{key}.lock"), timeout=WAIT_SECONDS):
            if kept := Graph.open(folder):  # another process was faster
                return kept
            half_made = folder.with_name(f"{key}.new")
            for old in (half_made, folder):
                shutil.rmtree(old, ignore_errors=True)
            Graph.write(convert(checkpoint, heads), half_made)
            half_made.rename(folder)
            _prune(folder)
            return Graph.open(folder)
    except (OSError, Timeout) as error:
        warn_of_cache(
            f"the converted model cannot be kept in {str(folder.parent)!r} ({error}), so each start converts it again; "
            "name another folder with $SEMSEARCH_CACHE"
        )
        return convert(checkpoint, heads)


def convert(checkpoint: Checkpoint, heads: Sequence[Head]) -> Any:
    """Trace a model with dynamic shapes into an openvino.Model, and compare the two on texts of other shapes."""
    import torch

    from semsearch.encoder.runtimes.torch_model import PooledModel

    model = PooledModel(checkpoint, heads)
    example = tuple(torch.from_numpy(np.asarray(array)) for array in _probe(model, [9, 6], skip=0))
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, on what is constant for every shape
            converted = converter()(model, example_input=example)
        compiled = core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        distance = max(_distance(model, compiled, lengths, skip) for lengths, skip in (([3, 31, 17], 0), ([25], 2)))
    except Exception as error:  # the tracer runs the model's own code, and raises whatever that does
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(f"model {checkpoint.name!r} does not convert to OpenVINO ({reason[0]:.200})") from None
    if not distance <= TOLERANCE:
        raise UnsupportedError(
            f"model {checkpoint.name!r} converted to OpenVINO gives other vectors than torch (they differ by "
            f"{distance:.1g} of the largest component)"
        )
    return converted


def _probe(model: PooledModel, lengths: Sequence[int], skip: int) -> tuple[Any, Any, Any]:
    """Token ids of made-up texts, their mask, and the prefix's length."""
    config = model.backbone.config
    longest = min(max(lengths), (getattr(config, "max_position_embeddings", None) or 512) - 2)
    mask = (np.arange(longest) < np.asarray(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(4, config.vocab_size, mask.shape)
    return np.where(mask, ids, getattr(config, "pad_token_id", 0) or 0), mask, np.asarray(skip)


def _distance(model: PooledModel, compiled: Compiled, lengths: Sequence[int], skip: int) -> float:
    import torch

    arrays = _probe(model, lengths, skip)
    with torch.inference_mode():
        expected = [vectors.numpy() for vectors in model(*map(torch.from_numpy, arrays))]
    actual = list(compiled(arrays).values())
    return max(
        float(np.abs(ours - theirs).max() / np.abs(theirs).max()) for ours, theirs in zip(actual, expected, strict=True)
    )


def _key(checkpoint: Checkpoint, heads: Sequence[Head]) -> str:
    """What a graph depends on."""
    parts = [[pooler.name, checkpoint.weights_hash(dense)] for pooler, dense in heads]
    return hashlib.sha256(json.dumps([FORMAT, openvino().__version__, parts]).encode()).hexdigest()[:32]


def _prune(current: Path) -> None:
    """Delete the graphs that were used longest ago until the rest keeps to the bound."""

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
            shutil.rmtree(folder, ignore_errors=True)  # one that another process has open goes another time
