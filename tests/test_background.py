"""Test the background that an index measures, against the normal distribution and with questions it cannot answer."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from fakes import CountingEncoder, tiny_checkpoint
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
    """An encoder that maps texts to unrelated directions."""

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
    """Return a place whose in-memory store has only dense search; its keyword search is slow and not tested here."""
    store = MemoryStore()
    store.modes = ("dense",)
    return tmp_path / "index" if request.param == "folder" else store


def numbered(n: int, text: str = "document number {} says {} things") -> list[dict[str, str]]:
    return [{"_id": str(number), "text": text.format(number, number * 7)} for number in range(n)]


def different(n: int) -> list[dict[str, str]]:
    """Return n documents that have no word in common."""
    letters = str.maketrans("0123456789", "abcdefghij")
    words = [f"word{number}".translate(letters) for number in range(8 * n)]
    return [{"_id": f"different {row}", "text": " ".join(words[8 * row : 8 * row + 8])} for row in range(n)]


def background_in(index: Index) -> Background:
    stored = index._store.background
    assert stored
    return Background.from_json(json.loads(json.dumps(stored)))


def test_cosines_of_random_directions_are_those_of_the_normal_distribution(dense_place: Any):
    with Index.open(dense_place, create=True, encoder=RandomEncoder()) as index:
        index.add(different(300))
        background = background_in(index)
    assert background.passages == 300
    normal = NormalDist(0, 1 / 8)  # approximately, in 64 dimensions
    for score, share in background.tails["dense"][:6]:
        assert score == pytest.approx(normal.inv_cdf(1 - share), abs=0.02)


def test_copies_of_a_document_are_not_unrelated(dense_place: Any):
    with Index.open(dense_place, create=True, encoder=RandomEncoder()) as index:
        index.add(different(100) + [{"_id": f"copy {n}", "text": "the same words in many places"} for n in range(200)])
        assert background_in(index).tails["dense"][-1][0] < 0.7


class ConeEncoder(RandomEncoder):
    """An encoder that maps all texts to nearly the same direction, as a raw [CLS] does."""

    def encode_documents(self, texts: Sequence[str], progress: Any = None) -> Vectors:
        rows = super().encode_documents(texts) * 0.1
        rows[:, 0] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    encode_queries = encode_documents


def test_in_a_narrow_cone_a_passage_that_is_near_is_no_copy(dense_place: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(background, "QUERIES", 10)  # all of them from the documents, none about other topics
    with Index.open(dense_place, create=True, encoder=ConeEncoder()) as index:
        index.add(different(300))
        tail = background_in(index).tails["dense"]
    # a . b of unit vectors along (1 + 0.1 u, 0.1 v): 1 / 1.01, deviation 0.01 / 8 / 1.01, plus a term for the axis
    assert tail[0][0] == pytest.approx(1 / 1.01, abs=0.005)
    assert tail[-1][0] < 1 + 0.02


def test_words_in_common_are_a_share_of_all_and_digits_do_not_count():
    texts = [
        "one two three four",
        "One, two! five six",
        "request 12 of 7",
        "request 340 of 1",
        "怎样备份照片才放心不下",
        "...",
    ]
    words = background._words(texts)
    shares = background._shared(words, words)
    assert shares[0, 1] == pytest.approx(2 / 6)
    assert (shares[2, 3], shares[4, 4], shares[0, 2], shares[5, 5]) == (1, 1, 0, 0)
    assert background._words(["怎样备份照片才放心不下呢"]).sum() == 11


@pytest.mark.parametrize("n", [50, 1_000])
def test_records_of_one_template_are_not_unrelated(dense_place: Any, n: int):
    def record(number: int) -> str:
        return (
            f"Ticket {number}. The user Ann{number % 7} reported that the password was not accepted, and it was reset."
        )

    records = [{"_id": str(number), "text": record(number)} for number in range(n)]
    with Index.open(dense_place, create=True, encoder=WordHashEncoder(1_024)) as index:
        index.add(different(100) + records)
        tail = background_in(index).tails["dense"]
        assert tail[-1][0] < 0.8  # as with unrelated queries, and far below the score of two records
        assert next(share for score, share in tail if score > 0.3) <= 0.005
        (first, *_) = different(1)
        for query in (first["text"], "the password was not accepted"):
            assert index.search(query, 1, min_confidence=DEFAULT)


@pytest.mark.slow
def test_many_records_of_one_template_hide_no_other_document(tmp_path: Path, sample_index: Path):
    template = (
        "Ticket {}. Status: closed. Subject: cannot log in. The user {} reported on day {} that the password was not "
        "accepted. The password was reset and the user could log in again."
    )
    names = ("Anna", "Bob", "Carl", "Dora")
    tickets = [{"_id": f"t{n}", "text": template.format(n * 7, names[n % 4], n % 30)} for n in range(300)]
    shutil.copytree(sample_index, tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        index.add(tickets)
        assert share_sure(index, queries_of(SAMPLE), "hybrid") >= 0.8
        assert share_sure(index, NONSENSE, "hybrid") == 0
        assert index.search("The user could not log in: password refused", 1, min_confidence=DEFAULT)


@pytest.mark.slow
def test_a_long_log_makes_nothing_certain(tmp_path: Path):
    log = "\n".join(f"2026-11-{n % 30 + 1:02d} INFO request {n} served in {n * 7 % 90} ms" for n in range(5_000))
    plants = "Water the plants twice a week. Most house plants want less water in winter."
    with Index.open(tmp_path / "index", create=True) as index:
        index.add([{"_id": "plants", "text": plants}, {"_id": "log", "text": log}])
        assert index.search("how often should I water my plants", 1, min_confidence=DEFAULT)[0].doc_id == "plants"
        assert share_sure(index, ["capital of mongolia", "who wrote this symphony", *NONSENSE], "hybrid") == 0


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
        assert background_in(index).passages == 15
        index.add(numbered(59)[45:])
        assert background_in(index).passages == 15
        assert not is_stale(index._store)


def test_documents_are_deleted_even_where_the_model_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    model = tiny_checkpoint(tmp_path / "model")
    with Index.open(tmp_path / "index", create=True, model=str(model), pooler="mean", runtime="torch") as index:
        index.add(numbered(30))
    shutil.rmtree(model)
    with Index.open(tmp_path / "index") as index:
        assert len(index.delete([str(number) for number in range(20)])) == 20
        assert len(index) == 10
    assert "confidence is still based on what the index held before" in caplog.text


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
        with pytest.raises(UsageError, match=r"`min_confidence` needs the scores .* index the same corpus again"):
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
    """Return the share of questions with a hit of sufficient confidence."""
    answers = index.search_many(queries, 1, mode=mode, min_confidence=DEFAULT)
    return sum(map(bool, answers)) / len(queries)


@pytest.mark.slow
def test_questions_are_told_from_those_of_another_corpus(data: Path, sample_index: Path, cranfield_index: Path):
    questions = {"sample": queries_of(SAMPLE), "cranfield": queries_of(data / "cranfield")}
    indexes = {"sample": sample_index, "cranfield": cranfield_index}
    for name, other in (("sample", "cranfield"), ("cranfield", "sample")):
        with Index.open(indexes[name]) as index:
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


@pytest.mark.parametrize(("n_strange", "counted"), [(3, 8 * 10), (8, 11 * 10)])
def test_queries_in_an_unknown_language_count_for_hybrid_only_where_most_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_strange: int, counted: int
):
    documents = different(11)
    strange = {word for document in documents[:n_strange] for word in document["text"].split()}
    monkeypatch.setattr(
        background, "unknown_shares", lambda _, texts: [float(bool(strange & set(text.split()))) for text in texts]
    )
    counts: list[int] = []
    tail = background._tail
    monkeypatch.setattr(background, "_tail", lambda scores: counts.append(len(scores)) or tail(scores))
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(64)) as index:
        index.add(documents)
    built_in = 20 * 11 + 20 * 19  # with each passage, and with each other
    assert counts == [counted + built_in, 11 * 10 + built_in, 11 * 10 + 20 * 11]  # hybrid, dense, keyword
