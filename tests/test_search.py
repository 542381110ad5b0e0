from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import delete_documents, index_corpus, run_of, tiny_checkpoint

from semsearch import Chunking, Encoder, Hit, Index, Query, WordHashEncoder
from semsearch.arrays import Vectors
from semsearch.errors import FilterError, MismatchError, ModelError, NoIndexError, UsageError
from semsearch.search import MODES, Scale, fuse_convex, fuse_rrf
from semsearch.stores.local.store import LocalStore

ENCODER = WordHashEncoder(64)
WORDS = [f"{first}{vowel}x" for first in "bdfghklmnprtvz" for vowel in "aeiou"]  # not changed by stemming
QUERIES = ["kax", "bax lux rex", "dix dix fox", "gex hax hex hix hox hux kix", "zux unheard"]

Passages = list[tuple[str, str]]


def make_corpus() -> list[dict[str, Any]]:
    """Return 300 documents of 3 to 60 words, some words far more common than others."""
    random = np.random.default_rng(7)
    odds = 1 / np.arange(2, 2 + len(WORDS))
    lengths = random.integers(3, 60, 300)
    texts = [" ".join(random.choice(WORDS, n, p=odds / odds.sum())) for n in lengths]
    return [
        {"_id": f"d{i}", "text": text, "year": 2000 + i % 20, "lang": ("en", "zh", "de")[i % 3]}
        for i, text in enumerate(texts)
    ]


CORPUS = make_corpus()
"""Shared by tests, so it must not be modified."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index CORPUS in passages of at most 12 words; tests must not change the index."""
    folder = tmp_path_factory.mktemp("search") / "index"
    index_corpus(folder, CORPUS, ENCODER, chunking=Chunking(tokens=12, overlap=3))
    return folder


@pytest.fixture
def searcher(folder: Path) -> Iterable[Index]:
    with Index.open(folder, encoder=ENCODER) as searcher:
        yield searcher


def passages_of(folder: Path) -> Passages:
    """Return every passage as (doc_id, text), oldest first, read with sqlite3 alone."""
    sql = "SELECT doc_id, substr(text, start + 1, end - start) FROM passages p JOIN documents d ON d.id = p.document"
    with closing(sqlite3.connect(folder / "passages.sqlite")) as database:
        return database.execute(f"{sql} ORDER BY p.id").fetchall()


def by_document(passages: Passages, scores: Iterable[float]) -> dict[str, float]:
    """Return the best passage score of each document."""
    best: dict[str, float] = {}
    for (doc_id, _), score in zip(passages, scores, strict=True):
        best[doc_id] = max(score, best.get(doc_id, -math.inf))
    return best


def brute_dense(query: str, passages: Passages) -> dict[str, float]:
    cosines = ENCODER.encode_documents([text for _, text in passages]) @ ENCODER.encode_queries([query])[0]
    return by_document(passages, cosines.tolist())


def brute_keyword(query: str, passages: Passages) -> dict[str, float]:
    """Compute BM25 as SQLite documents it for FTS5: k1 = 1.2, b = 0.75 and an IDF of at least 1e-6."""
    counts = [Counter(text.split()) for _, text in passages]
    mean = sum(count.total() for count in counts) / len(counts)
    scores = np.zeros(len(counts))
    for word in query.split():
        n = sum(word in count for count in counts)
        idf = max(math.log((len(counts) - n + 0.5) / (n + 0.5)), 1e-6)
        scores += [idf * c[word] * 2.2 / (c[word] + 1.2 * (0.25 + 0.75 * c.total() / mean)) for c in counts]
    matching = [(passage, score) for passage, score in zip(passages, scores, strict=True) if score > 0]
    return by_document([passage for passage, _ in matching], [score for _, score in matching])


BRUTE: dict[str, Callable[[str, Passages], dict[str, float]]] = {"dense": brute_dense, "keyword": brute_keyword}


