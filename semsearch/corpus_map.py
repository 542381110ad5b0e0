"""A map of a corpus: documents as points in the plane, close together if their texts are similar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semsearch.arrays import Vectors
from semsearch.stores.base import Readable
from semsearch.types import Metadata


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A document on a map.

    Attributes:
        x, y: Coordinates, from -1 to 1.
    """

    doc_id: str
    title: str
    x: float
    y: float
    metadata: Metadata


def map_documents(store: Readable, n: int) -> list[MapPoint]:
    """Place at most n documents, evenly spread over the index, by the two principal components of a passage of each."""
    with store.snapshot():
        drawn = {passage for step in range(n) for passage in store.passages_from(step / max(n - 1, 1), 1)}
        documents = {document: passage for passage, document in store.documents_of(sorted(drawn)).items()}
        passages = sorted(documents.values())
        places = principal_plane(store.vectors_of(passages)) if passages else np.empty((0, 2), np.float32)
        shown = store.show(passages)
    return [
        MapPoint(one.doc_id, one.title, float(x), float(y), one.metadata)
        for one, (x, y) in zip(map(shown.__getitem__, passages), places, strict=True)
    ]


def principal_plane(rows: Vectors) -> Vectors:
    """Project rows `[n, dim]` onto their first two principal components `[n, 2]`, scaled to the range from -1 to 1."""
    centered = rows - rows.mean(0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    plane = np.zeros((len(rows), 2), np.float32)
    for n, axis in enumerate(axes[:2]):
        plane[:, n] = centered @ (axis * np.sign(axis[np.abs(axis).argmax()]))  # the sign of an axis is arbitrary
    scaled: Vectors = plane / max(float(np.abs(plane).max()), 1e-12)
    return scaled
