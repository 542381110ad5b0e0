"""Test the map of a corpus: principal components, against NumPy's decomposition of the covariance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_store import MemoryStore

from semsearch import Index, WordHashEncoder
from semsearch.corpus_map import principal_plane
from semsearch.errors import UsageError


def test_the_plane_is_that_of_the_two_largest_variances():
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32) * np.arange(1, 9, dtype=np.float32)
    plane = principal_plane(rows)
    variances, axes = np.linalg.eigh(np.cov(rows.T))
    expected = (rows - rows.mean(0)) @ axes[:, ::-1][:, :2]
    for mine, theirs in zip(plane.T, expected.T, strict=True):
        assert abs(np.corrcoef(mine, theirs)[0, 1]) == pytest.approx(1, abs=1e-4)
    assert plane.var(0)[0] / plane.var(0)[1] == pytest.approx(variances[-1] / variances[-2], rel=1e-3)
    assert np.abs(plane).max() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_texts_that_are_alike_lie_near_one_another(tmp_path: Path, kind: str):
    place: Any = tmp_path / "index" if kind == "folder" else MemoryStore()
    birds = [f"heron reeds water fish {n}" for n in range(9)]
    breads = [f"flour rye oven yeast {n}" for n in range(9)]
    with Index.open(place, create=True, encoder=WordHashEncoder(1024)) as index:
        assert index.map() == []
        index.add([{"_id": text, "title": text[:5], "text": text} for text in (*birds, *breads)])
        points = {point.doc_id: (point.x, point.y) for point in index.map()}
        assert len(index.map(5)) == 5
        with pytest.raises(UsageError, match="`n` is"):
            index.map(1.5)  # type: ignore[arg-type]
    assert points.keys() == {*birds, *breads}
    assert len({points[text][0] > 0 for text in birds}) == len({points[text][0] > 0 for text in breads}) == 1
    assert points[birds[0]][0] * points[breads[0]][0] < 0


@pytest.mark.parametrize("texts", [["one"], ["same", "same"]])
def test_few_documents_and_equal_ones_have_a_place(texts: list[str]):
    with Index.open(MemoryStore(), create=True, encoder=WordHashEncoder(64)) as index:
        index.add([{"_id": str(n), "text": text} for n, text in enumerate(texts)])
        assert all(abs(point.x) < 1e-3 and abs(point.y) < 1e-3 for point in index.map())
