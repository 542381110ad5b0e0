"""Test an index against brute-force search over a dict, through any sequence of changes and lost segments."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes import entry, open_reader, open_writer, reopen_writer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from semsearch.errors import FilterError, StoreError
from semsearch.filters.text import parse
from semsearch.stores.local import sealing, tiers
from semsearch.stores.local.catalog import Catalog
from semsearch.stores.local.database import Database
from semsearch.stores.local.vectors.ann import kinds
from semsearch.stores.local.vectors.table import VectorTable

DIM = 3
EIGHTHS = st.integers(-4, 4).map(lambda number: number / 8)  # inner products, and so the order, are exact; ties occur
NAMES = st.sampled_from([f"d{number}" for number in range(12)])
VECTORS = st.lists(st.lists(EIGHTHS, min_size=DIM, max_size=DIM), max_size=4)
DOCUMENTS = st.dictionaries(NAMES, st.tuples(VECTORS, st.integers(0, 3)), max_size=6)
QUERY = st.lists(EIGHTHS, min_size=DIM, max_size=DIM)


def hits(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[float, int]]:
    """Return the (score, passage id) pairs of the first query."""
    return [pair for pair in zip(found[0][0].tolist(), found[1][0].tolist(), strict=True) if pair[1] != -1]


class IndexMachine(RuleBasedStateMachine):
    """State machine with tiny segments: with 6 rows in each and 3 outside, a few steps create, extend and drop some."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="semsearch-store-")) / "index"
        self.constants = sealing.SEGMENT_BYTES, kinds.EXACT_BYTES, sealing.TAIL_ROWS
        sealing.SEGMENT_BYTES, kinds.EXACT_BYTES, sealing.TAIL_ROWS = 4 * DIM * 6, 4 * DIM * 8, 3
        self.passages: dict[int, tuple[str, list[float]]] = {}  # passage id to document id and vector
        self.years: dict[str, int] = {}
        self.last_id = 0

    @initialize()
    def make(self) -> None:
        self.writer = open_writer(self.folder, DIM)
        self.reader = open_reader(self.folder)

    @rule(documents=DOCUMENTS, described=st.dictionaries(NAMES, st.integers(0, 3), max_size=3))
    def commit(self, documents, described) -> None:
        described = {name: year for name, year in described.items() if name in self.years and name not in documents}
        entries = [
            entry(name, np.reshape(vectors, (len(vectors), DIM)), f"text of {name}", year=year)
            for name, (vectors, year) in documents.items()
        ]
        changes = [entry(name, np.empty((0, DIM)), f"text of {name}", year=year) for name, year in described.items()]
        self.writer.commit(entries, [change.document for change in changes])
        self.forget(documents)
        for name, (vectors, _) in documents.items():
            for vector in vectors:
                self.last_id += 1  # ids are never reused
                self.passages[self.last_id] = name, vector
        self.years |= {name: year for name, (_, year) in documents.items()} | described

    @rule(names=st.lists(NAMES, max_size=4))
    def delete(self, names) -> None:
        assert set(self.writer.delete(names)) == set(names) & self.years.keys()
        self.forget(names)
        self.years = {name: year for name, year in self.years.items() if name not in names}

    def forget(self, names) -> None:
        self.passages = {number: pair for number, pair in self.passages.items() if pair[0] not in names}

    @rule(final=st.booleans())
    def seal(self, final) -> None:
        self.writer.seal(final=final)
        if final:
            rows = dict(self.sql("SELECT vectors, n_rows FROM segments"))
            assert {path.name for path in self.folder.glob("vectors.*")} == rows.keys()
            assert all(n > 0 for n in rows.values())

    @rule()
    def reopen(self) -> None:
        self.writer.__exit__()
        self.reader.close()
        self.writer, self.reader = reopen_writer(self.folder), open_reader(self.folder)

    @rule(data=st.data())
    def lose_segments(self, data) -> None:
        for path in sorted(self.folder.glob("vectors.*")):
            if data.draw(st.booleans()):
                path.unlink()
            elif data.draw(st.booleans()):
                path.write_bytes(path.read_bytes()[:-7] + b"garbage")
        self.reader.close()
        self.reader = open_reader(self.folder)

    @rule(query=QUERY, k=st.sampled_from([1, 2, 5, 100]), year=st.none() | st.integers(0, 4))
    def search(self, query, k, year) -> None:
        scored = [
            (float(np.dot(vector, query)), number)
            for number, (name, vector) in self.passages.items()
            if year is None or self.years[name] >= year
        ]
        expected = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]
        where = None if year is None or not self.years else parse(f"year >= {year}")
        if where is None and year is not None:
            return
        vector = np.array([query], np.float32)
        assert hits(self.reader.search_vectors(vector, k, where)) == expected
        assert hits(self.writer.search_vectors(vector, k, where)) == expected

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        counts = self.reader.counts()
        assert (counts["documents"], counts["passages"]) == (len(self.years), len(self.passages))

    def sql(self, statement: str) -> list[tuple]:
        connection = sqlite3.connect(self.folder / "passages.sqlite")
        rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def teardown(self) -> None:
        sealing.SEGMENT_BYTES, kinds.EXACT_BYTES, sealing.TAIL_ROWS = self.constants
        self.writer.__exit__()
        self.reader.close()
        shutil.rmtree(self.folder.parent)


IndexMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None, derandomize=True)
TestAnIndexAnswersAsADictDoes = IndexMachine.TestCase


def random_index(folder: Path, n: int, dim: int, monkeypatch: pytest.MonkeyPatch, **wishes: str) -> np.ndarray:
    """Build an index of n one-passage documents in segments of 100 rows; return the vectors as unit rows."""
    monkeypatch.setattr(sealing, "SEGMENT_BYTES", 4 * dim * 100)
    monkeypatch.setattr(tiers, "PER_CHANGE", 0)  # merge nothing
    monkeypatch.setattr(kinds, "EXACT_BYTES", 4 * dim * 25)
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with open_writer(folder, dim, **wishes) as writer:
        for first in range(0, n, 90):
            writer.commit(
                entry(f"d{number}", [rows[number]], year=number % 7, big=number > 20)
                for number in range(first, min(n, first + 90))
            )
            writer.seal(final=False)
        writer.fit()
        writer.seal(final=True)
    return rows


@pytest.mark.parametrize("loss", ["none", "all", "damaged"])
@pytest.mark.parametrize("n_queries", [1, 33])
def test_cosines_equal_numpys_with_and_without_segment_files(tmp_path, monkeypatch, loss, n_queries):
    rows = random_index(tmp_path / "index", 777, 32, monkeypatch)
    files = sorted((tmp_path / "index").glob("vectors.*.seg"))
    assert len(files) == 7
    for file in files:
        if loss == "all":
            file.unlink()
        if loss == "damaged":
            file.write_bytes(file.read_bytes()[::-1])
    queries = np.random.default_rng(9).normal(size=(n_queries, 32)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    years = np.arange(777) % 7
    with open_reader(tmp_path / "index") as index:
        for where, kept in ((None, years >= 0), (parse("year in (2, 5)"), np.isin(years, (2, 5)))):
            exact = queries.astype(float) @ rows[kept].astype(float).T
            scores, passages = index.search_vectors(queries, 20, where)
            assert np.abs(scores - np.sort(exact)[:, ::-1][:, :20]).max() < 1e-6
            order = np.argsort(-exact, axis=1)[:, :20]
            assert np.array_equal(passages, np.flatnonzero(kept)[order] + 1)


def test_a_reader_forgets_rows_that_were_sealed_and_deleted_between_two_of_its_searches(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "TAIL_ROWS", 0)
    query = np.array([[1, 0, 0, 0]], np.float32)
    with open_writer(tmp_path) as writer, open_reader(tmp_path) as reader:
        writer.commit([entry("a", query), entry("b", query)])
        assert reader.search_vectors(query, 9, None)[1].tolist() == [[1, 2]]  # from SQLite; there is no segment yet
        writer.seal(final=True)
        writer.delete(["a", "b"])
        writer.seal(final=True)  # the only segment is empty and is removed, together with its list of deleted rows
        writer.commit([entry("c", query)])
        assert reader.search_vectors(query, 9, None)[1].tolist() == [[3]]


def test_a_filter_that_keeps_nothing_finds_nothing_and_one_on_an_unknown_field_says_so(tmp_path, monkeypatch):
    random_index(tmp_path / "index", 250, 4, monkeypatch)
    query = np.eye(4, dtype=np.float32)
    with open_reader(tmp_path / "index") as index:
        assert set(index.search_vectors(query, 5, parse("year > 99"))[1].ravel().tolist()) <= {-1}
        assert index.search_keywords("words", 5, parse("year > 99"))[1].tolist() == []
        with pytest.raises(FilterError, match="did you mean 'year'"):
            index.search_vectors(query, 5, parse("yaer = 1"))
        with pytest.raises(FilterError, match="did you mean 'year'"):
            index.search_keywords("words", 5, parse("yaer = 1"))
        assert index.search_vectors(query[:0], 5, None)[1].shape[0] == 0
        assert sum(index.search_vectors(query[:1], 999, None)[1][0] != -1) == 250


def test_an_empty_index_is_searched_without_complaint(tmp_path):
    open_writer(tmp_path / "index").__exit__()
    with open_reader(tmp_path / "index") as index:
        assert index.search_vectors(np.eye(4, dtype=np.float32), 5, None)[1].shape == (4, 0)
        assert index.search_keywords("anything", 5, None)[1].tolist() == []
        assert set(index.counts().values()) == {0}


def test_whitening_is_stored_fitted_and_applied_as_numpy_does(tmp_path, monkeypatch):
    rows = random_index(tmp_path / "index", 350, 6, monkeypatch, transform="whiten:3")
    raw = rows.astype(float)
    covariance = np.cov(raw.T, bias=True)
    variance, axes = np.linalg.eigh(covariance)
    white = (raw - raw.mean(0)) @ axes[:, ::-1][:, :3] / np.sqrt(variance[::-1][:3])
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    query = rows[[5, 200]] * 3
    with closing(Database(tmp_path / "index")) as database:
        assert np.array_equal(VectorTable(database, Catalog(database)).stored(1, None)[1], rows)
    with open_reader(tmp_path / "index") as index:
        scores, passages = index.search_vectors(query, 350, None)
        direct = (query.astype(float) - raw.mean(0)) @ axes[:, ::-1][:, :3] / np.sqrt(variance[::-1][:3])
        expected = direct / np.linalg.norm(direct, axis=1, keepdims=True) @ white.T
        for row in range(2):
            assert np.abs(scores[row] - expected[row][passages[row] - 1]).max() < 1e-4
        assert index.status()["transform"] == "fitted"


def test_before_its_transform_is_fitted_an_index_says_so_and_afterwards_a_reader_goes_on(tmp_path):
    with open_writer(tmp_path / "index", transform="center") as writer, open_reader(tmp_path / "index") as reader:
        writer.commit([entry("a", [[1, 0, 0, 0], [0, 1, 0, 0]])])
        with pytest.raises(StoreError, match="not fitted yet"):
            reader.search_vectors(np.eye(4, dtype=np.float32), 3, None)
        assert reader.status()["transform"] == "not fitted yet"
        assert writer.fit()
        assert not writer.fit()
        scores, _ = reader.search_vectors(np.array([[1, 0, 0, 0]], np.float32), 3, None)
        assert scores == pytest.approx(np.array([[1, -1]]))  # once centered, the two vectors are opposite
        writer.commit([entry("b", [[0, 0, 1, 0]]), entry("a", [[1, 0, 0, 0]])])
        assert writer.fit(again=True)
        scores, passages = reader.search_vectors(np.array([[0, 0, 1, 0]], np.float32), 3, None)
        assert scores == pytest.approx(np.array([[1, -1]]))
        assert passages.tolist() == [[3, 4]]


TEXT = "𠮷野家 and 😀 smiles,\r\n e\u0301 combining\ttabs 🏳️‍🌈 done. "


def test_passages_are_shown_as_the_documents_own_slices(tmp_path):
    made = entry("emoji 😀", np.tile([1, 0, 0, 0], (9, 1)), TEXT * 3, title="𝔗itle", tags=["ä", {"b": None}], x=1.5)
    with open_writer(tmp_path / "index") as writer:
        writer.commit([entry("before", [[0, 1, 0, 0]]), made])
    with open_reader(tmp_path / "index") as index:
        shown = index.show(range(2, 11))
        for number, passage in zip(range(2, 11), made.passages, strict=True):
            assert shown[number].text == (TEXT * 3)[passage.start : passage.end]
            assert (shown[number].start, shown[number].end) == (passage.start, passage.end)
            assert (shown[number].doc_id, shown[number].title) == ("emoji 😀", "𝔗itle")
            assert shown[number].metadata == {"tags": ["ä", {"b": None}], "x": 1.5}
        assert index.documents_of([1, 2, 10, 99]) == {1: 1, 2: 2, 10: 2}
        assert index.show([99]) == {}


def test_passages_of_many_large_documents_are_shown_with_one_of_them_in_memory(tmp_path):
    with open_writer(tmp_path / "index") as writer:
        for number in range(30):
            writer.commit([entry(f"large {number}", np.tile([1, 0, 0, 0], (100, 1)), "some words " * 50_000)])
    with open_reader(tmp_path / "index") as index:
        passages = list(range(1, 3_001, 100))
        index.show(passages[:1])
        tracemalloc.start()
        try:
            shown = index.show(passages)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len({passage.doc_id for passage in shown.values()}) == 30
    assert peak < 5_000_000  # bytes; the documents have 16,500,000 in all


def test_counts_and_status_are_those_of_sqlite(tmp_path, monkeypatch):
    random_index(tmp_path / "index", 333, 8, monkeypatch)
    with open_writer(tmp_path / "index", 8) as writer:
        writer.delete([f"d{number}" for number in range(5)])
    connection = sqlite3.connect(tmp_path / "index" / "passages.sqlite")
    (documents,), (passages, tokens) = (
        connection.execute(sql).fetchone()
        for sql in ("SELECT count(*) FROM documents", "SELECT count(*), sum(n_tokens) FROM passages")
    )
    connection.close()
    with open_reader(tmp_path / "index") as index:
        status = index.status()
        size = sum(path.stat().st_size for path in (tmp_path / "index").iterdir())
    expected = {"documents": 328, "passages": 328, "tokens": 328 * 3, "truncated": 0, "tokens_lost": 0}
    assert (documents, passages, tokens) == (328, 328, 984)
    assert {name: status[name] for name in expected} == expected
    assert (status["segments"], status["rows_in_segments"], status["rows_beside_segments"]) == (3, 300, 33)
    assert (status["deleted_rows"], status["fields"], status["origin"]) == (5, ["big", "year"], "test")
    assert status["bytes"] == size


def test_closing_waits_for_what_another_thread_does(tmp_path):
    with open_writer(tmp_path / "index"):
        pass
    index = open_reader(tmp_path / "index")
    with ThreadPoolExecutor(1) as beside:
        with index.snapshot():
            closing = beside.submit(index.close)
            with pytest.raises(TimeoutError):
                closing.result(0.2)
            assert index.counts()["documents"] == 0
        closing.result(10)
