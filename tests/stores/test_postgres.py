"""Tests for the store in PostgreSQL, on a real server: the same run as a folder, HNSW's recall, and its bookkeeping."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import entry, index_spec
from postgres_server import Server

from semsearch import Index, WordHashEncoder
from semsearch.arrays import Vectors
from semsearch.corpus.chunking import Chunking
from semsearch.errors import MismatchError, UsageError
from semsearch.filters.read import read_filter
from semsearch.stores.open import open_store
from semsearch.stores.postgres import vectors
from semsearch.stores.postgres.address import parse_address
from semsearch.stores.postgres.store import PostgresStore
from semsearch.vector_options import RecallWarning

CHUNKING = Chunking().to_json()

DIM, N, CLUSTERS = 32, 6_000, 100


@pytest.fixture
def store(postgres: Server) -> Iterator[PostgresStore]:
    with closing(PostgresStore(parse_address(postgres.url()))) as opened:
        yield opened


def clustered(n: int, seed: int) -> Vectors:
    """Return unit rows `[n, DIM]` around common centers, as texts lie around topics."""
    centers = np.random.default_rng(7).normal(size=(CLUSTERS, DIM))
    random = np.random.default_rng(seed)
    rows = centers[random.integers(CLUSTERS, size=n)] + 0.7 * random.normal(size=(n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def large(postgres: Server) -> Iterator[tuple[PostgresStore, Vectors]]:
    """Return an index with HNSW over 6,000 vectors, each of a document with its number, and the vectors."""
    rows = clustered(N, 1)
    with closing(PostgresStore(parse_address(postgres.url()))) as opened:
        with opened.write(index_spec(dim=DIM), CHUNKING, vectors={"vector_index": "HNSW16"}) as writer:
            for start in range(0, N, 1_000):
                some = range(start, start + 1_000)
                writer.commit([entry(f"d{n}", rows[n][None], "", at=n, share=n % 1_000) for n in some])
            writer.seal(final=True)
        yield opened, rows


def recall(store: PostgresStore, rows: Vectors, queries: Vectors, where: str | None, allowed: Any) -> float:
    """Return the share of the ten nearest allowed rows, by brute force, that a search finds."""
    numbers = np.flatnonzero(allowed)
    found = asked = 0
    for query in queries:
        truth = numbers[np.argsort(-(rows[numbers] @ query), kind="stable")[:10]]
        _, (passages,) = store.search_vectors(query[None], 10, read_filter(where))
        shown = store.show(passages[passages >= 0].tolist())
        found += len({f"d{n}" for n in truth} & {one.doc_id for one in shown.values()})
        asked += len(truth)
    return found / asked


def test_recall_is_measured_on_held_out_vectors_and_stored(large: tuple[PostgresStore, Vectors]):
    store, rows = large
    (about,) = store.status()["vectors"]["segments"]
    assert (about["rows"], about["m"], about["stride"]) == (N, 16, 30)
    assert about["recall"] >= 0.98
    assert [one["effort"] for one in about["curve"]] == sorted(one["effort"] for one in about["curve"])
    assert recall(store, rows, clustered(100, 2), None, np.ones(N)) >= 0.97


@pytest.mark.parametrize(("where", "share"), [("share < 500", 0.5), ("share < 10", 0.01), ("share < 1", 0.001)])
@pytest.mark.parametrize("few", [1, 20_000])
def test_filters_cost_no_recall(
    large: tuple[PostgresStore, Vectors], monkeypatch: pytest.MonkeyPatch, where: str, share: float, few: int
):
    monkeypatch.setattr(vectors, "FEW", few)  # 1 leaves even a filter that few match to HNSW's iterative scans
    store, rows = large
    allowed = np.arange(N) % 1_000 < 1_000 * share
    found = recall(store, rows, clustered(40, 3), where, allowed)
    assert found >= (1 if few > allowed.sum() else 0.97)


def test_the_graph_answers_and_the_exact_search_is_exact(large: tuple[PostgresStore, Vectors]):
    store, rows = large
    query = clustered(1, 4)
    with store.snapshot():
        graph = store._vectors.graph()
        assert graph
        near = store._vectors.nearest(query[0], 10, graph)
        exact = store._vectors.exactly(query[0], 10)
    assert exact[0] == pytest.approx(np.sort(rows @ query[0])[::-1][:10], abs=1e-6)
    assert len(near[1]) == 10
    assert near[0] == pytest.approx(store.search_vectors(query, 10, None)[0][0])


def test_hnsw_is_used_by_the_planner_also_under_a_filter(large: tuple[PostgresStore, Vectors]):
    store, _ = large
    used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = %s AND indexrelname = 'vectors_hnsw'"
    counts = []
    for where in (None, "share < 500"):
        with store.snapshot():
            condition = store._documents.condition(read_filter(where))
            graph = store._vectors.graph()
            assert graph
            before = store._connections.one(used, (store.address.schema,))
            store._vectors.nearest(clustered(1, 5)[0], 10, graph, condition)
        with store.snapshot():
            store._connections.rows("SELECT pg_stat_force_next_flush()")
        with store.snapshot():
            counts.append((before, store._connections.one(used, (store.address.schema,))))
    assert all(after > before for before, after in counts), counts


def test_a_graph_of_half_precision_and_of_other_similarities(store: PostgresStore):
    rows = clustered(500, 6) * np.linspace(0.5, 2, 500, dtype=np.float32)[:, None]
    spec = index_spec(dim=DIM, normalize=False, similarity="euclidean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecallWarning)
        with store.write(spec, CHUNKING, vectors={"vector_index": "HNSW8,SQfp16"}) as writer:
            writer.commit([entry(f"d{n}", row[None], "") for n, row in enumerate(rows)])
            writer.seal(final=True)
    assert store.status()["vectors"]["segments"][0]["in_halves"]
    (scores,), (passages,) = store.search_vectors(rows[:1] + 0.01, 3, None)
    distances = -np.linalg.norm(rows - rows[:1] - 0.01, axis=1)
    assert scores == pytest.approx(np.sort(distances)[::-1][:3], abs=1e-5)
    assert store.similarities(rows[:1] + 0.01, [*passages.tolist(), 10**9])[0] == pytest.approx(
        [*scores, -np.linalg.norm(rows[0] + 0.01)], abs=1e-5
    )
    with store.write(spec, CHUNKING, vectors={"vector_index": "Flat"}) as writer:
        assert writer.compact()
        assert not writer.compact(secure=True)
    assert store.status()["vectors"]["segments"] == [{"rows": 500, "kind": "Flat"}]


@pytest.mark.parametrize("asked", ["IVF4", "HNSW16,SQ8", "HNSW1", "HNSW200"])
def test_other_vector_indexes_are_refused(store: PostgresStore, asked: str):
    with pytest.raises(UsageError, match="`vector_index` is"):
        with store.write(index_spec(), CHUNKING, vectors={"vector_index": asked}):
            pass
    with pytest.raises(UsageError, match="PostgreSQL stores vectors as float32 or float16"):
        with store.write(index_spec(), CHUNKING, store_precision="int8"):
            pass


def test_spread_counts_and_terms_stay_right_while_documents_change(store: PostgresStore):
    """They are kept by differences; an index that is built in one piece has the same."""
    rows = clustered(60, 8)
    texts = [f"word{n % 7} word{n % 3} C++ 京都{'長' * (n % 4)}" for n in range(60)]
    with store.write(index_spec(dim=DIM), CHUNKING) as writer:
        writer.commit([entry(f"d{n}", rows[n][None], "something else") for n in range(60)])
        writer.commit([entry(f"d{n}", rows[n - 1][None], texts[n], n=n) for n in range(40)])
        writer.delete([f"d{n}" for n in range(20)])
        writer.commit([entry(f"d{n}", rows[n][None], texts[n], n=n) for n in range(60)])
    with closing(open_store(store.address.of(f"{store.address.schema}_b"))) as other:
        with other.write(index_spec(dim=DIM), CHUNKING) as writer:
            writer.commit([entry(f"d{n}", rows[n][None], texts[n], n=n) for n in range(60)])
        assert store.counts() == other.counts()
        assert store.reference_scores(rows)[0] == pytest.approx(other.reference_scores(rows)[0], abs=1e-6)
        for query in ("word1 word2 c++", "京都", "something", "word3 京"):
            ours, theirs = (one.search_keywords(query, 60, None)[0] for one in (store, other))
            assert ours.tolist() == theirs.tolist()
            assert store.highest_keyword_score(query) == other.highest_keyword_score(query)


@pytest.fixture(params=["to the database and back", "from folder to folder"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], list[str]]:
    if request.param == "from folder to folder":
        return lambda: [str(tmp_path / "one"), str(tmp_path / "two")]
    server: Server = request.getfixturevalue("postgres")
    return lambda: [str(tmp_path / "one"), server.url(), str(tmp_path / "two")]


def test_a_copy_gives_the_same_hits_and_encodes_nothing(places: Callable[[], list[str]], tmp_path: Path):
    first, *others = places()
    (tmp_path / "notes").mkdir()
    for n in range(30):
        (tmp_path / "notes" / f"{n}.md").write_text(f"# Title {n}\n\nheron {n} waits\n\n## Part\n\nreeds {n % 5} C++\n")
    with Index.open(first, create=True, encoder=WordHashEncoder(64)) as index:
        index.add(str(tmp_path / "notes"))
        index.add([{"_id": "memory", "text": "a patient bird 鷺が待つ", "year": 2021}])
    before = first
    for place in others:
        result = Index.copy(before, place)
        assert (result.documents, result.unchanged) == (31, 0)
        assert Index.copy(before, place).unchanged == 31
        with (
            Index.open(first, encoder=WordHashEncoder(64)) as one,
            Index.open(place, encoder=WordHashEncoder(64)) as two,
        ):
            assert (one.spec, one.roots, one.background) == (two.spec, two.roots, two.background)
            for mode in ("dense", "keyword", "hybrid"):
                for query in ("heron reeds", "c++", "patient 鷺"):
                    ours, theirs = (
                        [(hit.doc_id, hit.text, hit.section) for hit in each.search(query, mode=mode)]
                        for each in (one, two)
                    )
                    assert sorted(ours) == sorted(theirs)
            again = two.add(str(tmp_path / "notes"))
            assert (again.encoded, again.unchanged) == (0, 30)
        before = place


def test_a_copy_to_another_index_is_refused(postgres: Server, tmp_path: Path):
    one, two, three = str(tmp_path / "one"), postgres.url(), postgres.url()
    for place, size, doc_id in ((one, 64, "a"), (two, 32, "a"), (three, 64, "b")):
        with Index.open(place, create=True, encoder=WordHashEncoder(size)) as index:
            index.add([{"_id": doc_id, "text": "heron"}])
    with pytest.raises(MismatchError, match="another encoder"):
        Index.copy(one, two)
    with pytest.raises(UsageError, match="1 documents that are not in the source, such as 'b'"):
        Index.copy(one, three)
    with pytest.raises(UsageError, match="cannot be copied to itself"):
        Index.copy(one, one)


@pytest.mark.slow
def test_cranfield_has_the_same_run_as_in_a_folder(cranfield_index: Path, postgres: Server, data: Path):
    """Scores may differ in the last bits of float32, which the order of summation decides."""
    place = postgres.url()
    Index.copy(cranfield_index, place)
    lines = (data / "cranfield/queries.jsonl").read_text("utf-8").splitlines()
    queries = [json.loads(line)["text"] for line in lines]
    with Index.open(cranfield_index, device="cpu") as folder, Index.open(place, device="cpu") as database:
        encoded = folder.encoder.encode_queries(queries)
        stores = [one._store for one in (folder, database)]
        ours, theirs = (
            [
                one.doc_ids(one.documents_of(row.tolist()).values())
                and [one.show([n])[n].doc_id for n in row.tolist()[:20]]
                for row in one.search_vectors(encoded, 100, None)[1]
            ]
            for one in stores
        )
        scores = [one.search_vectors(encoded, 100, None)[0] for one in stores]
        assert np.abs(scores[0] - scores[1]).max() < 2e-6
        assert np.mean([a == b for a, b in zip(ours, theirs, strict=True)]) > 0.98
        for query in queries:
            found = [one.search_keywords(query, 100, None)[0].tolist() for one in stores]
            assert found[0] == found[1]
