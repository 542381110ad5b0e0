"""Test comparisons of an encoder's own similarity function against sentence-transformers' evaluators."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import ranking_checkpoint
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)

from semsearch import Index, compare_poolers
from semsearch.evaluation import studies
from semsearch.evaluation.candidates import Candidate, fit, repeats
from semsearch.evaluation.sts import _similarities

pytestmark = pytest.mark.filterwarnings("ignore::semsearch.CheckpointWarning")

WORDS = "heron water bread oven letter garden moon train chess violin river stone".split()
TEXTS = [" ".join(WORDS[(n + k * k) % 12] for k in range(1 + n % 9)) + f" number {n}" for n in range(40)]
GOLD = np.random.default_rng(0).integers(0, 6, 20).astype(float)
SIMILARITIES = ("dot", "euclidean")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for similarity in SIMILARITIES:
        ranking_checkpoint(root / similarity, similarity)
        ranking_checkpoint(root / f"{similarity}-unit", similarity, "Normalize")
    return root


def settings(model: Path, *poolers: str) -> dict[str, object]:
    where = {"runtime": "torch", "device": "cpu", "precision": "float32", "cache_mb": 0}
    return {"model": str(model), "poolers": poolers or ("mean",), **where}


@pytest.mark.parametrize("name", ["dot", "euclidean", "euclidean-unit", "dot-unit"])
def test_correlations_are_those_of_sentence_transformers(tmp_path: Path, models: Path, name: str):
    rows = zip(TEXTS[:20], TEXTS[20:], GOLD.tolist(), strict=True)
    lines = [json.dumps({"sentence1": a, "sentence2": b, "score": score}) for a, b, score in rows]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    peer = SentenceTransformer(str(models / name), device="cpu")
    similarity = name.partition("-")[0]
    evaluator = EmbeddingSimilarityEvaluator(TEXTS[:20], TEXTS[20:], GOLD.tolist(), write_csv=False)
    expected = evaluator(peer)["spearman_cosine" if similarity == "cosine" else f"spearman_{similarity}"]
    found = compare_poolers(tmp_path / "pairs.jsonl", **settings(models / name))
    assert found.rows["mean"]["pairs"] == pytest.approx(expected, abs=1e-9)
    used = "cosine" if name == "dot-unit" else similarity
    assert found.study.facts["similarity"] == used
    said = {"dot": ["vectors are compared by dot product"], "euclidean": ["vectors are compared by Euclidean distance"]}
    assert [note for note in found.notes if "compared by" in note] == said.get(used, [])
    cosine = compare_poolers(tmp_path / "pairs.jsonl", **settings(models / name), similarity="cosine")
    assert (cosine.rows == found.rows) == name.endswith("unit")
    assert cosine.study.facts["similarity"] == "cosine"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    corpus = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    queries = [json.dumps({"_id": f"q{n}", "text": f"{word} and {WORDS[n - 1]}"}) for n, word in enumerate(WORDS)]
    (folder / "queries.jsonl").write_text("\n".join(queries))
    rng = np.random.default_rng(1)
    lines = [f"q{n}\td{doc}\t1" for n in range(12) for doc in rng.choice(40, 4, replace=False)]
    (folder / "qrels").mkdir()
    (folder / "qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return folder


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_measures_are_those_of_sentence_transformers(models: Path, judged: Path, similarity: str):
    qrels: dict[str, set[str]] = {}
    for line in (judged / "qrels/test.tsv").read_text().splitlines()[1:]:
        query, doc_id, _ = line.split("\t")
        qrels.setdefault(query, set()).add(doc_id)
    queries = {f"q{n}": f"{word} and {WORDS[n - 1]}" for n, word in enumerate(WORDS)}
    corpus = {f"d{n}": text for n, text in enumerate(TEXTS)}
    peer = SentenceTransformer(str(models / similarity), device="cpu")
    evaluator = InformationRetrievalEvaluator(queries, corpus, qrels, ndcg_at_k=[10], write_csv=False)
    expected = evaluator(peer)[f"{similarity}_ndcg@10"]
    wishes = {"measures": ["nDCG@10"], "modes": ["dense"], "style": "st"}
    found = compare_poolers(judged, **settings(models / similarity), **wishes)
    assert found.value("mean", "nDCG@10") == pytest.approx(expected, abs=1e-9)
    cosine = compare_poolers(judged, **settings(models / similarity), **wishes, similarity="cosine")
    assert cosine.value("mean", "nDCG@10") != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_comparison_ranks_as_an_index_does(tmp_path: Path, models: Path, judged: Path, similarity: str):
    found = compare_poolers(judged, **settings(models / similarity), modes=["dense", "hybrid"])
    where = {"runtime": "torch", "device": "cpu", "precision": "float32"}
    with Index.open(tmp_path / "i", create=True, model=models / similarity, **where) as index:
        index.add(str(judged / "corpus.jsonl"))
        for label, mode in (("mean", "dense"), ("mean, hybrid", "hybrid")):
            hits = index.search(f"{WORDS[3]} and {WORDS[2]}", 40, mode=mode)
            expected = {hit.doc_id: pytest.approx(hit.score, abs=2e-3) for hit in hits}
            assert found.study.runs[label]["q3"] == expected


@pytest.mark.parametrize("chosen", ["mean", "mean, center"])
def test_a_recommended_command_does_not_contradict_its_transform(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, chosen: str
):
    bodies = [f"{' '.join(text.split() * 4)}. {text.title()} again and again, {n}." for n, text in enumerate(TEXTS)]
    lines = [json.dumps({"_id": str(n), "title": f"{n} {body[:20]}", "text": body}) for n, body in enumerate(bodies)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(studies, "recommend", lambda _, rows, own: (next(r for r in rows if r.label == chosen), "so"))
    wishes = settings(models / "dot") | {"transforms": ["center", "truncate:9"], "similarity": "dot"}
    found = compare_poolers(tmp_path / "corpus.jsonl", **wishes)
    by_label = {one.label: one.similarity for one in found.candidates}
    assert by_label == {"mean": "dot", "mean, center": "cosine", "mean, truncate:9": "dot"}
    assert "vectors are compared by dot product, after a fitted transform by cosine" in found.notes
    assert ("--similarity dot" in found.study.next, "--transform center" in found.study.next) == (
        (True, False) if chosen == "mean" else (False, True)
    )


def test_vectors_that_differ_in_length_repeat_for_cosine_alone():
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    vectors = {"mean": rows, "mean-sqrt-len": rows * np.arange(1, 6, dtype=np.float32)[:, None]}
    for similarity, expected in (("cosine", {"mean-sqrt-len": "mean"}), ("dot", {}), ("euclidean", {})):
        assert repeats([Candidate(name, similarity=similarity) for name in vectors], vectors) == expected


def test_truncated_vectors_are_rescaled_for_cosine_alone():
    rows = np.array([[3, 4, 12]], np.float32)
    assert fit("truncate:2", rows, "dot")(rows).tolist() == [[3, 4]]
    assert fit("", rows, "euclidean")(rows).tolist() == [[3, 4, 12]]
    assert fit("truncate:2", rows)(rows).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert np.linalg.norm(fit("center", np.eye(3, dtype=np.float32), "dot")(rows)) == pytest.approx(1)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_pooler_that_gives_every_text_the_same_vector_ranks_nothing(similarity: str):
    row = np.random.default_rng(0).normal(size=(1, 32)).astype(np.float32) * 1_000
    noise = 1 + 1e-8 * np.random.default_rng(1).normal(size=(6, 32)).astype(np.float32)
    scores = _similarities(similarity, (row * noise).astype(np.float32), np.repeat(row, 6, 0))
    assert len({*scores.tolist()}) == 1
