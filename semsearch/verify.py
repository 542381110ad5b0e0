"""Verification of an index: its store, its 8-bit model, and a sample of its vectors encoded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import random

import numpy as np

from semsearch.arrays import Vectors
from semsearch.corpus.chunking import Chunker, Chunking
from semsearch.encoder.encoder import TextEncoder
from semsearch.encoder.runtimes.openvino_graph import StoredGraph
from semsearch.errors import MismatchError, ModelError, UsageError
from semsearch.stores.base import Store
from semsearch.stores.codecs import CODECS
from semsearch.stores.local.care.verify import Problem, Watch
from semsearch.stores.local.folder import DRAFT, encoder_folder
from semsearch.stores.local.store import LocalStore

SAMPLE = 100
"""Default number of passages that are encoded again."""

TOLERANCE: Mapping[str, float] = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2, "int8": 5e-2}
"""Maximum distance of a passage's vector from that of its text encoded again, relative to its length, by precision.

With the default model in bfloat16, vectors of the same runtime are up to 0.004 apart, because batches differ, and those
of OpenVINO and torch 0.018; another model, pooler or text is some tenths away at least.
"""

ROUNDING: Mapping[str, float] = {"float32": 0.0, "float16": 1e-3, "int8": 2e-2}
"""Added to it because close vectors may be stored as different codes, by the precision of stored vectors."""

SAID = 3
"""Number of documents that a problem names."""


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a verification found; true if the index is intact.

    Attributes:
        problems: What is wrong; see `Problem`.
        notes: What is worth knowing but not wrong: checks that were left out, and files that are not part of the index.
        encoded: Number of passages that were encoded again.
    """

    problems: Sequence[Problem]
    notes: Sequence[str]
    encoded: int

    def __bool__(self) -> bool:
        return not self.problems


def verify(
    store: LocalStore, encoder: Callable[[], TextEncoder], sample: int, watch: Watch | None = None
) -> VerifyResult:
    """Verify an index.

    Args:
        store: Its store.
        encoder: Loads its encoder; called only if the settings are intact.
        sample: Number of passages to encode again; 0 for none.
        watch: Progress callback that receives the name of each part before it is checked.

    Raises:
        NoIndexError: If there is no index.
        SchemaError: If the index was written by a newer semsearch, or by an older one, which opening would change.
    """
    problems = store.verify(watch)
    if any(problem.part in ("database", "settings") and not problem.derived for problem in problems):
        return VerifyResult(problems, ["the encoder was not checked, because the settings may be damaged"], 0)
    problems += _check_artifacts(store)
    notes, n = [_note(name) for name in store.stray_files()], 0
    if sample and not any(problem.part in ("documents", "vectors") for problem in problems):
        if watch:
            watch("encoder")
        try:
            n, found = _check_sample(store, encoder(), sample)
            problems += found
        except (ModelError, MismatchError, UsageError) as error:
            notes.append(f"no passage was encoded again: {error}")
    return VerifyResult(problems, notes, n)


def _note(name: str) -> str:
    if name == DRAFT:
        return f"{name} is the draft of an interrupted reencoding; the same command resumes it"
    return f"{name} is not part of the index; it may be deleted while nothing writes"


def _check_artifacts(store: LocalStore) -> list[Problem]:
    """Check the 8-bit model that the index keeps, if its encoder has one."""
    precision = store.spec.precision
    name = encoder_folder(precision)
    if not name:
        return []
    graph = StoredGraph.open(store.folder / name)
    if graph is None or not graph.is_intact() or not precision.endswith(f":{graph.sha256}"):
        remedy = "restore a backup, or move the index to another encoder with semsearch reencode"
        return [Problem("artifacts", f"the 8-bit model in {name} is missing or damaged; {remedy}")]
    return []


def _check_sample(store: Store, encoder: TextEncoder, sample: int) -> tuple[int, list[Problem]]:
    """Encode passages from the whole index again; return their number, and what differs."""
    spec, precision = store.spec, store.storage.store_precision
    codec = CODECS[precision]
    with store.snapshot():
        passages = store.counts()["passages"]
        if passages <= sample:
            numbers = store.passages_from(0.0, passages)
        else:  # others each time
            places = ((place + random()) / sample for place in range(sample))
            numbers = sorted({number for place in places for number in store.passages_from(place, 1)})
        shown, expected, fitted = store.show(numbers), store.vectors_of(numbers), store.fitted()
        chunking = Chunking.from_json(store.chunking)
    chunker = Chunker(encoder.tokenizer, spec.max_tokens, spec.passage_prefix, chunking)
    candidates = [
        (row, one.text)
        for row, number in enumerate(numbers)
        for one in chunker.encodings(shown[number].title, shown[number].section, shown[number].text)
    ]
    vectors = encoder.encode_documents([text for _, text in candidates])
    vectors = codec.decode(codec.encode(vectors))  # what is left is rounded differently at most
    vectors = fitted(vectors) if fitted else vectors
    distances = np.full(len(numbers), np.inf)
    for (row, _), vector in zip(candidates, vectors, strict=True):
        distances[row] = min(distances[row], _distance(vector, expected[row]))
    tolerance = TOLERANCE[spec.precision.partition(":")[0]] + ROUNDING[precision]
    wrong = [shown[numbers[row]].doc_id for row in np.flatnonzero(distances > tolerance).tolist()]
    if not wrong:
        return len(numbers), []
    some = ", ".join(map(repr, list(dict.fromkeys(wrong))[:SAID]))
    found = (
        f"{len(wrong)} of {len(numbers)} passages get another vector when they are encoded again, such as those of "
        f"{some}: off by up to {distances.max():.2g}, expected {tolerance:g} at most; delete these documents and index "
        "them again"
    )
    return len(numbers), [Problem("encoder", found)]


def _distance(vector: Vectors, expected: Vectors) -> float:
    """Return the distance of two vectors, relative to the length of the second; 0 for a stored vector of zeros.

    Those stand for texts without any token that the encoder knows; see `semsearch.ingest`.
    """
    length = float(np.linalg.norm(expected))
    return float(np.linalg.norm(vector - expected)) / length if length else 0.0
