"""Test what every store must do: a folder, a tiny in-memory store, PostgreSQL and Milvus. Add a new store to STORES."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import entry, index_spec
from memory_store import MemoryStore

from semsearch.corpus.chunking import Chunking
from semsearch.errors import FilterError, LockedError, MismatchError, NoIndexError, StoreError
from semsearch.filters.read import read_filter
from semsearch.layout import Layout, Section
from semsearch.stores.base import Entry, Store
from semsearch.stores.open import open_store
from semsearch.transforms import Transform
from semsearch.types import Document, Origin, Root, Storage

STORES = ("local", "memory", "postgres", "milvus")

ONE_WRITER = ("local", "memory", "milvus")
"""Stores that allow one writer at a time."""

PRECISIONS = {"local": "int8", "memory": "int8", "postgres": "float16"}
"""A precision of stored vectors that a store has besides float32; a store that is missing here has no other."""

CHUNKING = Chunking().to_json()
UNIT = np.eye(4, dtype=np.float32)


def store_of(request: pytest.FixtureRequest, folder: Path) -> Store:
    """Return a new store of the kind that a fixture is asked for."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "milvus":
        pytest.importorskip("milvus_lite")
        return open_store(f"milvus://{(folder / 'index.db').as_posix()}")
    return open_store(folder / "index" if request.param == "local" else request.getfixturevalue("postgres").url())


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with closing(store_of(request, tmp_path)) as opened:
        yield opened


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """Return the name of the store that `store` is."""
    return str(request.node.callspec.params["store"])


def skip_without_precisions(kind: str) -> None:
    if kind not in PRECISIONS:
        pytest.skip("this store has float32 alone")


def fill(store: Store, *entries: Any, **spec: Any) -> None:
    with store.write(index_spec(**spec), CHUNKING, "here") as writer:
        writer.commit(entries)
        writer.fit()
        writer.seal(final=True)


def names(store: Store, passages: Any) -> list[str]:
    shown = store.show([int(one) for one in passages if one != -1])
    return [shown[int(one)].doc_id for one in passages if one != -1]


def dense(store: Store, query: Any, k: int = 10, where: Any = None) -> list[str]:
    return names(store, store.search_vectors(np.array([query], np.float32), k, read_filter(where))[1][0])


def test_a_place_without_an_index_says_so(store: Store):
    assert not store.exists()
    with pytest.raises(NoIndexError, match="no index in"):
        _ = store.spec


def test_what_was_written_is_said_and_shown(store: Store):
    fill(store, entry("a", UNIT[:2], "heron waits", "Bird", year=2021))
    assert store.exists()
    assert (store.spec, dict(store.chunking), store.origin) == (index_spec(), CHUNKING, "here")
    assert store.fields() == ["year"]
    assert (store.counts()["documents"], store.counts()["passages"]) == (1, 2)
    assert {"documents", "passages", "encoder", "chunking"} <= store.status().keys()
    (scores,), (passages,) = store.search_vectors(UNIT[:1], 5, None)
    assert scores[:2] == pytest.approx([1, 0])
    shown = store.show(passages[:2].tolist())
    first = shown[int(passages[0])]
    assert (first.doc_id, first.title, first.text, first.start, first.end) == ("a", "Bird", "heron", 0, 5)
    assert dict(first.metadata) == {"year": 2021}
    owners = store.documents_of(passages[:2].tolist())
    assert len({*owners.values()}) == 1
    (owner,) = set(owners.values())
    assert store.doc_ids(owners.values()) == {owner: "a"}
    assert store.passages_of([owner, owner + 99], 2) == {owner: sorted(owners)}
    assert store.passages_of([owner], 1) == {}


