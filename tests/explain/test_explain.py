"""Explanations: parts that sum to the score, checked by hand and with plain transformers, and rejected input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import index_corpus, tiny_checkpoint
from memory_store import MemoryStore
from oracles import forward
from test_search import CORPUS, QUERIES

from semsearch import Chunking, Encoder, Hit, Index, WordHashEncoder
from semsearch.errors import NoIndexError, UsageError
from semsearch.explain.records import Explanation, TokenShare, whole_words
from semsearch.poolers import POOLERS

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "a", "title": "Heron", "text": "The heron waits by the water.", "year": 2020},
    {"_id": "b", "title": "Bread", "text": "Flour, water and salt.", "year": 2010},
    {"_id": "c", "title": "", "text": "Modern C++ at work, and C.", "year": 2021},
    {"_id": "d", "title": "Kettle", "text": "Fill it, then wait.", "year": 2022},
]

HASH = WordHashEncoder(4096)


def explained(index: Index, query: str, k: int = 4, **wishes: Any) -> list[tuple[Hit, Explanation]]:
    """Return the hits of a query with their explanations; assert that each explanation sums to the hit's score."""
    hits = index.search(query, k, **wishes)
    kept = {name: value for name, value in wishes.items() if name in ("where", "unit")}
    pairs = list(zip(hits, index.explain(query, hits, **kept), strict=True))
    for hit, why in pairs:
        assert (why.doc_id, why.start, why.end, why.kind, why.note) == (hit.doc_id, hit.start, hit.end, hit.kind, "")
        assert why.score == pytest.approx(hit.score, abs=1e-5)
        check_sums(why)
    return pairs


def check_sums(why: Explanation) -> None:
    assert why.score == pytest.approx(sum(part.share for part in (why.dense, why.keyword) if part), abs=1e-9)
    if why.dense and why.dense.tokens:
        parts = [token.contribution for token in why.dense.tokens]
        total = sum(parts) + sum((why.dense.offsets or {}).values()) + why.dense.rounding
        assert why.dense.score == pytest.approx(total, abs=1e-9)
    if why.keyword and why.keyword.terms:
        terms = sum(term.score for term in why.keyword.terms)
        assert why.keyword.score == pytest.approx(terms + why.keyword.rounding, abs=1e-9)
        assert abs(why.keyword.rounding) < 1e-5 * max(1, why.keyword.score or 0)
    for part in (why.dense, why.keyword):
        if part and part.score is not None and part.rank is None:
            assert part.share == pytest.approx(
                part.weight * (part.score - part.zero) / (part.one - part.zero), abs=1e-6
            )
    json.dumps(why.to_json(), allow_nan=False)


