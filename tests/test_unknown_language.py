"""Corpora and queries in a language that the encoder does not know: warnings, and the weight of the dense score."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import tiny_checkpoint

from semsearch import Encoder, Index, UnknownLanguageWarning, WordHashEncoder
from semsearch.confidence import Background
from semsearch.search import dense_weight
from semsearch.types import Hit

CHINESE = [
    {"_id": "disk", "text": "把照片复制到硬盘，每个月检查一遍备份。"},
    {"_id": "cloud", "text": "云盘也能保存照片，但是要先加密。"},
    {"_id": "tea", "text": "泡茶的水不要太热，绿茶八十度就够。"},
    {"_id": "rice", "text": "煮饭之前先把米洗两遍。"},
]
ENGLISH = [
    {"_id": "copy", "text": "Copy your photos to a second drive."},
    {"_id": "stew", "text": "A stew of beans and tomatoes."},
]
KNOWN, UNKNOWN, MIXED = "copy of all photos", "怎样备份照片", "copy photos 备份"
# Of the letters of MIXED, 10 are English; neither Chinese character is in the vocabulary of the default model.
SHARE = 2 / 12
WEIGHT = 0.5 - (SHARE - 0.1) / (0.5 - 0.1) * (0.5 - 0.001)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """An encoder with random weights and the tokenizer of the default model."""
    return Encoder.load(tiny_checkpoint(tmp_path_factory.mktemp("model")), "mean", device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def index(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of documents in both languages that no test changes."""
    with Index.open(tmp_path_factory.mktemp("indexes") / "both", create=True, encoder=encoder) as index:
        index.add([*CHINESE, *ENGLISH])
        yield index


def scores(hits: list[Hit]) -> dict[str, float]:
    return {hit.doc_id: hit.score for hit in hits}


# --- warnings


def test_a_corpus_in_an_unknown_language_is_reported(tmp_path: Path, encoder: Encoder):
    with Index.open(tmp_path / "index", create=True, encoder=encoder) as index:
        with pytest.warns(UnknownLanguageWarning, match=r"language of 4 of 6 documents .* such as 'disk'.*`model`"):
            done = index.add([*ENGLISH, *CHINESE, {"_id": "void", "text": ""}])
        assert (done.checked, done.unknown_language) == (6, 4)
        assert done.unknown_language_ids == ["disk", "cloud", "tea", "rice"]
        assert index.status()["unknown_language"] == pytest.approx(4 / 6)


def test_a_corpus_of_documents_in_english_and_german_is_not_reported(tmp_path: Path, encoder: Encoder):
    german = {"_id": "german", "text": "Übertrage größere Bilder auf eine zweite Festplatte."}
    with Index.open(tmp_path / "index", create=True, encoder=encoder) as index, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert index.add([*ENGLISH, german]).unknown_language == 0
        assert index.status()["unknown_language"] == 0
        index.search(KNOWN)
        index.search("Übung für Köln")


def test_a_tenth_of_a_corpus_may_be_in_another_language(tmp_path: Path, encoder: Encoder):
    many = [{"_id": str(n), "text": f"Plain text number {n}."} for n in range(9)]
    with Index.open(tmp_path / "index", create=True, encoder=encoder) as index, warnings.catch_warnings():
        warnings.simplefilter("error")
        done = index.add([*many, CHINESE[0]])
        assert (done.checked, done.unknown_language) == (10, 1)


def test_of_a_large_batch_some_documents_are_checked(tmp_path: Path, encoder: Encoder):
    with Index.open(tmp_path / "index", create=True, encoder=encoder) as index:
        with pytest.warns(UnknownLanguageWarning, match="language of 20 of 40 documents"):
            done = index.add([{"_id": str(n), "text": "煮饭" if n % 4 < 2 else "rice"} for n in range(120)])
        assert done.unknown_language_ids == [str(n) for n in range(0, 120, 3) if n % 4 < 2]


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_a_query_in_an_unknown_language_is_reported(index: Index, mode: str):
    with pytest.warns(UnknownLanguageWarning, match="does not know the language of the query"):
        index.search_many([KNOWN, UNKNOWN], mode=mode)
    with pytest.warns(UnknownLanguageWarning):
        assert index.context(UNKNOWN, mode=mode, min_confidence=None).unknown_language
    assert index.knows_language([KNOWN, UNKNOWN]) == [True, False]


def test_a_keyword_search_knows_every_language(index: Index):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert index.search(UNKNOWN, mode="keyword")
        assert not index.context(UNKNOWN, mode="keyword", min_confidence=None).unknown_language
        assert not index.context(KNOWN, min_confidence=None).unknown_language


def test_an_encoder_without_a_vocabulary_is_not_judged(tmp_path: Path):
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(64)) as index, warnings.catch_warnings():
        warnings.simplefilter("error")
        done = index.add(CHINESE)
        assert (done.checked, done.unknown_language) == (0, 0)
        assert index.status()["unknown_language"] is None
        assert index.search(UNKNOWN)