def test_a_field_is_known_while_a_document_has_it(store: Store):
    odd = {"a \"b\" 'c'": 1}
    fill(store, entry("a", UNIT[:1], year=2021, lang="en"), entry("b", UNIT[1:2], year=2022), entry("c", [], **odd))
    assert store.fields() == sorted(["lang", "year", *odd])
    fill(store, entry("a", UNIT[:1], tag="x"))  # replaces the document
    assert store.fields() == sorted(["tag", "year", *odd])
    with store.write(index_spec(), CHUNKING, "here") as writer:
        writer.delete(["b", "c"])
    assert store.fields() == ["tag"]
    with store.write(index_spec(), CHUNKING, "here") as writer:
        writer.commit([], [entry("a", UNIT[:1], mood="calm").document])  # new metadata only
    assert store.fields() == ["mood"]


def test_vectors_are_found_by_cosine_and_equal_ones_by_age(store: Store):
    fill(
        store, entry("far", [[0.6, 0.8, 0, 0]]), entry("one", UNIT[:1]), entry("two", UNIT[:1]), entry("no", UNIT[2:3])
    )
    assert dense(store, UNIT[0], 3) == ["one", "two", "far"]
    (scores,), _ = store.search_vectors(UNIT[:1], 2, None)
    assert scores == pytest.approx([1, 1])
    assert len(store.search_vectors(UNIT[:3], 2, None)[1]) == 3


def test_filters_come_before_k_and_misspelt_fields_are_refused(store: Store):
    fill(store, *(entry(f"d{n}", [[1, n / 100, 0, 0]], year=n) for n in range(30)))
    assert dense(store, UNIT[0], 2, "year >= 20") == ["d20", "d21"]
    assert dense(store, UNIT[0], 2, {"year": {">=": 28}, "doc_id": {"!=": "d28"}}) == ["d29"]
    assert dense(store, UNIT[0], 2, "year > 99") == []
    for search in (
        lambda one: dense(store, UNIT[0], 2, one),
        lambda one: store.search_keywords("x", 2, read_filter(one)),
    ):
        with pytest.raises(FilterError, match="yaer"):
            search("yaer = 1")


def test_documents_are_selected_by_a_filter_in_the_order_in_which_they_were_first_added(store: Store):
    fill(store, *(entry(name, UNIT[:1], at=n) for n, name in enumerate("bcad")), entry("e", np.empty((0, 4)), ""))
    with store.write(store.spec, CHUNKING) as writer:
        writer.commit([entry("b", UNIT[:1], "other words", at=7)])
        writer.delete(["a"])
        writer.commit([entry("a", UNIT[:1], at=1)])
    assert store.select(None) == ["b", "c", "d", "e", "a"]
    assert store.select(read_filter("at >= 1 and not doc_id = 'd'")) == ["b", "c", "a"]
    assert store.select(read_filter("at is null")) == ["e"]
    assert store.select(read_filter("at > 9")) == []
    with pytest.raises(FilterError, match="yaer"):
        store.select(read_filter("yaer = 1"))


def test_words_are_found_by_how_rare_and_how_many_they_are(store: Store):
    texts = {"a": "kax lux lux", "b": "lux rex rex rex", "c": "lux dox", "d": "lux fox", "e": "lux zux"}
    fill(store, *(entry(name, UNIT[:1], text, year=len(text)) for name, text in texts.items()))
    scores, passages = store.search_keywords("kax rex", 10, None)
    assert sorted(names(store, passages)) == ["a", "b"]
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert (scores > 0).all()
    assert names(store, store.search_keywords("rex", 10, read_filter("year < 12"))[1]) == []
    assert len(store.search_keywords("unheard", 10, None)[1]) == 0