@pytest.fixture(params=["folder", "memory"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    place = tmp_path / "index" if request.param == "folder" else MemoryStore()
    with Index.open(place, create=True, encoder=HASH) as index:
        index.add(DOCUMENTS)
        yield index


# --- values computed by hand


def test_words_that_are_hashed_bring_what_a_head_can_tell(index: Index):
    (_, why), *_ = explained(index, "water", mode="dense")
    assert why.doc_id == "b"  # Bread Flour water and salt: 5 words, one in the query
    assert why.dense
    assert why.keyword is None
    tokens = {token.token: token for token in why.dense.tokens}
    assert [token.part for token in why.dense.tokens] == ["title", "text", "text", "text", "text"]
    assert tokens["water"].contribution == pytest.approx(1 / math.sqrt(5))
    assert [tokens[word].contribution for word in ("Bread", "Flour", "and", "salt")] == [0] * 4
    assert (tokens["water"].start, tokens["water"].end) == (7, 12)
    assert (tokens["Bread"].start, tokens["Bread"].end) == (0, 5)
    assert (abs(why.dense.rounding) < 1e-6, why.dense.offsets, why.dense.n_lost, why.dense.note) == (True, {}, 0, "")


def test_terms_bring_what_bm25_gives_each_alone(index: Index):
    pairs = explained(index, "heron by the water water", mode="keyword")
    assert [hit.doc_id for hit, _ in pairs] == ["a", "b"]
    why = pairs[0][1]
    assert why.dense is None
    assert why.keyword
    alone = {term: index.search(term, mode="keyword")[0] for term in ("heron", "by")}
    scores = {term.term: term for term in why.keyword.terms}
    assert scores.keys() == {"heron", "by", "the", "water"}
    for term, hit in alone.items():
        assert scores[term].score == pytest.approx(hit.score)
    water = next(hit.score for hit in index.search("water", mode="keyword") if hit.doc_id == "a")
    assert scores["water"].score == pytest.approx(2 * water)  # twice in the query
    assert [scores[term].spans for term in ("heron", "water")] == [((4, 9),), ((23, 28),)]
    assert scores["heron"].title_spans == ((0, 5),)


def test_an_exact_token_brings_its_bonus(tmp_path: Path):
    with Index.open(tmp_path / "index", create=True, encoder=HASH) as index:
        index.add(DOCUMENTS)
        ((hit, why),) = explained(index, "C++", mode="keyword")
        bonus, piece = (next(one for one in why.keyword.terms if one.exact is exact) for exact in (True, False))
        assert (bonus.term, bonus.spans, piece.term) == ("C++", ((7, 10),), "C")
        assert bonus.score == pytest.approx(2.2 * math.log(3.5 / 1.5), rel=1e-5)  # it occurs in 1 of 4 passages
        assert hit.score == pytest.approx(bonus.score + piece.score, rel=1e-5)


@pytest.mark.parametrize("unit", ["document", "passage"])
def test_both_sides_of_a_hybrid_score_are_said_with_their_scales(index: Index, unit: str):
    for hit, why in explained(index, "heron water", mode="hybrid", unit=unit):
        assert why.dense
        assert why.keyword
        assert why.dense.weight == why.keyword.weight == 0.5
        if why.keyword.score is None:
            assert (why.keyword.share, why.keyword.note, why.keyword.terms) == (0, "contains no word of the query", ())
            assert hit.doc_id in ("c", "d")
        else:
            assert {term.term for term in why.keyword.terms} <= {"heron", "water"}


def test_ranks_are_said_where_ranks_are_fused(index: Index):
    pairs = explained(index, "heron water", mode="hybrid", fusion="rrf")
    assert [(why.kind, why.dense.rank, why.keyword.rank) for _, why in pairs[:2]] == [("rrf", 1, 1), ("rrf", 2, 2)]
    assert pairs[0][1].dense.share == pytest.approx(1 / 61)


def test_words_may_stand_in_another_passage_than_the_nearest(tmp_path: Path):
    text = "heron heron heron heron. " + "Filler of many words follows here. " * 3 + "lux kax rex. heron lux"
    with Index.open(tmp_path / "index", create=True, encoder=HASH, chunking=Chunking(tokens=12, overlap=0)) as index:
        index.add([{"_id": "1", "text": text}, *({"_id": str(n), "text": "no such word"} for n in range(2, 9))])
        ((hit, why), *_) = explained(index, "heron lux kax rex", mode="hybrid")
        assert text[why.dense.start : why.dense.end] == hit.text
        assert "lux" in text[why.keyword.start : why.keyword.end]
        passage = text[why.keyword.start : why.keyword.end]
        for term in why.keyword.terms:
            assert {passage[a:b] for a, b in term.spans} <= {term.term}


def test_a_document_that_only_words_find_gets_its_own_cosine(tmp_path: Path):
    with Index.open(tmp_path / "index", create=True, encoder=HASH) as index:
        near = [{"_id": f"n{n}", "text": f"kax lux number{n}"} for n in range(200)]
        text, query = "rex " + " ".join(f"other{n}" for n in range(200)), "kax lux lux lux rex"
        index.add([*near, {"_id": "far", "text": text}])
        far = next(hit for hit in index.search(query, 201) if hit.doc_id == "far")
        (why,) = index.explain(query, [replace(far, rank=1)])
        cosine = float(HASH.encode_queries([query])[0] @ HASH.encode_documents([text])[0])
        assert why.dense.score == pytest.approx(cosine, abs=1e-6)
        assert why.dense.note == ""
        (term,) = why.keyword.terms
        assert term.term == "rex"


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index the 300 documents of test_search in passages of at most 12 words."""
    folder = tmp_path_factory.mktemp("mixture") / "index"
    index_corpus(folder, CORPUS, WordHashEncoder(64), chunking=Chunking(tokens=12, overlap=3))
    return folder


@pytest.mark.parametrize("where", [None, "year >= 2012"])
@pytest.mark.parametrize("unit", ["document", "passage"])
@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid", "rrf"])
def test_every_hit_of_a_corpus_sums_to_its_score(mixture: Path, mode: str, unit: str, where: str | None):
    fusion = {"mode": "hybrid", "fusion": "rrf"} if mode == "rrf" else {"mode": mode}
    with Index.open(mixture, encoder=WordHashEncoder(64)) as index:
        for query in QUERIES:
            for _, why in explained(index, query, 20, unit=unit, where=where, **fusion):
                if why.dense and why.dense.score is not None:
                    assert abs(why.dense.rounding) < 1e-6


def test_the_passage_of_another_unit_gives_no_snippet_of_what_it_does_not_say(mixture: Path):
    with Index.open(mixture, encoder=WordHashEncoder(64)) as index:
        hits = index.search("bax lux rex", 60, unit="passage")
        for hit, why in zip(hits, index.explain("bax lux rex", hits), strict=True):
            assert hit.text[why.snippet.start : why.snippet.end] == why.snippet.text


# --- a real model


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


def real(places: Path, name: str, **wishes: Any) -> Index:
    """Create an index of DOCUMENTS, with the default model unless `wishes` names another."""
    index = Index.open(places / name, create=True, **{"runtime": "torch", "device": "cpu", **wishes})
    index.add(DOCUMENTS)
    return index


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a BERT checkpoint with four small layers and random weights."""
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "model")


LINEAR = [name for name, pooler in POOLERS.items() if pooler.split]


@pytest.mark.parametrize("pooler", [*LINEAR, "layer:3+mean", "layer:0+max", "cls+mean", "layer:-2+mean+max+last"])
def test_contributions_sum_to_the_cosine_for_every_pooler_that_splits(places: Path, tiny: Path, pooler: str):
    with real(places, pooler, model=tiny, pooler=pooler) as index:
        for _, why in explained(index, "a patient bird", mode="dense"):
            assert why.dense.tokens
            assert abs(why.dense.rounding) < 1e-5


@pytest.mark.parametrize("pooler", ["mean", "max", "cls"])
@pytest.mark.filterwarnings("ignore:.*was trained with pooler")
def test_contributions_are_those_of_plain_transformers(places: Path, pooler: str):
    with real(places, f"plain {pooler}", pooler=pooler) as index:
        (hit, why), *_ = explained(index, "a patient bird", mode="dense")
        query, states = (forward((text,)).last[0].numpy() for text in ("a patient bird", f"{hit.title} {hit.text}"))
        parts = {
            "mean": lambda h: h / len(h),
            "cls": lambda h: h * (np.arange(len(h)) == 0)[:, None],
            "max": lambda h: np.where(np.arange(len(h))[:, None] == h.argmax(0), h, 0),
        }[pooler]
        q, v = parts(query).sum(0), parts(states).sum(0)
        expected = parts(states) @ q / np.linalg.norm(q) / np.linalg.norm(v)
        assert [token.contribution for token in why.dense.tokens] == pytest.approx(expected, abs=1e-5)
        text = [token for token in why.dense.tokens if token.part == "text"]
        assert [hit.text[token.start : token.end] for token in text] == [token.token for token in text]
        assert [token.token for token in why.dense.tokens if token.part == "special"] == ["[CLS]", "[SEP]"]
        assert [token.part for token in why.dense.tokens][:3] == ["special", "title", "text"]


@pytest.mark.parametrize(
    "wishes",
    [
        {"transform": "center"},
        {"transform": "whiten:3"},
        {"transform": "all-but-the-top:1"},
        {"dim": 8},
        {"dim": 8, "transform": "center"},
        {"passage_prefix": "passage: ", "query_prefix": "query: "},
    ],
    ids=str,
)
def test_transforms_truncation_and_prefixes_split_exactly(tmp_path: Path, tiny: Path, wishes: dict[str, Any]):
    with real(tmp_path, "index", model=tiny, pooler="mean", **wishes) as index:
        for _, why in explained(index, "a patient bird", mode="dense"):
            assert why.dense.tokens
            assert abs(why.dense.rounding) < 1e-4  # whitening amplifies rounding errors
            assert why.dense.offsets.keys() == ({"transform"} if "transform" in wishes else set())
            prefix = [token for token in why.dense.tokens if token.part == "prefix"]
            assert [token.token for token in prefix] == (["passage", ":"] if "passage_prefix" in wishes else [])


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.01)])
def test_the_compiled_runtime_differs_by_the_rounding_of_its_precision(places: Path, precision: str, tolerance: float):
    try:
        index = real(places, f"compiled {precision}", runtime="openvino", precision=precision)
    except UsageError as error:
        pytest.skip(str(error))
    with index:
        for _, why in explained(index, "a patient bird"):
            assert why.dense.tokens
            assert abs(why.dense.rounding) < tolerance


