"""Tests for retrieval evaluation against brute force in numpy, a real index, hand values and Cranfield's numbers."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import index_corpus, run_of, tiny_checkpoint

from semsearch import Encoder, Index, read_corpus
from semsearch.arrays import Vectors
from semsearch.corpus.chunking import Chunker, Chunking
from semsearch.errors import RecordError, SemsearchError, SourceError, UsageError
from semsearch.evaluation import retrieval
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.retrieval import RetrievalResult, encode_for_all, evaluate_retrieval
from semsearch.evaluation.retrieval_data import RetrievalTask, load_retrieval
from semsearch.stores.local.store import LocalStore
from semsearch.types import Document, Run

WORDS = "heron egret reed river loaf bread oven flour wing lift drag shock wave boundary layer panel flutter".split()

SHORT = Chunking(tokens=24, overlap=6)
"""A short chunking, so that many of the documents below are split."""

POOLERS = ["mean", "cls", "layer:2+max"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def encoder(model: str) -> MultiPooler:
    return MultiPooler.load(model, POOLERS, device="cpu")


def beir(
    folder: Path,
    corpus: Sequence[dict[str, Any]],
    queries: dict[str, str],
    qrels: dict[str, dict[str, int]],
) -> RetrievalTask:
    """Write a folder in BEIR's layout and load it."""
    (folder / "qrels").mkdir(parents=True)
    asked = [{"_id": name, "text": text} for name, text in queries.items()]
    for name, records in (("corpus", corpus), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = [f"{query}\t{doc}\t{gain}\n" for query, judged in qrels.items() for doc, gain in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return load_retrieval(folder)


@pytest.fixture
def task(tmp_path: Path) -> RetrievalTask:
    """Create a task of 40 documents of 0 to 90 words, some with a title, and six queries."""
    rng = np.random.default_rng(1)

    def words(n: int) -> str:
        return " ".join(rng.choice(WORDS, n))

    corpus = [{"_id": f"d{n}", "title": words(2) if n % 3 == 0 else "", "text": words(n * 9 // 4)} for n in range(40)]
    corpus[1]["text"] = ""
    queries = {f"q{n}": words(4) for n in range(6)}
    return beir(tmp_path / "beir", corpus, queries, {query: {"d5": 1, "d30": 2} for query in queries})


def passages_of(documents: Sequence[Document], encoder: Encoder, chunking: Chunking) -> list[tuple[str, str]]:
    """List each passage as the encoder sees it, with the id of its document."""
    chunker = Chunker(encoder.tokenizer, encoder.spec.max_tokens, encoder.spec.passage_prefix, chunking)
    cut = zip(documents, chunker.passages(documents), strict=True)
    return [(document.doc_id, passage.encoded_text) for document, passages in cut for passage in passages]


def unit(rows: Vectors) -> Vectors:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_force(
    task: RetrievalTask, encoder: Encoder, chunking: Chunking, finish: Callable[[Vectors, Vectors], Vectors]
) -> Run:
    """Compute the best cosine of every document; `finish(rows, corpus)` turns rows into unit rows."""
    passages = passages_of(list(task.documents()), encoder, chunking)
    corpus = encoder.encode_documents([text for _, text in passages]).astype(np.float64)
    queries = encoder.encode_queries([query.text for query in task.queries]).astype(np.float64)
    cosines = finish(queries, corpus) @ finish(corpus, corpus).T
    best: Run = {query.query_id: {} for query in task.queries}
    for query, row in zip(task.queries, cosines.tolist(), strict=True):
        for (doc_id, _), cosine in zip(passages, row, strict=True):
            best[query.query_id][doc_id] = max(cosine, best[query.query_id].get(doc_id, -1.0))
    return best


def assert_the_best(run: Run, expected: Run, k: int, within: float = 1e-5) -> None:
    """Assert that the run has each query's k best documents in order, with their scores; near ties may swap places."""
    assert list(run) == list(expected)
    for query, scores in expected.items():
        best = sorted(scores.values(), reverse=True)[:k]
        assert list(run[query].values()) == pytest.approx(best, abs=within)
        assert run[query] == pytest.approx({doc: scores[doc] for doc in run[query]}, abs=within)


def real_run(folder: Path, task: RetrievalTask, encoder: Encoder, k: int = 1000, **how: str) -> Run:
    """Index the corpus and search it, as a user would."""
    index_corpus(folder, read_corpus([str(task.corpus)]), encoder, chunking=SHORT)
    with Index.open(folder, encoder=encoder) as searcher:
        return run_of(searcher, task.queries, k, **how)


@pytest.mark.parametrize("depth", [1, 7, 1000])
def test_dense_rows_equal_brute_force_over_the_best_passage_of_each_document(task, encoder, model, depth):
    found = evaluate_retrieval(task, encoder, modes=["dense"], chunking=SHORT, depth=depth)
    assert len(found.corpus.texts) > 2 * len(found.corpus.documents), "documents must be cut, or this shows little"
    assert [row.label for row in found.candidates] == POOLERS
    for pooler in POOLERS:
        alone = Encoder.load(model, pooler, device="cpu")
        expected = brute_force(task, alone, SHORT, lambda rows, _: unit(rows))
        assert_the_best(found.runs[pooler], expected, depth)


def test_a_centered_row_equals_brute_force(task, encoder, model):
    found = evaluate_retrieval(task, encoder, modes=["dense"], transforms=["center"], chunking=SHORT)
    pooled = Encoder.load(model, "mean", normalize=False, device="cpu")
    expected = brute_force(task, pooled, SHORT, lambda rows, corpus: unit(rows - corpus.mean(0)))
    assert_the_best(found.runs["mean, center"], expected, 1000)


@pytest.mark.parametrize("transform", ["", "whiten:12", "all-but-the-top:2", "truncate:8"])
@pytest.mark.parametrize("pooler", ["mean", "cls"])
def test_a_dense_row_equals_a_real_index_with_its_pooler_and_transform(
    task, encoder, model, tmp_path, pooler, transform
):
    row = f"{pooler}, {transform}" if transform else pooler
    wanted = [transform] if transform else []
    found = evaluate_retrieval(task, encoder, modes=["dense"], transforms=wanted, chunking=SHORT)
    own = Encoder.load(model, pooler, transform=transform, device="cpu")
    real = real_run(tmp_path / "index", task, own, mode="dense")
    assert_the_best(found.runs[row], real, 1000, within=1e-4)  # whitening amplifies rounding on small axes


def test_keyword_and_hybrid_rows_equal_a_real_index(task, encoder, model, tmp_path):
    whitened = Encoder.load(model, "mean", transform="whiten:12", device="cpu")
    runs = {
        fusion: evaluate_retrieval(task, encoder, transforms=["whiten:12"], chunking=SHORT, fusion=fusion).runs
        for fusion in ("convex", "rrf")
    }
    for fusion, found in runs.items():
        real = real_run(tmp_path / "index", task, whitened, mode="hybrid", fusion=fusion)
        # Swapping two neighbors changes a reciprocal rank by 1/61 - 1/62.
        assert_the_best(found["mean, whiten:12, hybrid"], real, 1000, within=3e-4)
        assert found["keyword"] == real_run(tmp_path / "index", task, whitened, mode="keyword")
    assert runs["convex"]["mean, hybrid"] != runs["rrf"]["mean, hybrid"]


def test_a_document_with_more_passages_than_a_search_asks_for_does_not_hide_the_others(encoder, model, tmp_path):
    """The long document takes the first 2 * 2 + 10 ranks among passages, and the second document comes after them."""
    corpus = [
        {"_id": "long", "text": "heron " * 600},
        {"_id": "loaf", "text": "a loaf of bread from the oven"},
        {"_id": "flour", "text": "flour and water"},
    ]
    query = "heron heron heron heron heron heron"
    asked = beir(tmp_path / "beir", corpus, {"q": query}, {"q": {"loaf": 1}})
    alone = Encoder.load(model, "mean", device="cpu")
    passages = passages_of(list(asked.documents()), alone, SHORT)
    cosines = alone.encode_documents([text for _, text in passages]) @ alone.encode_queries([query])[0]
    first = {passages[place][0] for place in np.argsort(-cosines)[:14]}
    assert first == {"long"}, "else this shows nothing"
    found = evaluate_retrieval(asked, encoder, modes=["dense"], chunking=SHORT, depth=2)
    assert_the_best(found.runs["mean"], brute_force(asked, alone, SHORT, lambda rows, _: unit(rows)), 2)


def test_long_documents_are_cut_as_the_chunking_says(task, encoder, model):
    alone = Encoder.load(model, "mean", device="cpu")
    for chunking in (Chunking(on_long="truncate"), Chunking(title=False), SHORT):
        corpus = evaluate_retrieval(task, encoder, modes=["keyword"], chunking=chunking).corpus
        expected = passages_of(list(task.documents()), alone, chunking)
        assert [
            (corpus.documents[owner].doc_id, text) for owner, text in zip(corpus.owner, corpus.texts, strict=True)
        ] == expected
    truncated = evaluate_retrieval(task, encoder, modes=["keyword"], chunking=Chunking(on_long="truncate")).corpus
    longest = [len(alone.tokenizer.encode(text).ids) for text in truncated.texts]
    assert truncated.truncated == sum(n > 64 for n in longest) > 0
    with pytest.raises(RecordError, match=r"corpus\.jsonl:\d+: document 'd\d+' has \d+ tokens, more than 64"):
        evaluate_retrieval(task, encoder, chunking=Chunking(on_long="error"))


SMALL = [
    {"_id": "heron", "text": "a grey heron stands in the reeds"},
    {"_id": "bread", "text": "bread is baked in an oven"},
    {"_id": "wing", "text": "the lift of a wing"},
    {"_id": "nothing", "title": "", "text": ""},
]


def test_measures_by_hand(encoder, tmp_path):
    """By keywords, q2 finds its relevant document and q1 another one; q3 also has a judgment of a missing document."""
    queries = {"q2": "bread", "unjudged": "lift", "q1": "oven", "q3": "heron"}
    qrels = {"q1": {"wing": 1}, "q2": {"bread": 1, "heron": 0}, "q3": {"heron": 2, "gone": 1, "lost": 0}}
    asked = beir(tmp_path / "beir", SMALL, queries, qrels)
    found = evaluate_retrieval(asked, encoder, modes=["keyword"], measures=["RR@10", "R@10", "nDCG@10"])
    assert found.queries == ["q2", "q1", "q3"], "as the file of queries has them"
    assert {query: list(hits) for query, hits in found.runs["keyword"].items()} == {
        "q2": ["bread"],
        "q1": ["bread"],
        "q3": ["heron"],
    }
    values = found.per_query["keyword"]
    assert values["RR@10"].tolist() == [1, 0, 1]
    assert values["R@10"].tolist() == [1, 0, 0.5]
    assert values["nDCG@10"].tolist() == pytest.approx([1, 0, 2 / (2 + 1 / np.log2(3))])  # linear gain
    assert found.unknown_documents == 2
    assert found.compare().rows["keyword"][0].value == pytest.approx(2 / 3)


def test_styles_differ_as_they_should(encoder, tmp_path):
    """`trec` counts a query without a relevant document as 0; `st` omits it and gives every gain the value 1."""
    queries, qrels = {"q1": "oven", "q2": "heron bread"}, {"q1": {"bread": 0}, "q2": {"heron": 1, "bread": 3}}
    asked = beir(tmp_path / "beir", SMALL, queries, qrels)
    one, other = (
        evaluate_retrieval(asked, encoder, modes=["keyword"], measures=["nDCG@1"], style=style)
        for style in ("trec", "st")
    )
    (first, *_) = one.runs["keyword"]["q2"]
    assert (one.queries, other.queries) == (["q1", "q2"], ["q2"])
    assert one.per_query["keyword"]["nDCG@1"].tolist() == pytest.approx([0, {"heron": 1 / 3, "bread": 1}[first]])
    assert other.per_query["keyword"]["nDCG@1"].tolist() == [1]


def test_an_empty_document_is_never_found(task, encoder):
    found = evaluate_retrieval(task, encoder, transforms=["center"], chunking=SHORT)
    ids = {document.doc_id for document in task.documents()}
    for run in (run for label, run in found.runs.items() if label != "keyword"):
        assert all(set(hits) == ids - {"d1"} for hits in run.values())
    assert not any("d1" in hits for hits in found.runs["keyword"].values())


OWN = {"heron": "a grey heron stands in the reeds", "bread": "heron", "other": "a wing"}
"""The first query has the text and id of a document, the second only the id of one."""


def test_a_query_that_is_a_document_finds_itself(encoder, tmp_path):
    asked = beir(tmp_path / "beir", SMALL, OWN, {query: {"wing": 1} for query in OWN})
    found = evaluate_retrieval(asked, encoder)
    assert found.own_hits == 1
    assert found.runs["mean"]["heron"]["heron"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 1000])
def test_hits_with_the_query_s_own_id_are_dropped_and_others_move_up(encoder, tmp_path, depth):
    asked = beir(tmp_path / "beir", SMALL, OWN, {query: {"wing": 1} for query in OWN})
    whole = evaluate_retrieval(asked, encoder)
    found = evaluate_retrieval(asked, encoder, drop_same_id=True, depth=depth)
    assert found.own_hits == 0
    assert "bread" in whole.runs["mean"]["bread"], "else this shows nothing"
    for label in ("mean", "cls", "keyword"):
        for query, hits in whole.runs[label].items():
            others = [doc for doc in hits if doc != query]
            assert list(found.runs[label][query]) == others[:depth]
    assert all(set(hits) <= {"heron", "bread", "wing"} - {query} for query, hits in found.runs["mean, hybrid"].items())


def test_each_mode_has_its_rows_in_one_order(task, encoder):
    def labels(*modes: str) -> list[str]:
        rows = evaluate_retrieval(task, encoder, modes=modes, transforms=["center"], chunking=SHORT).candidates
        return [row.label for row in rows]

    dense = [label for pooler in POOLERS for label in (pooler, f"{pooler}, center")]
    hybrid = [f"{label}, hybrid" for label in dense]
    assert labels("hybrid", "keyword", "dense") == [*dense, "keyword", *hybrid]
    assert labels("keyword", "keyword") == ["keyword"]
    assert labels("hybrid") == hybrid


def test_poolers_that_come_along_have_runs_but_no_rows(task, model):
    encoder = MultiPooler.load(model, ["mean"], also=["layer:*+mean"], device="cpu")
    found = evaluate_retrieval(task, encoder, modes=["dense"], chunking=SHORT)
    assert [row.label for row in found.candidates] == ["mean"]
    along = [f"layer:{layer}+mean" for layer in range(5)]
    assert set(found.runs) == set(found.per_query) == set(found.search_seconds) == {"mean", *along}
    alone = Encoder.load(model, "layer:1+mean", device="cpu")
    assert_the_best(found.runs["layer:1+mean"], brute_force(task, alone, SHORT, lambda rows, _: unit(rows)), 1000)


def test_times_are_taken_for_every_row(task, encoder):
    found = evaluate_retrieval(task, encoder, transforms=["center"], chunking=SHORT)
    assert set(found.search_seconds) == {row.label for row in found.candidates}
    assert all(0 < seconds < 60 for seconds in (*found.search_seconds.values(), *found.encoding_seconds))


@pytest.mark.parametrize("modes", [["hybrid"], ["keyword", "hybrid"]])
def test_every_row_that_searches_by_words_is_charged_for_it(task, encoder, monkeypatch, modes):
    real = LocalStore.search_keywords

    def slow(*wishes: Any) -> Any:
        time.sleep(0.01)
        return real(*wishes)

    monkeypatch.setattr(LocalStore, "search_keywords", slow)
    found = evaluate_retrieval(task, encoder, modes=modes, chunking=SHORT)
    assert len(found.candidates) >= 3
    assert all(seconds >= 0.01 * len(task.queries) for seconds in found.search_seconds.values())


class Counting:
    """A batcher that counts the texts it is given."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.tokenizer, self.seen = inner, inner.tokenizer, Counter()

    def __call__(self, texts: Sequence[str], prefix: str) -> Any:
        self.seen.update(texts)
        return self.inner(texts, prefix)


def test_a_text_is_encoded_once_however_many_rows_use_it(encoder, tmp_path):
    corpus = [*SMALL, {"_id": "twin", "text": "bread is baked in an oven"}]
    asked = beir(tmp_path / "beir", corpus, {"q1": "heron", "q2": "heron"}, {"q1": {"heron": 1}, "q2": {"wing": 1}})
    counting = Counting(encoder._batcher)
    progress: list[int] = []
    evaluate_retrieval(asked, replace(encoder, _batcher=counting), transforms=["center"], progress=progress.append)
    assert counting.seen == dict.fromkeys([*(one["text"] for one in SMALL if one["text"]), "heron"], 1)
    assert sum(progress) == 4 + 2, "the copies count as done"


def test_search_by_words_alone_encodes_nothing(task, encoder):
    counting = Counting(encoder._batcher)
    found = evaluate_retrieval(task, replace(encoder, _batcher=counting), modes=["keyword"], chunking=SHORT)
    assert not counting.seen
    assert found.runs["keyword"] == evaluate_retrieval(task, encoder, chunking=SHORT).runs["keyword"]


def test_the_vectors_of_a_corpus_are_never_held_twice(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(retrieval, "AT_ONCE", 100)
    poolers = [f"layer:{layer}+{name}" for layer in range(4) for name in ("mean", "max")]
    dim = 3_000
    wide = SimpleNamespace(tokenizer=encoder.tokenizer, spec=encoder.spec, encode_documents=None)
    wide.encode_documents = lambda texts, _: {name: np.ones((len(texts), dim), np.float32) for name in poolers}
    corpus = [{"_id": str(n), "text": f"heron {n}"} for n in range(400)]
    asked = beir(tmp_path / "beir", corpus, {"q": "heron"}, {"q": {"1": 1}})
    tracemalloc.start()
    try:
        made = encode_for_all(tmp_path / "index", asked, wide, poolers, Chunking(), None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = len(poolers) * 400 * dim * 4
    assert sum(rows.nbytes for rows in made.vectors.values()) == size
    assert peak < 1.4 * size


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "heron", "text": "again"}', "duplicate id 'heron'"),
        ('{"_id": "x", "text": 5}', "corpus.jsonl:5"),
        ("{", "corpus.jsonl:5"),
    ],
)
def test_a_bad_record_is_raised_with_its_place(encoder, tmp_path, line, reason):
    asked = beir(tmp_path / "beir", SMALL, {"q": "heron"}, {"q": {"heron": 1}})
    with asked.corpus.open("a") as file:
        file.write(line)
    with pytest.raises(RecordError, match=reason) as raised:
        evaluate_retrieval(asked, encoder)
    assert "corpus.jsonl:5" in str(raised.value)
    found = evaluate_retrieval(replace(asked, skip_bad=True), encoder)
    assert [document.doc_id for document in found.corpus.documents] == [record["_id"] for record in SMALL]


@pytest.mark.parametrize("corpus", [[], [{"_id": "a", "text": ""}, {"_id": "b", "text": "  "}]])
def test_an_empty_corpus_is_an_error(encoder, tmp_path, corpus):
    asked = beir(tmp_path / "beir", corpus, {"q": "heron"}, {"q": {"a": 1}})
    with pytest.raises(SourceError, match="empty"):
        evaluate_retrieval(asked, encoder)


@pytest.mark.parametrize(
    ("wish", "error", "reason"),
    [
        ({"modes": ["dense", "sparse"]}, UsageError, "unknown mode 'sparse'; expected one of dense, keyword, hybrid"),
        ({"modes": []}, UsageError, "no mode given"),
        ({"style": "beir"}, UsageError, "unknown style 'beir'"),
        ({"fusion": "sum"}, UsageError, "unknown fusion 'sum'"),
        ({"depth": 0}, UsageError, "`depth` must be at least 1, got 0"),
        ({"measures": ["nDCG@ten"]}, UsageError, "unknown measure"),
        ({"measures": []}, UsageError, "no measure"),
        ({"transforms": ["whiten:99"]}, UsageError, "K must be a whole number from 1 to 32"),
        ({"style": "st"}, SourceError, "no query of beir has a relevant document"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_encoded(encoder, tmp_path, wish, error, reason):
    asked = beir(tmp_path / "beir", SMALL, {"q": "heron"}, {"q": {"heron": 0}})
    counting = Counting(encoder._batcher)
    with pytest.raises(SemsearchError, match=reason) as raised:
        evaluate_retrieval(asked, replace(encoder, _batcher=counting), **wish)
    assert type(raised.value) is error
    assert not counting.seen


def test_a_prefix_that_leaves_no_room_is_refused(tmp_path):
    """Such a prefix would give every text the same vector."""
    prompts = {"prompts": {"query": "a question that somebody asked here: ", "passage": ""}}
    folder = tiny_checkpoint(tmp_path / "model", files={"config_sentence_transformers.json": prompts})
    with pytest.raises(UsageError, match="leaves no room for a text"):
        MultiPooler.load(str(folder), ["mean"], max_tokens=8)


@pytest.fixture(scope="module")
def cranfield(data: Path) -> RetrievalResult:
    """Evaluate the default model with its own pooler on the 225 queries."""
    return evaluate_retrieval(
        load_retrieval(data / "cranfield"),
        MultiPooler.load(poolers=["mean"], device="cpu", precision="float32"),
        chunking=Chunking(on_long="truncate"),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "ndcg", "recall"),
    [("mean", 0.4273, 0.7899), ("keyword", 0.4220, 0.7467), ("mean, hybrid", 0.476, 0.815)],
)
def test_cranfield_has_the_published_numbers(cranfield: RetrievalResult, row: str, ndcg: float, recall: float):
    """Compare with published numbers; tests/integration/test_cranfield.py computes the dense one independently."""
    assert len(cranfield.queries) == 225
    assert cranfield.per_query[row]["nDCG@10"].mean() == pytest.approx(ndcg, abs=1e-3)
    assert cranfield.per_query[row]["R@100"].mean() == pytest.approx(recall, abs=1e-3)
