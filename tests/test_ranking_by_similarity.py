"""Test indexes of encoders that rank by dot product or distance, against sentence-transformers' own functions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import ranking_checkpoint
from sentence_transformers import SentenceTransformer

from semsearch import Encoder, Index
from semsearch.errors import DamagedError, MismatchError, UsageError
from semsearch.stores.local.guard import checksum
from semsearch.training.mining import Pair, Rule, mine_negatives

WORDS = "heron water bread oven letter garden moon train chess violin river stone".split()
TEXTS = [" ".join(WORDS[(n + k * k) % 12] for k in range(1 + n % 9)) + f" number {n}" for n in range(40)]
QUERIES = ["a heron in the water", "bread", "number five"]


class Ranked:
    """An index of TEXTS, most in a segment and some beside it, with the scores of sentence-transformers.

    Attributes:
        scores: Scores of all documents for each query, `[queries, documents]`.
    """

    def __init__(self, folder: Path, similarity: str) -> None:
        self.similarity = similarity
        self.model = ranking_checkpoint(folder / "model", similarity)
        self.index = Index.open(folder / "index", create=True, model=self.model, runtime="torch", device="cpu")
        records = [{"_id": f"d{n}", "text": text, "number": n} for n, text in enumerate(TEXTS)]
        self.index.add([*records[:25], {"_id": "gone", "text": QUERIES[0]}])
        self.index.add(records[25:])
        self.index.delete(["gone"])
        peer = SentenceTransformer(str(self.model), device="cpu")
        assert peer.similarity_fn_name == similarity
        self.documents, self.queries = peer.encode(TEXTS).astype(float), peer.encode(QUERIES).astype(float)
        self.scores = peer.similarity(self.queries, self.documents).numpy()

    def best(self, query: int, among: Any = range(40)) -> list[str]:
        return [f"d{n}" for n in sorted(among, key=lambda n: -self.scores[query, n])]

    def references(self, query: int) -> tuple[float, float]:
        """Return the scores that stand for an unrelated passage and for a perfect match."""
        asked, rows = self.queries[query], np.concatenate([self.documents, np.zeros((20, 32))])
        if self.similarity == "dot":
            typical = np.sqrt((self.documents**2).sum(1).mean())
            return float((rows @ asked).mean()), float(np.linalg.norm(asked) * typical)
        return -float(np.sqrt(((rows - asked) ** 2).sum(1).mean())), 0.0


@pytest.fixture(scope="module", params=["dot", "euclidean"])
def ranked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranked]:
    made = Ranked(tmp_path_factory.mktemp("ranked"), request.param)
    yield made
    made.index.close()


def test_search_ranks_as_sentence_transformers_does(ranked: Ranked):
    for query, hits in enumerate(ranked.index.search_many(QUERIES, 10, mode="dense")):
        assert [hit.doc_id for hit in hits] == ranked.best(query)[:10]
        assert [hit.score for hit in hits] == pytest.approx(sorted(ranked.scores[query])[: -10 - 1 : -1], rel=1e-4)
        assert {hit.kind for hit in hits} == {ranked.similarity}
        cosines = ranked.documents @ ranked.queries[query] / np.linalg.norm(ranked.documents, axis=1)
        assert [hit.doc_id for hit in hits] != [f"d{n}" for n in np.argsort(-cosines)[:10]]


def test_filters_and_vectors_rank_alike(ranked: Ranked):
    hits = ranked.index.search(QUERIES[0], 40, mode="dense", where="number >= 10 and number < 30")
    assert [hit.doc_id for hit in hits] == ranked.best(0, range(10, 30))
    found = ranked.index.search_vector(2 * ranked.queries[1], 40)
    asked = 2 * ranked.queries[1]
    twice = (
        asked @ ranked.documents.T if ranked.similarity == "dot" else -np.linalg.norm(ranked.documents - asked, axis=1)
    )
    assert [hit.score for hit in found] == pytest.approx(sorted(twice, reverse=True), rel=1e-4)


def test_hybrid_by_its_formula(ranked: Ranked):
    for query, text in enumerate(QUERIES):
        unrelated, perfect = ranked.references(query)
        words = {hit.doc_id: hit.score for hit in ranked.index.search(text, 40, mode="keyword")}
        most = ranked.index._store.highest_keyword_score(text) if words else 1.0
        expected = {
            f"d{n}": ((score - unrelated) / (perfect - unrelated) + words.get(f"d{n}", 0) / most) / 2
            for n, score in enumerate(ranked.scores[query])
        }
        hits = ranked.index.search(text, 40, mode="hybrid")
        assert {hit.doc_id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-4)
        assert [hit.doc_id for hit in hits] == sorted(expected, key=lambda doc_id: -expected[doc_id])


def test_rrf_needs_no_scale(ranked: Ranked):
    hits = ranked.index.search("heron", 40, mode="hybrid", fusion="rrf")
    ranks = [[hit.doc_id for hit in ranked.index.search("heron", 40, mode=mode)] for mode in ("dense", "keyword")]
    expected = {doc: sum(1 / (61 + some.index(doc)) for some in ranks if doc in some) for doc in ranks[0]}
    assert {hit.doc_id: hit.score for hit in hits} == pytest.approx(expected)


def test_confidence_rises_with_the_score_and_is_a_share_of_unrelated_pairs(ranked: Ranked):
    for mode in ("dense", "hybrid"):
        hits = ranked.index.search(QUERIES[0], 40, mode=mode)
        sure = [hit.confidence for hit in hits]
        assert sure == sorted(sure, reverse=True)
        assert 0 < sure[-1] < 0.05 < sure[0] < 1
    background = ranked.index.background
    unrelated, perfect = ranked.references(0)
    zero = 0 if ranked.similarity == "dot" else unrelated
    best = ranked.index.search(QUERIES[0], 1, mode="dense")[0]
    strength = (best.score - zero) / (perfect - zero)
    assert best.confidence == pytest.approx(background.confidence("dense", strength), rel=1e-3)


def test_relevance_of_any_text_is_the_confidence_of_such_a_hit(ranked: Ranked):
    hits = ranked.index.search(QUERIES[0], 5, mode="dense")
    found = ranked.index.relevance(ranked.queries[0], [hit.score for hit in hits])
    assert found == pytest.approx([hit.confidence for hit in hits], rel=1e-3)


def test_pairs_score_as_in_sentence_transformers(ranked: Ranked):
    found = ranked.index.score_pairs([QUERIES[0]] * 40, TEXTS)
    assert found == pytest.approx(ranked.scores[0], rel=1e-4)


def test_tokens_add_up_to_a_dot_product_and_a_distance_says_why_not(ranked: Ranked):
    hits = ranked.index.search(QUERIES[0], 2, mode="dense")
    for hit, why in zip(hits, ranked.index.explain(QUERIES[0], hits), strict=True):
        assert (why.dense.similarity, why.dense.score) == (ranked.similarity, pytest.approx(hit.score, rel=1e-4))
        if ranked.similarity == "dot":
            parts = [token.contribution for token in why.dense.tokens]
            assert sum(parts) == pytest.approx(ranked.scores[0, int(hit.doc_id[1:])], rel=1e-3)
        else:
            assert (why.dense.tokens, why.dense.note) == (
                (),
                "a Euclidean distance is not a sum over tokens, so it cannot be split",
            )
    both = ranked.index.search(QUERIES[0], 1, mode="hybrid")
    (why,) = ranked.index.explain(QUERIES[0], both)
    assert (why.dense.zero, why.dense.one) == pytest.approx(ranked.references(0), rel=1e-4)


def test_late_interaction_is_not_averaged_with_an_unbounded_score(ranked: Ranked):
    hits = ranked.index.search(QUERIES[0], 3, mode="dense", rerank="late-interaction")
    alone = ranked.index.reranker("late-interaction").scores(QUERIES[0], [hit.text for hit in hits])
    assert [hit.score for hit in hits] == pytest.approx(alone.tolist(), abs=1e-5)
    assert all(-1 <= hit.score <= 1 for hit in hits)


def test_a_context_leaves_nothing_out_for_its_scale(ranked: Ranked):
    context = ranked.index.context(QUERIES[0], mode="dense", candidates=5, min_confidence=0)
    assert context.excerpts[0].doc_id == ranked.best(0)[0]
    assert {excerpt.doc_id for excerpt in context.excerpts} <= set(ranked.best(0)[:15])


def test_status_says_it_and_a_copy_opens_with_it(ranked: Ranked):
    encoder = ranked.index.status()["encoder"]
    assert (encoder["similarity"], encoder["normalize"]) == (ranked.similarity, False)
    with Index.open(ranked.index.location) as again:
        assert again.encoder.spec.similarity == ranked.similarity
        assert again.encoder.spec.fingerprint == encoder["fingerprint"]


@pytest.mark.parametrize("by", ["option", "model", "encoder"])
def test_another_similarity_is_refused_in_one_sentence(ranked: Ranked, by: str):
    settings: dict[str, Any] = {"similarity": "cosine"}
    if by == "model":
        settings |= {"model": ranked.model}
    if by == "encoder":
        settings = {"encoder": Encoder.load(ranked.model, similarity="cosine", warn_of_pooler=False)}
    with pytest.raises(MismatchError, match=f"similarity {ranked.similarity}, not cosine"):
        Index.open(ranked.index.location, **settings).search(QUERIES[0], mode="dense")


def test_negatives_are_mined_on_the_scale_of_the_scores(ranked: Ranked):
    pair = Pair(QUERIES[0], TEXTS[int(ranked.best(0)[0][1:])])
    (positive,) = ranked.index.score_pairs([pair.anchor], [pair.positive])
    limit = positive * 0.8 if ranked.similarity == "dot" else positive / 0.8
    below = [doc_id for doc_id in ranked.best(0) if ranked.scores[0, int(doc_id[1:])] < limit]
    (found,), _ = mine_negatives(ranked.index, [pair], negatives=2, rule=Rule(positive_share=0.8))
    assert found.negatives == tuple(TEXTS[int(doc_id[1:])] for doc_id in below[:2])


# --- indexes that change, or are older


def small(folder: Path, similarity: str | None, **settings: Any) -> Index:
    model = ranking_checkpoint(folder / "model", similarity)
    index = Index.open(folder / "index", create=True, model=model, runtime="torch", device="cpu", **settings)
    index.add([{"_id": f"d{n}", "text": text} for n, text in enumerate(TEXTS[:8])])
    return index


def hits_of(index: Index) -> list[tuple[str, float]]:
    return [(hit.doc_id, pytest.approx(hit.score, rel=1e-4)) for hit in index.search(QUERIES[0], 8, mode="dense")]


@pytest.mark.filterwarnings("ignore::semsearch.CheckpointWarning")
def test_reencoding_changes_the_similarity_and_back(tmp_path: Path):
    with small(tmp_path, "dot") as index:
        before = hits_of(index)
        result = index.reencode(similarity="cosine", runtime="torch")
        assert (result.before.similarity, result.after.similarity, result.after.normalize) == ("dot", "cosine", True)
        assert {hit.kind for hit in index.search(QUERIES[0], mode="dense")} == {"cosine"}
        index.reencode(transform="center", runtime="torch")
        assert (index.spec.similarity, index.spec.normalize) == ("cosine", False)
        index.reencode(transform="", runtime="torch")  # back to what the checkpoint declares
        assert index.spec.similarity == "dot"
        assert hits_of(index) == before


def test_an_index_from_before_ranks_by_cosine_still(tmp_path: Path):
    with small(tmp_path, "cosine") as index:
        before, fingerprint = hits_of(index), index.spec.fingerprint
    config = tmp_path / "model/config_sentence_transformers.json"
    config.write_text(json.dumps({"prompts": {}, "similarity_fn_name": "dot"}))  # which was not read then
    with closing(sqlite3.connect(tmp_path / "index/passages.sqlite")) as db:
        (stored,) = db.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
        fields = json.loads(stored)
        assert fields.pop("similarity") == "cosine"
        text = json.dumps(fields)
        row = (text, checksum("encoder", text), "encoder")
        db.execute("UPDATE settings SET value = ?, checksum = ? WHERE key = ?", row)
        db.commit()
    with Index.open(tmp_path / "index") as index:
        assert (index.spec.similarity, index.spec.fingerprint) == ("cosine", fingerprint)
        assert hits_of(index) == before


@pytest.mark.parametrize("value", ["manhattan", 7, None, ["dot"]])
def test_a_stored_similarity_that_cannot_be_is_damage(tmp_path: Path, value: object):
    with small(tmp_path, "dot"):
        pass
    with closing(sqlite3.connect(tmp_path / "index/passages.sqlite")) as db:
        (stored,) = db.execute("SELECT value FROM settings WHERE key = 'encoder'").fetchone()
        text = json.dumps({**json.loads(stored), "similarity": value})
        row = (text, checksum("encoder", text), "encoder")
        db.execute("UPDATE settings SET value = ?, checksum = ? WHERE key = ?", row)
        db.commit()
    with pytest.raises(DamagedError, match="does not describe a valid encoder"):
        Index.open(tmp_path / "index").status()


def test_unscaled_vectors_need_another_similarity_than_cosine(tmp_path: Path):
    encoder = Encoder.load(ranking_checkpoint(tmp_path / "m", "cosine"), normalize=False)
    with Index.open(tmp_path / "i", create=True, encoder=encoder) as index:
        with pytest.raises(
            UsageError, match="ranks by cosine needs unit vectors; load the encoder with normalize=True"
        ):
            index.add([{"_id": "1", "text": "heron"}])