@pytest.mark.filterwarnings("ignore:.*was trained with pooler")
def test_what_cannot_be_split_says_so_in_a_line(places: Path):
    with real(places, "head", pooler="pooler-output") as index:
        for _, why in explained(index, "heron in the water"):
            assert why.dense.tokens == ()
            assert "pooler 'pooler-output' cannot be split exactly" in why.dense.note
            assert "\n" not in why.dense.note
            assert why.dense.score is not None


def test_a_passage_behind_the_limit_says_what_was_lost(tmp_path: Path):
    folder = tiny_checkpoint(tmp_path / "model")
    cut = {"max_tokens": 16, "chunking": Chunking(on_long="truncate"), "runtime": "torch", "device": "cpu"}
    with Index.open(tmp_path / "index", create=True, model=folder, pooler="mean", **cut) as index:
        index.add([{"_id": "1", "text": "one two three four five six seven eight nine ten " * 3}])
        ((hit, why),) = explained(index, "ten", mode="dense")
        assert why.dense.n_lost == 30 + 2 - 16
        assert max(token.end for token in why.dense.tokens if token.part == "text") < len(hit.text) / 2


@pytest.mark.parametrize("n", [30, 6])
def test_a_title_that_was_shortened_is_explained_as_it_was_encoded(tmp_path: Path, n: int):
    folder = tiny_checkpoint(tmp_path / "model")
    where = {"model": folder, "pooler": "mean", "runtime": "torch", "device": "cpu"}
    with Index.open(tmp_path / "index", create=True, chunking=Chunking(tokens=32, overlap=0), **where) as index:
        index.add([{"_id": "1", "title": "title words " * n, "text": "One heron waits here. " * 20 + "Last one."}])
        every = explained(index, "last", 99, mode="dense", unit="passage")
        assert len(every) > 3
        for _, why in every:
            assert abs(why.dense.rounding) < 1e-5
            assert len([token for token in why.dense.tokens if token.part == "title"]) in (12, 15)