def assert_best(hits: list[Hit], expected: dict[str, float], k: int) -> None:
    """Check that the hits are the k best of all scores, with ties in any order."""
    assert [hit.rank for hit in hits] == list(range(1, 1 + min(k, len(expected))))
    assert len({hit.doc_id for hit in hits}) == len(hits)
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True)[:k], rel=1e-5, abs=1e-6)
    assert [hit.score for hit in hits] == pytest.approx([expected[hit.doc_id] for hit in hits], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("k", [1, 10, 1000])
@pytest.mark.parametrize("mode", BRUTE)
def test_search_equals_a_brute_force_roll_up_of_all_passages(searcher, folder, mode: str, k: int, query: str):
    expected = BRUTE[mode](query, passages_of(folder))
    assert expected
    assert_best(searcher.search(query, k, mode=mode), expected, k)


@pytest.mark.parametrize("mode", MODES)
def test_a_hit_shows_its_best_passage_and_its_document(searcher: Index, mode: str):
    corpus = {document["_id"]: document for document in CORPUS}
    for hit in searcher.search("bax lux rex", 20, mode=mode):
        document = corpus[hit.doc_id]
        assert hit.text == document["text"][hit.start : hit.end]
        assert hit.metadata == {"year": document["year"], "lang": document["lang"]}
        if mode == "dense":
            cosines = brute_dense("bax lux rex", [(hit.doc_id, hit.text)])
            assert hit.score == pytest.approx(cosines[hit.doc_id], abs=1e-6)


@pytest.mark.parametrize("query", QUERIES)
def test_the_convex_mix_is_that_of_both_brute_force_scores(searcher: Index, folder: Path, query: str):
    passages = passages_of(folder)
    vectors, (asked,) = ENCODER.encode_documents([text for _, text in passages]), ENCODER.encode_queries([query])
    unrelated = float((vectors @ asked).sum()) / (len(vectors) + 20)
    having = [sum(word in text.split() for _, text in passages) for word in query.split()]
    most = 2.2 * sum(max(math.log((len(passages) - n + 0.5) / (n + 0.5)), 1e-6) for n in having)
    dense = {name: (cosine - unrelated) / (1 - unrelated) for name, cosine in brute_dense(query, passages).items()}
    keyword = brute_keyword(query, passages)
    expected = {name: 0.5 * dense[name] + 0.5 * keyword.get(name, 0) / most for name in dense}
    assert_best(searcher.search(query, 10), expected, 10)
    for hit in searcher.search(query, 10, where="lang = 'de'"):  # a filter does not change scores
        assert hit.score == pytest.approx(expected[hit.doc_id], rel=1e-5)


@pytest.mark.parametrize("query", QUERIES)
def test_rank_fusion_sums_reciprocal_ranks_of_both_rankings(searcher: Index, query: str):
    expected: Counter[str] = Counter()
    for mode in ("dense", "keyword"):  # each of these equals brute force, as tested above
        for hit in searcher.search(query, 1000, mode=mode):
            expected[hit.doc_id] += 1 / (60 + hit.rank)
    assert_best(searcher.search(query, 10, mode="hybrid", fusion="rrf"), expected, 10)


DENSE = {1: (0.9, 11), 2: (0.5, 21), 3: (0.4, 31)}
KEYWORD = {3: (8.0, 32), 4: (6.0, 42), 1: (4.0, 12)}
SCALE = Scale(unrelated=0.5, highest=10.0)


def test_fusions_by_hand():
    # (0.8 + 0.4) / 2; (-0.2 + 0.8) / 2; (-0.2 + 0.6) / 2, where the lowest cosine replaces the missing one; 0 / 2
    convex = {1: (0.6, 11), 3: (0.3, 31), 4: (0.2, 42), 2: (0.0, 21)}
    rrf = {1: (1 / 61 + 1 / 63, 11), 3: (1 / 63 + 1 / 61, 31), 2: (1 / 62, 21), 4: (1 / 62, 42)}
    for fused, expected in ((fuse_convex(DENSE, KEYWORD, SCALE), convex), (fuse_rrf(DENSE, KEYWORD, SCALE), rrf)):
        assert list(fused) == list(expected)
        assert [passage for _, passage in fused.values()] == [passage for _, passage in expected.values()]
        assert [score for score, _ in fused.values()] == pytest.approx([score for score, _ in expected.values()])


def test_fusions_of_one_or_no_ranking_by_hand():
    assert fuse_convex({}, {}, SCALE) == fuse_rrf({}, {}, SCALE) == {}
    assert fuse_convex({7: (0.75, 70)}, {}, SCALE) == {7: (0.25, 70)}
    assert fuse_convex({}, {7: (5.0, 70)}, SCALE) == {7: (0.25, 70)}
    assert fuse_convex({7: (1.0, 70)}, {7: (10.0, 71)}, SCALE) == {7: (1.0, 70)}
    assert fuse_convex({7: (1.0, 70)}, {}, Scale(1.0, 1.0)) == {7: (0.0, 70)}  # all vectors are equal
    assert fuse_rrf({}, {7: (0.3, 70)}, SCALE) == {7: (1 / 61, 70)}


def test_an_unrelated_query_scores_lower_than_a_good_one(tmp_path: Path):
    """With the real model, the score of the best hit separates a good answer from none."""
    encoder = Encoder.load(device="cpu")
    texts = ["The heron waits in the reeds.", "Bread needs an hour to rise.", "Interest on a bank loan.", "Red buses."]
    index_corpus(tmp_path / "index", [{"_id": text[:3], "text": text} for text in texts], encoder)
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        good = [index.search(query, 1)[0] for query in ("a heron in the reeds", "how long must bread rise")]
        (bad,) = index.search("qqzzyy blorp", 1)
    assert [hit.doc_id for hit in good] == ["The", "Bre"]
    assert all(0.4 < hit.score <= 1 for hit in good)
    assert bad.score < 0.1


def test_without_a_mode_the_store_decides(searcher: Index, folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert searcher.default_mode == "hybrid"
    assert searcher.search("bax lux", 5) == searcher.search("bax lux", 5, mode="hybrid")
    monkeypatch.setattr(LocalStore, "modes", ("dense",))  # a store without keyword search
    assert searcher.search("bax lux", 5) == searcher.search("bax lux", 5, mode="dense")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [2**31, 2**62, 2**63, 2**64, 10**30, np.int8(100), np.uint64(2**63)])
def test_any_whole_number_of_hits_can_be_asked_for(searcher: Index, mode: str, k: int):
    assert len(searcher.search("bax lux", k, mode=mode)) == len(searcher.search("bax lux", min(int(k), 300), mode=mode))
    assert len(run_of(searcher, [Query("q", "bax")], k, mode=mode)["q"]) > 50


@pytest.mark.parametrize("mode", MODES)
def test_one_document_with_hundreds_of_the_best_passages_hides_no_other(tmp_path: Path, mode: str):
    hog = {"_id": "hog", "text": "\n\n".join(["kax lux rex bax kax lux"] * 500)}
    others = [{"_id": f"o{i}", "text": f"kax {' '.join(WORDS[i : i + 6])}"} for i in range(40)]
    index_corpus(tmp_path / "index", [hog, *others], ENCODER, chunking=Chunking(tokens=8, overlap=0))
    passages = passages_of(tmp_path / "index")
    assert Counter(name for name, _ in passages)["hog"] == 500
    with Index.open(tmp_path / "index", encoder=ENCODER) as searcher:
        hits = searcher.search("kax lux rex bax", 10, mode=mode)
    assert hits[0].doc_id == "hog"
    assert len({hit.doc_id for hit in hits}) == 10
    if mode in BRUTE:
        assert_best(hits, BRUTE[mode]("kax lux rex bax", passages), 10)


@pytest.mark.parametrize("mode", MODES)
def test_a_filter_that_keeps_few_of_the_worst_still_gives_k(tmp_path: Path, mode: str):
    common = [{"_id": f"c{i}", "text": "kax lux", "lang": "en"} for i in range(1500)]
    rare = [{"_id": f"r{i}", "text": f"kax {WORDS[i]} {' '.join(WORDS[40:60])}", "lang": "zh"} for i in range(7)]
    index_corpus(tmp_path / "index", [*common, *rare], ENCODER)
    with Index.open(tmp_path / "index", encoder=ENCODER) as searcher:
        hits = searcher.search("kax lux", 5, mode=mode, where="lang = 'zh'")
        assert len(hits) == 5
        assert {hit.doc_id[0] for hit in hits} == {"r"}
        assert len(searcher.search("kax lux", 10, mode=mode, where="lang = 'zh'")) == 7
        assert searcher.search("kax lux", 5, mode=mode, where="lang = 'fr'") == []


@pytest.mark.parametrize("mode", MODES)
def test_where_and_keyword_fields_must_both_hold(searcher: Index, mode: str):
    hits = searcher.search(
        "bax", 1000, mode=mode, where="(year >= 2010 or year = 2001) and lang = 'en' and year < 2015"
    )
    wanted = {d["_id"] for d in CORPUS if d["lang"] == "en" and (2010 <= d["year"] < 2015 or d["year"] == 2001)}
    having = {d["_id"] for d in CORPUS if "bax" in d["text"].split()}
    assert {hit.doc_id for hit in hits} == (wanted & having if mode == "keyword" else wanted)


@pytest.mark.parametrize(
    ("wishes", "error", "message"),
    [
        ({"k": 0}, UsageError, "`k` must be at least 1, got 0"),
        ({"k": 2.0}, UsageError, "`k` is 2.0; expected a whole number"),
        ({"k": "3"}, UsageError, "`k` is '3'; expected a whole number"),
        ({"k": True}, UsageError, "`k` is True; expected a whole number"),
        ({"k": np.float32(2)}, UsageError, "expected a whole number"),
        ({"query": "a\udce4b"}, UsageError, "the query is 'a.udce4b', which is not valid Unicode"),
        ({"query": "\ud800", "mode": "keyword"}, UsageError, "not valid Unicode"),
        ({"mode": 5}, UsageError, "`mode` is 5; expected text"),
        ({"fusion": None}, UsageError, "`fusion` is None; expected text"),
        ({"where": 5}, UsageError, "`where` is 5; expected an expression"),
        ({"where": ["year = 1"]}, UsageError, "expected an expression"),
        ({"where": "lang = '\udce4'"}, UsageError, "lone surrogate"),
        ({"k": -3}, UsageError, "`k` must be at least 1, got -3"),
        ({"query": ""}, UsageError, "the query is empty"),
        ({"query": " \n"}, UsageError, "the query is empty"),
        ({"mode": "sparse"}, UsageError, "unknown mode 'sparse'; expected one of dense, keyword, hybrid"),
        ({"fusion": "sum"}, UsageError, "unknown fusion 'sum'; expected one of convex, rrf"),
        ({"where": "color = 'red'"}, FilterError, "color"),
        ({"where": "color = 'red'", "mode": "keyword"}, FilterError, "color"),
        ({"color": "red"}, TypeError, "unexpected keyword argument 'color'"),
        ({"where": "year >="}, FilterError, "year >="),
    ],
)
def test_a_request_that_makes_no_sense_is_an_error(searcher: Index, wishes: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        searcher.search(**{"query": "bax", **wishes})


def test_a_question_without_a_known_word_finds_nothing_by_keyword(searcher: Index):
    assert searcher.search("unheard", mode="keyword") == searcher.search("?!", mode="keyword") == []


def test_many_queries_come_back_in_order_and_as_a_run(searcher: Index, folder: Path):
    passages = passages_of(folder)
    for query, hits in zip(QUERIES, searcher.search_many(QUERIES, 5, mode="dense"), strict=True):
        assert_best(hits, brute_dense(query, passages), 5)
    run = run_of(searcher, [Query(f"q{n}", query) for n, query in enumerate(QUERIES)], 5, mode="keyword")
    assert list(run) == ["q0", "q1", "q2", "q3", "q4"]
    for query, scores in zip(QUERIES, run.values(), strict=True):
        expected = brute_keyword(query, passages)
        assert list(scores.values()) == pytest.approx(sorted(expected.values(), reverse=True)[:5], rel=1e-5)
    assert [searcher.search_many([], mode=mode) for mode in MODES] == [[], [], []]


def test_a_searcher_sees_what_is_added_and_deleted_after_it_was_opened(tmp_path: Path):
    index_corpus(tmp_path / "index", CORPUS[:3], ENCODER)
    with Index.open(tmp_path / "index", encoder=ENCODER) as searcher:
        assert searcher.search("newcomer", mode="keyword") == []
        index_corpus(tmp_path / "index", [{"_id": "new", "text": "newcomer"}], ENCODER)
        for mode in MODES:
            assert searcher.search("newcomer", 1, mode=mode)[0].doc_id == "new"
        delete_documents(tmp_path / "index", ["new"])
        for mode in MODES:
            assert "new" not in [hit.doc_id for hit in searcher.search("newcomer", mode=mode)]


def open_files(folder: Path) -> list[str]:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link.readlink()) for link in links if link.is_symlink() and str(folder) in str(link.readlink())]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="lists open files as Linux does")
def test_the_index_is_closed_at_exit_and_after_a_refusal(tmp_path: Path):
    folder = tmp_path / "index"
    index_corpus(folder, CORPUS[:3], ENCODER)
    with Index.open(folder, encoder=ENCODER) as searcher:
        searcher.search("bax")
        assert open_files(folder)
    assert not open_files(folder)
    with pytest.raises(MismatchError) as refused:  # holds the traceback and, through it, everything that was open
        Index.open(folder, encoder=WordHashEncoder(32))
    assert not open_files(folder), refused


