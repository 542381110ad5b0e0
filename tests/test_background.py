"""What an index is measured to be: against the normal distribution, and against questions that it cannot answer."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from fakes import CountingEncoder
from memory_store import MemoryStore

from semsearch import Index, WordHashEncoder, background
from semsearch.arrays import Vectors
from semsearch.background import is_stale, measure_background
from semsearch.confidence import DEFAULT, Background
from semsearch.errors import UsageError
from semsearch.stores.local.store import LocalStore

SAMPLE = Path(__file__).parents[1] / "corpora" / "sample"
NONSENSE = ("qqzzyy blorp", "xkcdvb wqrt zzp", "ghjk tyui", "sdfsdf sdfsdf sdf")


class RandomEncoder(CountingEncoder):
    """Texts to directions that have nothing to do with one another."""

    def encode_documents(self, texts: Sequence[str], progress: Any = None) -> Vectors:
        seeds = (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts)
        rows = np.array([np.random.default_rng(seed).normal(size=64) for seed in seeds]).reshape(-1, 64)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    encode_queries = encode_documents


@pytest.fixture(params=["folder", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return tmp_path / "index" if request.param == "folder" else MemoryStore()


@pytest.fixture(params=["folder", "store"])
def dense_place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Keyword search of the store in memory takes its time, and has no part in this."""
    store = MemoryStore()
    store.modes = ("dense",)
    return tmp_path / "index" if request.param == "folder" else store


def numbered(n: int, text: str = "document number {} says {} things") -> list[dict[str, str]]:
    return [{"_id": str(number), "text": text.format(number, number * 7)} for number in range(n)]


def background_in(index: Index) -> Background:
    stored = index._store.background
    assert stored
    return Background.from_json(json.loads(json.dumps(stored)))


def test_cosines_of_random_directions_are_those_of_the_normal_distribution(dense_place: Any):
    with Index.open(dense_place, create=True, encoder=RandomEncoder()) as index:
        index.add(numbered(300))
        background = background_in(index)
    assert background.passages == 300
    normal = NormalDist(0, 1 / 8)  # in 64 dimensions, nearly
    for score, share in background.tails["dense"][:6]:
        assert score == pytest.approx(normal.inv_cdf(1 - share), abs=0.02)


def test_copies_of_a_document_are_not_unrelated(dense_place: Any):
    with Index.open(dense_place, create=True, encoder=RandomEncoder()) as index:
        index.add(numbered(100) + [{"_id": f"copy {n}", "text": "the same words in many places"} for n in range(200)])
        assert background_in(index).tails["dense"][-1][0] < 0.7


class ConeEncoder(RandomEncoder):
    """All texts in nearly the same direction, as a raw [CLS] has them."""

    def encode_documents(self, texts: Sequence[str], progress: Any = None) -> Vectors:
        rows = super().encode_documents(texts) * 0.1
        rows[:, 0] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    encode_queries = encode_documents