def test_scores_have_a_scale_that_belongs_to_the_query_and_the_index(store: Store):
    rows = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = ["kax", "kax lux", "rex " * 30, "kax kax kax kax dox", *["lux"] * 5]
    fill(
        store, *(entry(f"d{n}", row[None], text, year=n) for n, (row, text) in enumerate(zip(rows, texts, strict=True)))
    )
    assert store.reference_scores(UNIT)[0] == pytest.approx(rows.sum(0) / 29, abs=1e-6)
    for query in ("kax", "rex", "kax rex dox unheard"):
        scores, _ = store.search_keywords(query, 9, None)
        assert scores[0] < store.highest_keyword_score(query) < 99
    # of 9 texts, 3 contain one word and 1 the other: log(6.5 / 3.5) and log(8.5 / 1.5), times 2.2
    assert store.highest_keyword_score("kax rex") == pytest.approx(2.2 * (0.619039 + 1.734601), rel=1e-5)
    with store.write(store.spec, store.chunking) as writer:
        writer.delete(["d0", "d5"])
    assert store.reference_scores(UNIT)[0] == pytest.approx(np.delete(rows, [0, 5], 0).sum(0) / 27, abs=1e-6)
    assert {"hybrid", "dense", "keyword"} == {*store.modes}
    assert store.fitted() is None


def test_the_terms_of_a_query_sum_to_the_score_of_a_passage(store: Store):
    fill(store, entry("a", UNIT[:1], "kax lux lux"), entry("b", UNIT[:1], "rex"), entry("c", UNIT[:1], "dox fox zux"))
    query = "lux kax lux rex unheard"
    scores, passages = store.search_keywords(query, 9, None)
    assert sorted(names(store, passages)) == ["a", "b"]
    for score, passage in zip(scores.tolist(), passages.tolist(), strict=True):
        terms = store.keyword_terms(query, passage)
        assert sum(terms.values()) == pytest.approx(score, rel=1e-5)
        wanted = {"a": {"lux": 2, "kax": 1}, "b": {"rex": 1}}[names(store, [passage])[0]]
        alone = {word: times * store.keyword_scores(word, [passage])[0] for word, times in wanted.items()}
        assert {term.text: brought for term, brought in terms.items()} == pytest.approx(alone, rel=1e-5)
        assert not any(term.exact for term in terms)
    assert store.keyword_terms("?!", int(passages[0])) == {}
    assert store.keyword_terms("lux", 10**6) == {}


def test_a_changed_document_takes_the_place_of_the_old_under_new_numbers(store: Store):
    fill(store, entry("a", UNIT[:2], "old kax"), entry("b", UNIT[2:3], "bex"))
    before = set(store.search_vectors(UNIT[:1], 9, None)[1][0].tolist()) - {-1}
    fill(store, entry("a", UNIT[3:], "new rex"))
    after = set(store.search_vectors(UNIT[:1], 9, None)[1][0].tolist()) - {-1}
    assert len(before & after) == 1
    assert max(after) > max(before)
    assert names(store, store.search_keywords("kax", 9, None)[1]) == []
    assert names(store, store.search_keywords("rex", 9, None)[1]) == ["a"]
    assert store.show(list(before - after)) == {}
    assert store.documents_of(list(before - after)) == {}


def test_deleted_documents_are_found_no_more(store: Store):
    fill(store, entry("a", UNIT[:1], "kax"), entry("b", UNIT[1:2], "rex"))
    with store.write(store.spec, store.chunking) as writer:
        assert writer.delete(["b", "nobody", "b"]) == ["b"]
    assert dense(store, UNIT[1]) == ["a"]
    assert names(store, store.search_keywords("rex", 9, None)[1]) == []
    assert store.counts()["documents"] == 1


def test_a_writer_plans_by_content_and_metadata_and_remembers_what_it_saw(store: Store):
    fill(store, entry("a", UNIT[:1], "kax", year=1), entry("b", UNIT[:1], "rex"), entry("c", UNIT[:1], "dox"))
    same, described, new = Document("b", "rex"), Document("a", "kax", metadata={"year": 2}), Document("n", "new")
    with store.write(store.spec, store.chunking) as writer:
        plan = writer.plan([same, described, new, Document("c", "changed")])
        assert [one.doc_id for one in plan.encode] == ["n", "c"]
        assert ([one.doc_id for one in plan.describe], plan.unchanged) == (["a"], 1)
        writer.commit([], [described])
        assert writer.see(same) is None
        assert "duplicate id 'b'" in str(writer.see(same))
        assert sorted(writer.unseen()) == [("a", None), ("c", None)]
    assert dense(store, UNIT[0], 9, "year = 2") == ["a"]