def test_another_encoder_is_refused_with_what_differs(folder: Path):
    with pytest.raises(MismatchError, match=r"dim 64, not 32\. .*build a new one"):
        Index.open(folder, encoder=WordHashEncoder(32))
    with pytest.raises(NoIndexError, match="no index in"):
        Index.open(folder / "nowhere")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Build an index with a small checkpoint, which is saved as `model` next to it."""
    encoder = Encoder.load(str(tiny_checkpoint(tmp_path / "model")), pooler="mean", device="cpu")
    index_corpus(tmp_path / "index", [{"_id": "a", "text": "a heron"}, {"_id": "b", "text": "a bank loan"}], encoder)
    return tmp_path / "index"


def test_a_searcher_loads_the_encoder_of_its_index(tiny: Path):
    with Index.open(tiny, device="cpu") as searcher:
        hits = searcher.search("a heron", mode="dense")
        assert searcher.encoder.spec.model == str(tiny.parent / "model")
    assert hits[0].doc_id == "a"
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_a_checkpoint_that_changed_since_is_refused(tiny: Path):
    tiny_checkpoint(tiny.parent / "model", seed=1)
    with Index.open(tiny, device="cpu") as searcher, pytest.raises(MismatchError, match="it has weights"):
        searcher.search("a heron")


@pytest.mark.parametrize(
    ("mode", "runtime", "loads"),
    [
        ("keyword", "torch", "[]"),
        ("dense", "torch", "['torch', 'transformers']"),
        ("dense", "openvino", "['openvino']"),  # the graph was converted when the index was built
    ],
)
def test_a_search_imports_no_more_than_it_needs(tiny: Path, mode: str, runtime: str, loads: str):
    code = f"""