def test_a_title_without_a_text_is_explained_by_its_title(places: Path, tiny: Path):
    with real(places, "title only", model=tiny, pooler="mean") as index:
        index.add([{"_id": "t", "title": "Patience", "text": ""}])
        ((_, why),) = [pair for pair in explained(index, "patience", 9, mode="dense") if pair[0].doc_id == "t"]
        assert {token.part for token in why.dense.tokens} == {"special", "title"}
        assert (why.snippet.text, why.snippet.highlights) == ("", ())
        ((_, why),) = explained(index, "patience", mode="keyword")
        assert [(term.spans, term.title_spans) for term in why.keyword.terms] == [((), ((0, 8),))]


def test_a_query_of_marks_alone_has_no_words(index: Index):
    assert index.explain("?!", index.search("?!", mode="keyword")) == []
    for _, why in explained(index, "?!", mode="hybrid"):
        assert (why.keyword.share, why.keyword.terms) == (0, ())


# --- snippets


def test_the_snippet_shows_what_brings_most(tmp_path: Path):
    text = "Filler stands here. " * 40 + "A heron waits. " + "More filler follows. " * 40
    chunking = Chunking(on_long="truncate")
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(4096, 999), chunking=chunking) as index:
        index.add([{"_id": "1", "text": text}])
        for mode in ("dense", "keyword", "hybrid"):
            ((hit, why),) = explained(index, "heron", mode=mode)
            assert hit.text[why.snippet.start : why.snippet.end] == why.snippet.text
            assert [why.snippet.text[a:b] for a, b in why.snippet.highlights] == ["heron"]