def test_a_transform_is_fitted_once_or_when_asked(store: Store):
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32) + 3
    fill(store, *(entry(f"d{n}", row[None]) for n, row in enumerate(rows)), transform="center", normalize=False)
    centered = rows - rows.mean(0)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    (scores,), _ = store.search_vectors(rows[:1], 40, None)
    assert np.sort(scores) == pytest.approx(np.sort(unit @ unit[0]), abs=1e-5)
    assert store.reference_scores(rows[:1])[0] == pytest.approx([(unit @ unit[0]).sum() / 60], abs=1e-5)
    transform = store.fitted()
    assert transform is not None
    assert transform(rows) == pytest.approx(unit, abs=1e-5)
    with store.write(store.spec, store.chunking) as writer:
        assert (writer.fit(), writer.fit(again=True)) == (False, True)


@pytest.mark.parametrize("spec", [{"pooler": "cls"}, {"dim": 8}, {"weights": "v" * 64}])
def test_another_encoder_is_refused(store: Store, spec: dict[str, Any]):
    fill(store, entry("a", UNIT[:1]))
    with pytest.raises(MismatchError, match="built with another encoder"), store.write(index_spec(**spec), CHUNKING):
        pass
    with pytest.raises(MismatchError, match="other chunking settings"):
        with store.write(index_spec(), Chunking(tokens=64).to_json()):
            pass
    fill(store, entry("b", UNIT[:1]))  # the rejected writers hold no lock


def test_there_is_one_writer_and_it_lets_go(store: Store, kind: str):
    fill(store, entry("a", UNIT[:1]))
    if kind in ONE_WRITER:
        with store.write(store.spec, store.chunking):
            with pytest.raises(LockedError, match="is being written by"), store.write(store.spec, store.chunking):
                pass
    with pytest.raises(ZeroDivisionError), store.write(store.spec, store.chunking):
        raise ZeroDivisionError
    fill(store, entry("b", UNIT[:1]))
    assert store.counts()["documents"] == 2


def test_several_writers_see_what_each_has_committed(store: Store, kind: str):
    if kind in ONE_WRITER:
        pytest.skip("this store allows one writer at a time")
    fill(store, entry("a", UNIT[:1], "kax", year=1))
    with store.write(store.spec, store.chunking) as one, store.write(store.spec, store.chunking) as other:
        one.commit([entry("b", UNIT[1:2], "rex kax", year=2)])
        other.commit([entry("c", UNIT[2:3], "dox", lang="en")])
        assert other.plan([Document("b", "rex kax", metadata={"year": 2})]).unchanged == 1
        other.commit([entry("a", UNIT[3:], "lux lux lux")])
        assert one.delete(["c"]) == ["c"]
    assert store.select(None) == ["a", "b"]
    assert store.counts() == {"documents": 2, "passages": 2, "tokens": 6, "truncated": 0, "tokens_lost": 0}
    assert store.fields() == ["year"]
    assert (dense(store, UNIT[3], 1), dense(store, UNIT[1], 1)) == (["a"], ["b"])
    assert names(store, store.search_keywords("kax dox", 9, None)[1]) == ["b"]
    assert store.highest_keyword_score("lux") == pytest.approx(2.2 * 1e-6)  # 1 of 2 texts contains the word