def test_a_move_to_another_encoder_tells_how_well_that_knows_the_documents(tmp_path: Path, encoder: Encoder):
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(64)) as index:
        index.add(CHINESE)
        with pytest.warns(UnknownLanguageWarning, match="language of 4 of 4 documents"):
            moved = index.reencode(encoder=encoder)
        assert (moved.checked, moved.unknown_language, moved.unknown_language_ids[0]) == (4, 4, "disk")
        assert index.status()["unknown_language"] == 1


# --- the weight of the dense score


@pytest.mark.parametrize(
    ("share", "weight"), [(0, 0.5), (0.1, 0.5), (0.2, 0.37525), (0.3, 0.2505), (0.4, 0.12575), (0.5, 0.001), (1, 0.001)]
)
def test_the_weight_falls_with_the_share_of_unknown_letters(share: float, weight: float):
    assert dense_weight(share) == pytest.approx(weight)


def test_the_usual_weight_is_exact():
    assert dense_weight(0.0) == dense_weight(0.1) == 0.5


@pytest.mark.parametrize(("query", "weight"), [(KNOWN, 0.5), (MIXED, WEIGHT), (UNKNOWN, 0.001)])
def test_a_hybrid_score_is_the_weighted_mean_of_both_sides(index: Index, query: str, weight: float):
    cosines, words = scores(index.search(query, mode="dense")), scores(index.search(query, mode="keyword"))
    assert len(cosines) == 6 > len(words) > 0
    unrelated = sum(cosines.values()) / (6 + 20)  # each document is one passage
    highest = index._store.highest_keyword_score(query)
    expected = {
        doc_id: weight * (cosine - unrelated) / (1 - unrelated) + (1 - weight) * words.get(doc_id, 0) / highest
        for doc_id, cosine in cosines.items()
    }
    found = index.search(query)
    assert [hit.doc_id for hit in found] == sorted(expected, key=lambda doc_id: -expected[doc_id])
    assert scores(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("query", "weight"), [(KNOWN, 0.5), (MIXED, WEIGHT), (UNKNOWN, 0.001)])
def test_reciprocal_ranks_are_weighted_likewise(index: Index, query: str, weight: float):
    expected = dict.fromkeys(scores(index.search(query, mode="dense")), 0.0)
    for mode, share in (("dense", weight), ("keyword", 1 - weight)):
        for hit in index.search(query, mode=mode):
            expected[hit.doc_id] += 2 * share / (60 + hit.rank)
    assert scores(index.search(query, fusion="rrf")) == pytest.approx(expected, abs=1e-12)


def test_words_come_first_in_an_unknown_language(index: Index):
    words = [hit.doc_id for hit in index.search(UNKNOWN, mode="keyword")]
    assert words == ["disk", "cloud"]  # both have 照片, and the first also has 备份
    for fusion in ("convex", "rrf"):
        assert [hit.doc_id for hit in index.search(UNKNOWN, fusion=fusion)][:2] == words


@pytest.mark.parametrize(("query", "weight"), [(KNOWN, 0.5), (MIXED, WEIGHT), (UNKNOWN, 0.001)])
def test_an_explanation_states_the_weight_that_was_used(index: Index, query: str, weight: float):
    for fusion, usual in (("convex", 1), ("rrf", 0.5)):
        hits = index.search(query, fusion=fusion)
        for hit, explained in zip(hits, index.explain(query, hits), strict=True):
            dense, keyword = explained.dense, explained.keyword
            assert dense is not None
            assert keyword is not None
            assert dense.weight == pytest.approx(weight / usual)
            assert keyword.weight == pytest.approx((1 - weight) / usual)
            assert dense.share + keyword.share == pytest.approx(hit.score)
            if fusion == "convex":
                assert dense.score is not None
                near = (dense.score - dense.zero) / (dense.one - dense.zero)
                assert dense.share == pytest.approx(dense.weight * near, abs=1e-6)
            elif keyword.rank:
                assert keyword.share == pytest.approx(keyword.weight / (60 + keyword.rank))
            assert explained.note == ""


def test_confidence_lies_between_those_of_both_modes_as_the_weight_does():
    tails = {"hybrid": ((0.2, 0.5), (0.4, 0.01)), "keyword": ((0.1, 0.5), (0.2, 0.01), (0.4, 0.0001))}
    background = Background(100, tails)
    assert background.confidence("hybrid", 0.4) == 0.5  # a share of 1% reaches it
    assert background.confidence("keyword", 0.4) == pytest.approx(1 / 1.01)
    assert background.confidence("hybrid", 0.4, trust=0.25) == pytest.approx(0.25 * 0.5 + 0.75 / 1.01)
    assert Background(100, {"hybrid": tails["hybrid"]}).confidence("hybrid", 0.4, trust=0.25) == 0.5


def test_a_background_of_an_older_index_lacks_the_share():
    tails = {"dense": [[0.1, 0.5]]}
    assert Background.from_json({"passages": 3, "tails": tails}).unknown_language is None
    assert Background.from_json({"passages": 3, "tails": tails, "unknown_language": 0.5}).unknown_language == 0.5
    with pytest.raises(ValueError, match="unknown language"):
        Background.from_json({"passages": 3, "tails": tails, "unknown_language": "all"})