def test_pieces_of_a_word_are_made_whole_for_those_who_read():
    def token(text: str, start: int, part: str = "text") -> TokenShare:
        return TokenShare(text, part, start, start + len(text), 0.25)

    tokens = [token("he", 0, "title"), token("pl", 0), token("ants", 2), token(".", 6), token("x", 8)]
    words = whole_words([TokenShare("[CLS]", "special", None, None, 0.1), *tokens])
    assert [(word.token, word.contribution) for word in words] == [
        *[("[CLS]", 0.1), ("he", 0.25), ("plants", 0.5), (".", 0.25), ("x", 0.25)]
    ]
    assert (words[2].start, words[2].end) == (0, 6)


# --- bad input


def test_a_hit_that_is_gone_or_says_something_else_is_an_error(index: Index):
    hits = index.search("heron", mode="dense")
    index.add([{**DOCUMENTS[0], "text": "The heron waits by the river!"}])
    with pytest.raises(UsageError, match="the hit 'a', characters 0 to 29, is not in the index"):
        index.explain("heron", hits[:1])
    index.delete(["a"])
    with pytest.raises(UsageError, match="search again, and explain the new hits"):
        index.explain("heron", hits[:1])


def test_a_hit_of_another_search_is_told_by_its_score(index: Index):
    (why,) = index.explain("water", index.search("bread water", 1, mode="dense"))
    assert why.note.startswith("the hit had a score of 0.6325; the index or the search has changed since")
    with pytest.raises(UsageError, match="contains no word of `query`"):
        index.explain("salt", [hit for hit in index.search("water", mode="keyword") if hit.doc_id == "a"])


def test_a_filter_that_leaves_the_hit_out_is_an_error(index: Index):
    hits = index.search("water", mode="hybrid")
    with pytest.raises(UsageError, match="pass the same `where` and `unit` as in the search"):
        index.explain("water", hits, where="year > 2050")


@pytest.mark.parametrize("hits", [None, "a", 3, [1], {"a": 1}])
def test_what_are_no_hits_is_refused(index: Index, hits: Any):
    with pytest.raises(UsageError, match="`hits`"):
        index.explain("water", hits)


def test_one_hit_alone_and_an_unknown_kind_are_refused(index: Index):
    (hit,) = index.search("water", 1)
    with pytest.raises(UsageError, match=r"expected a list of hits, such as \[hit\]"):
        index.explain("water", hit)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="of kind 'cross-encoder', which cannot be explained; expected one of cosine"):
        index.explain("water", [replace(hit, kind="cross-encoder")])


@pytest.mark.parametrize("query", ["", "  ", None, 3, "\ud800"])
def test_a_query_that_is_none_is_refused(index: Index, query: Any):
    with pytest.raises(UsageError, match="query"):
        index.explain(query, index.search("water"))


def test_no_hits_and_no_index(tmp_path: Path, index: Index):
    assert index.explain("water", []) == []
    hits = index.search("water", mode="keyword")
    with Index.open(tmp_path / "other", create=True, encoder=HASH) as empty, pytest.raises(NoIndexError):
        empty.explain("water", hits)


def test_the_encoder_is_not_loaded_for_words(tmp_path: Path):
    with Index.open(tmp_path / "index", create=True, encoder=HASH) as index:
        index.add(DOCUMENTS)
    with Index.open(tmp_path / "index") as index:
        index._encoder.get = None  # type: ignore[assignment]
        assert index.explain("water", index.search("water", mode="keyword"))


def test_several_threads_may_ask_at_once(minilm: Encoder, tmp_path: Path):
    from concurrent.futures import ThreadPoolExecutor

    with Index.open(tmp_path / "index", create=True, encoder=minilm) as index:
        index.add(DOCUMENTS)
        hits = index.search("a patient bird")
        alone = index.explain("a patient bird", hits)
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: index.explain("a patient bird", hits), range(4)):
                assert [one.to_json() for one in found] == [one.to_json() for one in alone]