def test_stretches_vectors_and_scores_of_chosen_passages(store: Store):
    rows = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = ["kax", "kax lux", "rex", "kax kax dox", *["lux"] * 5]
    fill(store, *(entry(f"d{n}", row[None], text) for n, (row, text) in enumerate(zip(rows, texts, strict=True))))
    every = store.passages_from(0, 99)
    assert (len(every), every) == (9, sorted(every))
    assert store.passages_from(0, 2) == every[:2]
    assert store.passages_from(1, 5) == every[-1:]
    assert store.passages_from(0.5, 2) == every[4:6]
    some = [every[3], every[0]]
    assert store.vectors_of([*some, 10**9]) == pytest.approx(np.stack([rows[3], rows[0], np.zeros(4)]), abs=1e-6)
    assert store.similarities(UNIT[:2], some) == pytest.approx((UNIT[:2] @ rows[[3, 0]].T), abs=1e-6)
    for query in ("kax", "lux dox", "unheard", ""):
        scores, found = store.search_keywords(query, 9, None)
        expected = dict(zip(found.tolist(), scores.tolist(), strict=True))
        assert store.keyword_scores(query, every) == pytest.approx([expected.get(one, 0) for one in every])
        assert store.keyword_scores(query, []).shape == (0,)


def test_whole_documents_are_given_by_their_ids(store: Store):
    fill(store, entry("a", UNIT[:2], "heron waits", "Bird", year=2021), entry("b", UNIT[:1], "owl"))
    found = store.documents(["b", "nobody", "a"])
    assert list(found) == ["b", "a"]
    one = found["a"]
    assert (one.doc_id, one.title, one.text, dict(one.metadata)) == ("a", "Bird", "heron waits", {"year": 2021})
    assert [tuple(span) for span in one.spans] == [(0, 5), (5, 11)]
    assert [store.show([number])[number].text for number in one.passages] == ["heron", " waits"]
    assert store.documents([]) == {}


def test_a_background_is_kept(store: Store):
    fill(store, entry("a", UNIT[:1]))
    assert store.background is None
    kept = {"passages": 1, "tails": {"dense": [[0.5, 0.5]]}}
    with store.write(store.spec, store.chunking) as writer:
        writer.keep_background(kept)
        writer.keep_background({**kept, "passages": 2})
    assert store.background == {**kept, "passages": 2}


def test_facets_count_documents_by_value(store: Store):
    rows = [
        {"lang": "en", "year": 2020, "tags": ["x", "y", "x"], "seen": True},
        {"lang": "en", "year": 2021, "tags": ["y"], "seen": False, "note": None, "more": {"a": 1}},
        {"lang": "de", "year": 2020, "tags": [], "seen": 1, "ratio": 0.5},
        {"lang": 2020},
    ]
    fill(store, *(entry(f"d{n}", UNIT[:1], **row) for n, row in enumerate(rows)))
    assert store.facets(9) == {
        "lang": [("en", 2), (2020, 1), ("de", 1)],
        "ratio": [(0.5, 1)],
        "seen": [(False, 1), (True, 1), (1, 1)],
        "tags": [("y", 2), ("x", 1)],
        "year": [(2020, 2), (2021, 1)],
    }
    assert store.facets(1)["lang"] == [("en", 2)]
    with store.write(store.spec, store.chunking) as writer:
        writer.delete(["d0", "d1", "d2"])
    assert store.facets(9) == {"lang": [(2020, 1)]}


WIDE = np.eye(6, dtype=np.float32)