def test_in_a_narrow_cone_a_passage_that_is_near_is_no_copy(dense_place: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(background, "QUERIES", 10)  # all out of documents, none about other things
    with Index.open(dense_place, create=True, encoder=ConeEncoder()) as index:
        index.add(numbered(300))
        assert len(background._own_queries(index._store, Random(0))) == 10
        tail = background_in(index).tails["dense"]
    # a . b of (1 + 0.1 u, 0.1 v) at length 1 is 1 / 1.01 with a deviation of 0.01 / 8 / 1.01, and what the axis adds
    assert tail[0][0] == pytest.approx(1 / 1.01, abs=0.005)
    assert tail[-1][0] < 1 + 0.02


def test_an_index_that_was_emptied_takes_documents_without_words(place: Any):
    with Index.open(place, create=True, encoder=WordHashEncoder(256)) as index:
        index.add({"_id": "1", "text": "a heron in the reeds"})
        index.delete(["1"])
        assert index.add({"_id": "2", "text": ""}).empty == 1
        assert index.add({"_id": "3", "text": "a heron"}).encoded == 1


def test_an_index_is_measured_again_when_it_has_grown(place: Any):
    with Index.open(place, create=True, encoder=WordHashEncoder(256)) as index:
        index.add(numbered(30))
        first = background_in(index)
        index.add(numbered(33))
        assert background_in(index) == first
        index.add(numbered(60))
        assert background_in(index).passages == 60
        index.delete([str(number) for number in range(45)])
        index.add(numbered(59)[45:])
        assert background_in(index).passages == 15
        assert not is_stale(index._store)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_index_of_few_documents_tells_questions_apart(place: Any, n: int):
    texts = [
        "The heron waits in the reeds until a fish comes near.",
        "Bread needs an hour to rise before it is baked.",
        "The train to the mountains leaves at noon.",
        "A violin is tuned in fifths.",
        "Interest is paid at the end of the year.",
    ]
    with Index.open(place, create=True) as index:
        index.add([{"_id": str(number), "text": text} for number, text in enumerate(texts[:n])])
        for mode in ("dense", "hybrid"):
            assert index.search("a heron that waits for fish", mode=mode, min_confidence=0.5)[0].doc_id == "0"
            assert index.search("qqzzyy blorp", mode=mode, min_confidence=0.5) == []


def test_texts_without_words_or_spaces_are_measured_too(place: Any):
    texts = ["!!!", "怎样备份照片才放心" * 9, "x", "12", "…"]
    with Index.open(place, create=True, encoder=WordHashEncoder(256)) as index:
        index.add([{"_id": str(number), "text": text} for number, text in enumerate(texts)])
        assert set(background_in(index).tails) == {"dense", "keyword", "hybrid"}


def test_an_index_that_was_not_measured_gives_no_confidence(tmp_path: Path):
    folder = tmp_path / "index"
    with Index.open(folder, create=True, encoder=WordHashEncoder(256)) as index:
        index.add(numbered(30))
        with index._store.write(index.spec, index.chunking.to_json()) as writer:
            writer.keep_background({"passages": 30, "tails": {"dense": [[1, 2]]}})
        assert [hit.confidence for hit in index.search("number 7", 2)] == [None, None]
        with pytest.raises(UsageError, match=r"`min_confidence` needs to know .* index the same corpus again"):
            index.search("number 7", min_confidence=0.5)
        index.add(numbered(30))
        assert index.search("number 7", min_confidence=0.01)[0].confidence


def test_what_is_no_object_is_damage(tmp_path: Path):
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(256)) as index:
        index.add(numbered(3))
        with index._store.write(index.spec, index.chunking.to_json()) as writer:
            writer.keep_background({})
        assert index.search("number")[0].confidence is None


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan"), "0.5", True])
def test_a_least_confidence_that_makes_no_sense_is_refused(tmp_path: Path, least: Any):
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(256)) as index:
        with pytest.raises(UsageError, match=r"`min_confidence` is .* expected a number"):
            index.search("water", min_confidence=least)


def queries_of(folder: Path) -> list[str]:
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def judged(folder: Path) -> set[str]:
    with (next((folder / "qrels").glob("*.tsv"))).open(encoding="utf-8") as file:
        return {row["query-id"] for row in csv.DictReader(file, delimiter="\t") if int(row["score"]) > 0}


def share_sure(index: Index, queries: Sequence[str], mode: str) -> float:
    """Share of questions to which something is found that the index is sure of."""
    answers = index.search_many(queries, 1, mode=mode, min_confidence=DEFAULT)
    return sum(map(bool, answers)) / len(queries)


@pytest.mark.slow
def test_questions_are_told_from_those_of_another_corpus(tmp_path: Path, data: Path):
    corpora = {"sample": SAMPLE, "cranfield": data / "cranfield"}
    questions = {name: queries_of(folder) for name, folder in corpora.items()}
    for name, other in (("sample", "cranfield"), ("cranfield", "sample")):
        with Index.open(tmp_path / name, create=True) as index:
            index.add(str(corpora[name] / "corpus.jsonl"))
            for mode in ("dense", "hybrid"):
                assert share_sure(index, questions[name], mode) >= 0.8
                assert share_sure(index, questions[other], mode) <= 0.15
            for mode in ("keyword", "hybrid"):
                assert share_sure(index, NONSENSE, mode) == 0


def test_measuring_twice_gives_the_same(tmp_path: Path):
    encoder = WordHashEncoder(256)
    with Index.open(tmp_path / "index", create=True, encoder=encoder) as index:
        index.add(numbered(80))
    with closing(LocalStore(tmp_path / "index")) as store:
        assert measure_background(store, encoder) == measure_background(store, encoder)