import sys
from semsearch import Index
with Index.open({str(tiny)!r}, runtime={runtime!r}, device="cpu") as searcher:
    assert searcher.search("heron", mode={mode!r})[0].doc_id == "a"
print(sorted({{"torch", "transformers", "openvino"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == loads


def test_a_moved_checkpoint_is_found_when_it_is_named_and_a_changed_one_refused(tmp_path: Path):
    old, new, other = (tmp_path / name for name in ("old", "new", "other"))
    tiny_checkpoint(old)
    tiny_checkpoint(other, seed=1)
    index_corpus(tmp_path / "index", [{"_id": "1", "text": "a heron"}], Encoder.load(str(old), "mean", dim=16))
    old.rename(new)
    with Index.open(tmp_path / "index") as searcher, pytest.raises(ModelError, match="no such directory"):
        searcher.search("a heron")
    with Index.open(tmp_path / "index", model=str(new)) as searcher:
        assert searcher.search("a heron", mode="dense")[0].score == pytest.approx(1, abs=1e-5)
    with Index.open(tmp_path / "index", model=str(other)) as searcher:
        with pytest.raises(MismatchError, match=r"it has weights .* restore that one, or reencode the index"):
            searcher.search("a heron")


def test_one_text_where_many_are_meant_is_refused(searcher: Index, folder: Path):
    with pytest.raises(UsageError, match=r"expected a list of texts \(for one query, use search"):
        searcher.search_many("bax")
    with pytest.raises(UsageError, match="expected a list of ids"):
        delete_documents(folder, "12")


def test_vectors_of_queries_that_are_not_finite_are_an_error(tmp_path: Path):
    class Broken(WordHashEncoder):
        def encode_queries(self, texts: Sequence[str], progress: Any = None) -> Vectors:
            return super().encode_queries(texts, progress) * np.float32("nan")

    with Index.open(tmp_path / "i", create=True, encoder=Broken(64)) as index:
        index.add([{"_id": "1", "text": "heron"}])
        for mode in ("dense", "hybrid"):
            with pytest.raises(ModelError, match=r"1 of 1 texts .* not finite"):
                index.search("heron", mode=mode)