def test_a_draft_is_seen_by_nobody_until_it_is_adopted_as_a_whole(store: Store):
    fill(store, entry("a", UNIT[:2], "heron waits", year=2021), entry("b", UNIT[2:3], "water water"))
    old = store.passages_from(0.0, 9)
    with store.write(store.spec, CHUNKING) as writer:
        writer.remember([Root("", "/corpus")])
        draft = writer.draft()
        assert not draft.exists()
        with draft.write(index_spec(dim=6), {**CHUNKING, "overlap": 0}) as filling:
            filling.commit([entry("b", WIDE[:2], "water water"), entry("a", WIDE[2:3], "heron waits")])
            filling.keep_background({"passages": 3, "tails": {}})
        assert (store.spec, dense(store, UNIT[2], 1), store.background) == (index_spec(), ["b"], None)
        writer.adopt(draft)
        draft.close()
        writer.discard_draft()
        assert not writer.draft().exists()
        writer.seal(final=True)
    assert (store.spec, dict(store.chunking), store.origin) == (index_spec(dim=6), {**CHUNKING, "overlap": 0}, "here")
    assert (store.counts()["documents"], store.counts()["passages"]) == (2, 3)
    assert store.background == {"passages": 3, "tails": {}}
    assert store.select(None) == ["a", "b"]
    assert store.select(read_filter("year = 2021")) == ["a"]
    assert [root.path for root in store.roots] == ["/corpus"]
    assert dense(store, WIDE[2], 1) == ["a"]
    assert names(store, store.search_keywords("water", 9, None)[1]) == ["b", "b"]
    new = store.passages_from(0.0, 9)
    assert len(new) == 3
    assert min(new) > max(old)  # numbers are not used again
    assert store.show(old) == {}
    with store.write(store.spec, store.chunking) as writer:
        assert writer.plan([Document("a", "heron waits", metadata={"year": 2021})]).unchanged == 1


def test_a_draft_is_kept_for_the_next_writer_until_it_is_discarded(store: Store):
    fill(store, entry("a", UNIT[:1]))
    with store.write(store.spec, CHUNKING) as writer, writer.draft().write(index_spec(dim=6), CHUNKING) as filling:
        filling.commit([entry("a", WIDE[:1])])
    with store.write(store.spec, CHUNKING) as writer:
        left = writer.draft()
        assert (left.spec, left.select(None)) == (index_spec(dim=6), ["a"])
        left.close()
        writer.discard_draft()
        writer.discard_draft()
        assert not writer.draft().exists()


@pytest.mark.parametrize("other", ["missing", "another text", "one more"])
def test_a_draft_of_other_documents_is_refused(store: Store, other: str):
    fill(store, entry("a", UNIT[:1]), entry("b", UNIT[1:2]))
    texts = {"missing": {"a": "some words"}, "another text": {"a": "some words", "b": "other words"}}
    drafted = texts.get(other, dict.fromkeys("abc", "some words"))
    with store.write(store.spec, CHUNKING) as writer:
        draft = writer.draft()
        with draft.write(index_spec(dim=6), CHUNKING) as filling:
            filling.commit(entry(doc_id, WIDE[:1], text) for doc_id, text in drafted.items())
        with pytest.raises(StoreError, match="different documents"):
            writer.adopt(draft)
        draft.close()
    assert (store.spec, dense(store, UNIT[1], 1)) == (index_spec(), ["b"])


def test_vectors_are_stored_in_the_precision_of_the_index_which_is_kept(store: Store, kind: str):
    skip_without_precisions(kind)
    row = np.array([[0.6, -0.8, 0.001, 0]], np.float32)  # 95.25, -127, 0.16 and 0 in units of 0.8 / 127
    codes, precision = np.array([[95, -127, 0, 0]]), PRECISIONS[kind]
    rounded = {"int8": codes * np.linalg.norm(row) / np.linalg.norm(codes), "float16": row.astype(np.float16)}
    with store.write(index_spec(), CHUNKING, store_precision=precision) as writer:
        writer.commit([entry("a", row), entry("b", UNIT[2:3])])
        writer.seal(final=True)
    assert store.storage.store_precision == precision
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("c", row)])
    for doc_id in "ac":
        passages = store.documents([doc_id])[doc_id].passages
        assert store.vectors_of(passages) == pytest.approx(rounded[precision], rel=1e-6)
    with pytest.raises(MismatchError, match=f"are stored as {precision}, not float32"):
        with store.write(index_spec(), CHUNKING, store_precision="float32"):
            pass
    with store.write(store.spec, CHUNKING) as writer:
        draft = writer.draft()
        with draft.write(index_spec(), CHUNKING, store_precision="float32") as filling:
            filling.commit([entry("b", UNIT[2:3]), entry("a", row), entry("c", row)])
        writer.adopt(draft)
        draft.close()
        writer.discard_draft()
    assert store.storage.store_precision == "float32"
    assert store.vectors_of(store.documents(["a"])["a"].passages) == pytest.approx(row, rel=1e-6)


@pytest.mark.parametrize("transform", ["", "center"])
def test_the_loss_is_measured_on_vectors_as_they_are_searched_without_zeros(store: Store, kind: str, transform: str):
    skip_without_precisions(kind)
    if kind == "memory":
        pytest.skip("this store does not measure it")
    rows = np.random.default_rng(0).normal(30, 0.05, (40, 4)).astype(np.float32)  # a float16 near 30 is off by 0.008
    if not transform:
        rows[10:20] = 0
    with store.write(index_spec(transform=transform), CHUNKING, store_precision="float16") as writer:
        writer.commit([entry(f"d{n}", row[None]) for n, row in enumerate(rows)])
        writer.fit()
        writer.seal(final=True)
    stored = rows.astype(np.float16).astype(np.float64)
    pair = [(each - stored.mean(0) if transform else each)[rows.any(1)] for each in (rows.astype(np.float64), stored)]
    cosines = np.sum(pair[0] * pair[1], axis=1) / np.prod([np.linalg.norm(each, axis=1) for each in pair], axis=0)
    assert store.storage.measured == (40 if transform else 30)
    assert store.storage.mean_cosine == pytest.approx(cosines.mean(), abs=1e-6)
    assert (store.storage.mean_cosine > 0.999) == (not transform)


def test_a_loss_that_was_measured_elsewhere_is_kept(store: Store, kind: str):
    skip_without_precisions(kind)
    known = Storage("float16", mean_cosine=0.75, overlap=0.5, measured=90)
    with store.write(index_spec(), CHUNKING, store_precision="float16") as writer:
        writer.commit([entry("a", UNIT[:1]), entry("b", UNIT[1:2])])
        writer.keep_loss(known)
        writer.seal(final=True)
    assert store.storage == known
    with store.write(index_spec(), CHUNKING) as writer:
        writer.commit([entry("c", UNIT[2:3])])  # fewer than 90
    assert store.storage == known


def test_entries_are_what_was_committed(store: Store):
    root, layout = Root("", "/corpus"), Layout((Section(0, 1, "Birds"),), ((3, 6),))
    origin = Origin(root, "birds.md")
    given = entry("birds.md", UNIT[:2] * 2, "heron waits", "Bird", year=2021)
    document = dataclasses.replace(given.document, origin=origin, layout=layout)
    with store.write(index_spec(normalize=False, similarity="dot"), CHUNKING) as writer:
        writer.remember([root])
        writer.commit([Entry(document, given.passages, given.vectors), entry("empty", np.empty((0, 4)), "")])
    empty, (first, *rest) = store.entries(["empty", "nobody"]), store.entries(["birds.md", "empty"])
    assert ([one.document.doc_id for one in empty], len(rest), len(empty[0].vectors)) == (["empty"], 1, 0)
    assert (first.document, first.document.origin, first.document.layout) == (document, origin, layout)
    assert list(first.passages) == [dataclasses.replace(one, encoded_text="") for one in given.passages]
    assert first.vectors == pytest.approx(given.vectors)


def test_a_transform_that_was_fitted_elsewhere_is_kept(store: Store):
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    transform = Transform("center", np.array([1, 2, 3, 4], np.float32), np.eye(4, dtype=np.float32))
    with store.write(index_spec(transform="center", normalize=False), CHUNKING) as writer:
        writer.commit([entry(f"d{n}", row[None]) for n, row in enumerate(rows)])
        writer.keep_transform(transform)
        assert not writer.fit()
    expected = rows - transform.mean
    assert store.vectors_of(store.passages_from(0, 9)) == pytest.approx(
        expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-6
    )
