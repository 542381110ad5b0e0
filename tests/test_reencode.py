"""Test that an index that was moved to another encoder is the one that indexing the same corpus with it would make."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import jsonl
from fakes import CountingEncoder, Quantized, index_content, index_corpus, tiny_checkpoint
from memory_store import MemoryStore

from semsearch import Chunking, Encoder, Index, WordHashEncoder
from semsearch.encoder.foreign import ForeignEncoder
from semsearch.errors import (
    DamagedError,
    DiskFullError,
    LockedError,
    MismatchError,
    ModelError,
    NoIndexError,
    RecordError,
    UnsupportedError,
    UsageError,
)
from semsearch.stores.base import Store
from semsearch.stores.local import database as databases
from semsearch.stores.local.store import LocalStore
from semsearch.types import EncoderSpec

CORPUS: list[dict[str, Any]] = [
    {
        "_id": f"d{n}",
        "title": f"Note {n % 7}",
        "text": " ".join(f"word{(n * k) % 53} heron{n % 11}." for k in range(1, 4 + 7 * n % 90)),
        "year": 2000 + n % 5,
    }
    for n in range(48)
] + [{"_id": "empty", "text": "", "mood": "calm"}]
QUERIES = ("word7 heron3", "heron10", "Note 2 word49", "nothing of this")
BATCH = 16

STORES: dict[str, Callable[[Path], Store]] = {
    "local": lambda folder: LocalStore(folder),
    "memory": lambda folder: MemoryStore(),
}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semsearch.ingest.BATCH_DOCUMENTS", BATCH)


def answers(index: Index) -> dict[str, list[Any]]:
    """Return everything that searches show, without ranks, because ties depend on the order of additions."""
    return {
        f"{mode} {query}": sorted(
            (
                hit.doc_id,
                hit.start,
                hit.text,
                str(dict(hit.metadata)),
                round(hit.score, 5),
                round(hit.confidence or 0, 4),
            )
            for hit in index.search(query, 500, mode=mode, unit="passage")
        )
        for mode in ("dense", "keyword", "hybrid")
        for query in QUERIES
    }


def assert_alike(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    """Check that answers agree up to the rounding of sums in another order, except for confidences.

    These may have been measured before the last few changes, as after any addition.
    """
    assert found.keys() == expected.keys()
    for key, hits in found.items():
        assert [hit[:4] for hit in hits] == [hit[:4] for hit in expected[key]]
        assert [hit[4] for hit in hits] == pytest.approx([hit[4] for hit in expected[key]], abs=1e-4)


def from_scratch(place: Store | Path, encoder: Any, corpus: Any = CORPUS, **wishes: Any) -> dict[str, list[Any]]:
    with Index.open(place, create=True, encoder=encoder, **wishes) as index:
        index.add(corpus)
        return answers(index)


@pytest.mark.parametrize("kind", STORES)
def test_an_index_that_was_moved_answers_as_one_that_was_built_with_the_encoder(tmp_path: Path, kind: str):
    expected = from_scratch(STORES[kind](tmp_path / "new"), WordHashEncoder(128))
    with Index.open(STORES[kind](tmp_path / "old"), create=True, model="hash:64") as index:
        index.add(CORPUS)
        before = answers(index)
        result = index.reencode(model="hash:128")
        assert (result.before.dim, result.after.dim, index.spec.dim, index.encoder.spec.dim) == (64, 128, 128, 128)
        assert (result.moved, result.documents, result.encoded) == (True, 49, 49)
        assert result.passages == index.status()["passages"]
        assert before != answers(index) == expected
        assert index.add(CORPUS).unchanged == len(CORPUS)
        again = index.reencode(model="hash:128")
        assert (again.moved, again.documents, again.encoded) == (False, 49, 0)
        assert index.reencode(model="hash:64").moved
        assert answers(index) == before
    if kind == "local":
        assert sorted(os.listdir(tmp_path / "old"))[0] == "passages.sqlite"
        assert not [name for name in os.listdir(tmp_path / "old") if name.startswith("reencode")]


def test_the_database_is_the_one_that_indexing_would_make(tmp_path: Path):
    for name, dim in (("new", 128), ("old", 64)):
        index_corpus(tmp_path / name, CORPUS, WordHashEncoder(dim))
    with Index.open(tmp_path / "old") as index:
        index.reencode(encoder=WordHashEncoder(128))
        assert index.search("word7", 1)[0].score > 0  # with the encoder that was given
    assert index_content(tmp_path / "old") == index_content(tmp_path / "new")


@pytest.mark.parametrize(
    "change", [{"max_tokens": 40}, {"chunking": Chunking(tokens=30, overlap=4)}, {"chunking": Chunking(title=False)}]
)
def test_passages_are_cut_anew(tmp_path: Path, change: dict[str, Any]):
    encoder = WordHashEncoder(64, max_tokens=change.get("max_tokens", 256))
    expected = from_scratch(tmp_path / "new", encoder, chunking=change.get("chunking"))
    index_corpus(tmp_path / "old", CORPUS, WordHashEncoder(64))
    with Index.open(tmp_path / "old", chunking=Chunking()) as index:
        assert index.reencode(**change).moved
        assert answers(index) == expected
        assert index.chunking == change.get("chunking", Chunking())
        assert not index.reencode(**change).moved


def test_documents_keep_all_that_they_have_and_indexing_their_files_encodes_nothing(tmp_path: Path):
    corpus = tmp_path / "corpus"
    (corpus / "notes").mkdir(parents=True)
    (corpus / "notes" / "a.md").write_text("---\nyear: 2020\n---\n# Heron\n\nIt waits.")
    (corpus / "more.jsonl").write_bytes(jsonl(CORPUS[:9]))
    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        index.add([str(corpus)])
        index.delete(["d3"])
        kept = {name: index.status()[name] for name in ("origin", "roots", "created", "fields", "documents")}
        before = (index.documents(index.select()), index.facets())
        index.reencode(model="hash:128")
        assert {name: index.status()[name] for name in kept} == kept
        after = (index.documents(index.select()), index.facets())
    for one, other in zip(before[0].values(), after[0].values(), strict=True):
        assert replace(one, passages=()) == replace(other, passages=())
    assert before[1] == after[1]
    encoder = CountingEncoder(WordHashEncoder(128))
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        result = index.add([str(corpus)])
        assert (result.encoded, result.unchanged, result.described) == (1, 9, 0)  # the deleted one
        (corpus / "notes" / "a.md").unlink()
        assert index.add([str(corpus)], delete_missing=True).deleted == 1


@pytest.mark.parametrize("kind", STORES)
def test_a_transform_is_fitted_anew_and_can_be_added_and_removed(tmp_path: Path, kind: str, small: str):
    wishes: dict[str, Any] = {"model": small, "pooler": "mean", "runtime": "torch"}
    with Index.open(STORES[kind](tmp_path / "new"), create=True, transform="whiten:16", **wishes) as index:
        index.add(CORPUS[:30])
        expected = answers(index)
    with Index.open(STORES[kind](tmp_path / "old"), create=True, **wishes) as index:
        index.add(CORPUS[:30])
        plain = answers(index)
        assert index.reencode(transform="whiten:16", runtime="torch").after.pooler == "mean"
        assert answers(index) == expected
        index.reencode(transform="", runtime="torch")
        assert answers(index) == plain


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("small")))


@pytest.mark.filterwarnings("ignore::semsearch.PoolingWarning")
def test_settings_that_are_left_out_are_those_of_the_index_or_of_the_checkpoint(tmp_path: Path, small: str):
    with Index.open(
        tmp_path / "i",
        create=True,
        model=small,
        pooler="cls",
        max_tokens=40,
        query_prefix="q: ",
        dim=8,
        runtime="torch",
    ) as index:
        index.add(CORPUS[:5])
        spec = index.reencode(max_tokens=32, runtime="torch").after
        assert (spec.pooler, spec.max_tokens, spec.dim, spec.query_prefix) == ("cls", 32, 8, "q: ")
        spec = index.reencode(pooler="max", runtime="torch").after
        assert (spec.pooler, spec.max_tokens, spec.dim, spec.query_prefix) == ("max", 32, 32, "q: ")
        spec = index.reencode(model=small, runtime="torch").after
        assert (spec.pooler, spec.max_tokens, spec.dim, spec.query_prefix) == ("mean", 64, 32, "")


@pytest.mark.slow
def test_the_default_model_with_another_pooler(tmp_path: Path):
    corpus = [{"_id": one["_id"], "text": one["text"][:200]} for one in CORPUS[:24]]
    with pytest.warns(UserWarning, match="trained with pooler 'mean'"):
        encoder = Encoder.load(pooler="cls")
    expected = from_scratch(tmp_path / "new", encoder, corpus)
    with Index.open(tmp_path / "old", create=True) as index:
        index.add(corpus)
        with pytest.warns(UserWarning, match="trained with pooler 'mean'"):
            assert index.reencode(pooler="cls").after == encoder.spec
        found = answers(index)
    assert_alike(found, expected)


# --- interruptions


class FailingEncoder(CountingEncoder):
    """An encoder of 128 dimensions that fails after some passages."""

    def __init__(self, after: int) -> None:
        super().__init__(WordHashEncoder(128))
        self.after = after

    def encode_documents(self, texts: Any, progress: Any = None) -> Any:
        if len(self.passages) >= self.after:
            raise KeyboardInterrupt
        return super().encode_documents(texts, progress)


@pytest.mark.parametrize("kind", STORES)
def test_an_interrupted_move_changes_nothing_and_resumes(tmp_path: Path, kind: str):
    place = STORES[kind](tmp_path / "i")
    expected = from_scratch(STORES[kind](tmp_path / "new"), WordHashEncoder(128))
    before = from_scratch(STORES[kind](tmp_path / "same"), WordHashEncoder(64))
    with Index.open(place, create=True, model="hash:64") as index:
        index.add(CORPUS)
        with pytest.raises(KeyboardInterrupt):
            index.reencode(encoder=FailingEncoder(after=20))
        assert (answers(index), index.spec.dim) == (before, 64)
        rest = CountingEncoder(WordHashEncoder(128))
        result = index.reencode(encoder=rest)
        assert 0 < result.encoded < len(CORPUS)
        assert result.encoded % BATCH == len(CORPUS) % BATCH
        assert len(rest.passages) < result.passages
        assert answers(index) == expected


@pytest.mark.parametrize("kind", STORES)
def test_what_is_added_and_deleted_before_a_move_is_resumed_is_not_lost(tmp_path: Path, kind: str):
    more = [{"_id": "new", "text": "a bittern"}, {**CORPUS[4], "text": "changed heron"}]
    with Index.open(STORES[kind](tmp_path / "i"), create=True, model="hash:64") as index:
        index.add(CORPUS)
        with pytest.raises(KeyboardInterrupt):
            index.reencode(encoder=FailingEncoder(after=20))
        index.delete(["d0", "d47"])
        index.add(more)
        index.reencode(model="hash:128")
        found = answers(index)
        assert {"d0", "d47"}.isdisjoint(index.select())
        assert index.search("bittern", 1, mode="dense")[0].doc_id == "new"
    changed = {one["_id"]: one for one in [*CORPUS, *more] if one["_id"] not in ("d0", "d47")}
    expected = from_scratch(STORES[kind](tmp_path / "new"), WordHashEncoder(128), list(changed.values()))
    assert_alike(found, expected)


def test_a_draft_for_another_encoder_and_a_damaged_one_are_discarded(tmp_path: Path):
    expected = from_scratch(tmp_path / "new", WordHashEncoder(96))
    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        index.add(CORPUS)
        with pytest.raises(KeyboardInterrupt):
            index.reencode(encoder=FailingEncoder(after=20))
        assert index.reencode(model="hash:96").encoded == len(CORPUS)
        assert answers(index) == expected
        for content in (b"no database", b""):
            (tmp_path / "i" / "reencode").mkdir()
            (tmp_path / "i" / "reencode" / "passages.sqlite").write_bytes(content)
            index.reencode(model="hash:64")
            index.reencode(model="hash:96")
        (tmp_path / "i" / "reencode").write_text("not even a folder")
        index.reencode(model="hash:64")
        index.reencode(model="hash:96")
        assert answers(index) == expected
        with pytest.raises(KeyboardInterrupt):
            index.reencode(encoder=FailingEncoder(after=20))
        assert not index.reencode(model="hash:96").moved  # this is how one gives up
    assert not (tmp_path / "i" / "reencode").exists()


def test_a_draft_that_is_a_link_does_not_lead_to_another_index(tmp_path: Path):
    """The folder of an index may come from someone else, with a link to an index of mine in it."""
    with Index.open(tmp_path / "mine", create=True, model="hash:128") as mine:
        mine.add([{"_id": "mine", "text": "heron"}])
    with Index.open(tmp_path / "theirs", create=True, model="hash:64") as index:
        index.add(CORPUS)
        try:
            (tmp_path / "theirs" / "reencode").symlink_to(tmp_path / "mine", target_is_directory=True)
        except OSError:
            pytest.skip("no permission to create links")
        index.reencode(model="hash:128")
        assert len(index) == len(CORPUS)
    with Index.open(tmp_path / "mine") as mine:
        assert mine.select() == ["mine"]


def test_what_a_crash_after_the_move_left_undone_is_done_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        index.add(CORPUS)
        with monkeypatch.context() as patched:
            patched.setattr("semsearch.stores.local.writer.discard_draft", crash)
            with pytest.raises(KeyboardInterrupt):
                index.reencode(model="hash:128")
        assert (index.spec.dim, index.status()["segments"]) == (128, 0)
        assert not index.reencode(model="hash:128").moved
        assert (index.status()["segments"], len([*(tmp_path / "i").glob("vectors.*")])) == (1, 1)
    assert not (tmp_path / "i" / "reencode").exists()


def test_a_damaged_passage_of_a_draft_is_encoded_again(tmp_path: Path):
    import sqlite3

    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        index.add(CORPUS)
        with pytest.raises(KeyboardInterrupt):
            index.reencode(encoder=FailingEncoder(after=20))
        draft = sqlite3.connect(tmp_path / "i" / "reencode" / "passages.sqlite")
        draft.execute("UPDATE passages SET end = end - 1 WHERE id = 3")
        draft.execute("UPDATE vectors SET vector = zeroblob(512) WHERE passage = 9")
        draft.commit()
        draft.close()
        index.reencode(model="hash:128")
        found = answers(index)
    assert found == from_scratch(tmp_path / "new", WordHashEncoder(128))


# --- others who have the index open


def test_meanwhile_searches_go_on_and_writers_are_refused(tmp_path: Path):
    index_corpus(tmp_path / "i", CORPUS, WordHashEncoder(64))
    before = from_scratch(tmp_path / "same", WordHashEncoder(64))
    seen = []
    with (
        Index.open(tmp_path / "i") as index,
        Index.open(tmp_path / "i") as other,
        Index.open(tmp_path / "i", encoder=WordHashEncoder(64)) as fixed,
    ):

        def watch(report: Any) -> None:
            if not seen:
                with pytest.raises(LockedError, match="is being written by process"):
                    other.add([{"_id": "x", "text": "y"}])
                with pytest.raises(LockedError):
                    other.reencode(model="hash:96")
            seen.append((report.documents, answers(other) == before))

        index.reencode(model="hash:128", watch=watch)
        assert seen[-1] == (49, True)
        assert all(same for _, same in seen)
        expected = from_scratch(tmp_path / "new", WordHashEncoder(128))
        assert (answers(other), other.encoder.spec.dim) == (expected, 128)
        with pytest.raises(MismatchError, match="dim 128, not 64"):
            fixed.search("heron")
        assert fixed.search("heron3", mode="keyword")
        assert other.add([{"_id": "x", "text": "y"}]).encoded == 1


def test_a_snapshot_that_was_open_before_the_move_stays_as_it_is(tmp_path: Path):
    index_corpus(tmp_path / "i", CORPUS, WordHashEncoder(64))
    query = WordHashEncoder(64).encode_queries(["heron3"])
    with LocalStore(tmp_path / "i") as store, Index.open(tmp_path / "i") as index:
        with store.snapshot():
            first = store.search_vectors(query, 5, None)[1]
            thread = threading.Thread(target=index.reencode, kwargs={"model": "hash:128"})
            thread.start()
            while thread.is_alive() and index.spec.dim == 64:
                thread.join(0.01)
            assert (store.spec.dim, index.spec.dim) == (64, 128)
            assert np.array_equal(store.search_vectors(query, 5, None)[1], first)
            assert len(store.show(first[0].tolist())) == 5
        thread.join()
        assert store.spec.dim == 128


def test_threads_that_search_all_the_time_see_the_old_index_or_the_new_one(tmp_path: Path):
    """Both encoders have the same dimension, so a mixture would not be noticed by shapes."""
    corpus, encoders = CORPUS[:40], {256: WordHashEncoder(64), 24: WordHashEncoder(64, 24)}
    expected = {}
    for size, encoder in encoders.items():
        found = from_scratch(tmp_path / str(size), encoder, corpus)
        expected[size] = [sorted((hit[0], hit[4], hit[2]) for hit in found[f"dense {query}"]) for query in QUERIES]
    index_corpus(tmp_path / "i", corpus, encoders[256])
    seen: dict[str, list[int]] = {"shared 1": [], "shared 2": [], "alone": []}
    errors: list[BaseException] = []
    done = threading.Event()

    def read(name: str, index: Index) -> None:
        try:
            while not (done.is_set() or errors):
                every = index.search_many(QUERIES, 500, mode="dense", unit="passage")
                found = [sorted((hit.doc_id, round(hit.score, 5), hit.text) for hit in hits) for hits in every]
                seen[name].append(next(size for size, one in expected.items() if found == one))
                with suppress(UsageError):  # hits of the old index cannot be explained by the new one
                    index.explain(QUERIES[1], index.search(QUERIES[1], 1))
        except BaseException as error:
            errors.append(error)

    with Index.open(tmp_path / "i") as shared, Index.open(tmp_path / "i") as alone:
        readers = (("shared 1", shared), ("shared 2", shared), ("alone", alone))
        threads = [threading.Thread(target=read, args=reader) for reader in readers]
        for thread in threads:
            thread.start()
        for size in (24, 256) * 2:
            assert shared.reencode(max_tokens=size).moved
        done.set()
        for thread in threads:
            thread.join(60)
    if errors:
        raise errors[0]
    for sizes in seen.values():
        assert set(sizes) == {24, 256}


# --- 8-bit models


def test_the_8_bit_model_of_an_encoder_comes_and_goes_with_it(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph.bin").write_text(name)
    one, two = Quantized(tmp_path / "one"), Quantized(tmp_path / "two")
    folder = tmp_path / "i"
    with Index.open(folder, create=True, encoder=one) as index:
        index.add(CORPUS[:9])
        index.reencode(encoder=two)
        assert {path.name for path in folder.glob("encoder-*")} == set(two.artifacts)
        assert index.search("heron3", 1)[0].score > 0.1
        index.reencode(model="hash:64")
        assert list(folder.glob("encoder-*")) == []


def test_8_bits_are_calibrated_on_stored_texts_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The loading of encoders is faked, because quantization takes seconds; test_int8.py tests the real one."""
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "graph.bin").write_text("graph")
    calibrated: list[int] = []

    class Exact(CountingEncoder):
        def quantize(self, texts: Any) -> Any:
            calibrated.append(len(texts))
            return Quantized(tmp_path / "graph")

    def load(settings: Any, base: EncoderSpec | None = None, artifacts: Path | None = None) -> Any:
        if base is not None and settings.precision is None and base.precision.startswith("int8"):
            assert artifacts is not None
            (folder,) = artifacts.glob("encoder-*")
            return Quantized(folder)
        return Exact(WordHashEncoder(64))

    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        index.add(CORPUS)
        monkeypatch.setattr("semsearch.reencode.load_encoder", load)
        monkeypatch.setattr("semsearch.encoder.load.load_encoder", load)

        def stop(report: Any) -> None:
            if report.documents >= 2 * BATCH:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.reencode(precision="int8", watch=stop)
        assert index.spec.precision == "float32"
        result = index.reencode(precision="int8")
        assert len(calibrated) == 1
        assert (result.moved, result.encoded < len(CORPUS), result.after.precision[:5]) == (True, True, "int8:")
        assert index.search("heron3", 1)[0].score > 0.1
        assert index.add(CORPUS).unchanged == len(CORPUS)
        assert not index.reencode(precision="int8").moved
        assert not index.reencode().moved
        assert len(calibrated) == 1


@pytest.mark.parametrize("change", ["chunking", "damage"])
def test_the_8_bit_model_of_a_draft_that_no_longer_serves_is_calibrated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
):
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "graph.bin").write_text("graph")

    class Exact(CountingEncoder):
        def quantize(self, texts: Any) -> Any:
            return Quantized(tmp_path / "graph")

    def load(settings: Any, base: EncoderSpec | None = None, artifacts: Path | None = None) -> Any:
        if base is not None and settings.precision is None and base.precision.startswith("int8"):
            assert artifacts is not None
            for folder in artifacts.glob("encoder-*"):
                return Quantized(folder)
            raise UnsupportedError("the 8-bit model is missing")
        return Exact(WordHashEncoder(64))

    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        index.add(CORPUS)
        monkeypatch.setattr("semsearch.reencode.load_encoder", load)
        monkeypatch.setattr("semsearch.encoder.load.load_encoder", load)

        def stop(report: Any) -> None:
            if report.documents >= BATCH:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.reencode(precision="int8", watch=stop)
        (kept,) = (tmp_path / "i" / "reencode").glob("encoder-*")
        if change == "damage":
            shutil.rmtree(kept)
        result = index.reencode(precision="int8", chunking=Chunking(tokens=16) if change == "chunking" else None)
        assert (result.moved, result.quantization is not None) == (True, True)
        assert index.search("heron3", 1)[0].score > 0.1


def test_a_checkpoint_that_was_trained_further_in_place_is_taken_up(tmp_path: Path):
    """Without options the model of the index is loaded again, whose weights are other ones now."""
    for seed in (0, 1):
        tiny_checkpoint(tmp_path / "model", seed=seed)
        if seed:
            with Index.open(tmp_path / "i", runtime="torch") as index:
                with pytest.raises(MismatchError, match="reencode the index"):
                    index.search("heron3")
                result = index.reencode(runtime="torch")
                assert (result.moved, result.before.weights != result.after.weights) == (True, True)
                assert (result.after.pooler, index.search("heron3", 1)[0].rank) == ("cls", 1)
        else:
            with Index.open(
                tmp_path / "i", create=True, model=tmp_path / "model", pooler="cls", runtime="torch"
            ) as index:
                index.add(CORPUS[:9])


# --- bad input


def test_no_index(tmp_path: Path):
    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        with pytest.raises(NoIndexError, match="no index in"):
            index.reencode(model="hash:128")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    ("wishes", "kind", "words"),
    [
        ({"model": "/nowhere/model"}, ModelError, "/nowhere/model"),
        ({"pooler": "cls"}, UsageError, "does not accept pooler"),
        ({"model": "hash:128", "chunking": Chunking(tokens=4_000)}, UsageError, "`tokens` is 4000; expected"),
        ({"model": "hash:128", "encoder": WordHashEncoder(64)}, UsageError, "cannot be combined with `model`"),
        ({"encoder": "hash:128"}, UsageError, "`encoder`"),
        ({"chunking": {"tokens": 4}}, UsageError, "`chunking`"),
        ({"model": "hash:128", "chunking": Chunking(on_long="error"), "max_tokens": 40}, RecordError, "is error"),
        ({"precision": "int8"}, UsageError, "int8|precision"),
    ],
)
def test_what_cannot_be_done_leaves_the_index_as_it_is(tmp_path: Path, wishes: dict[str, Any], kind: Any, words: str):
    before = from_scratch(tmp_path / "i", WordHashEncoder(64))
    content = index_content(tmp_path / "i")
    with Index.open(tmp_path / "i") as index:
        with pytest.raises(kind, match=words) as caught:
            index.reencode(**wishes)
        assert "\n" not in str(caught.value)
        assert answers(index) == before
    assert index_content(tmp_path / "i") == content


def test_vectors_of_another_program_are_replaced_once_a_model_is_named(tmp_path: Path):
    words = WordHashEncoder(32)
    foreign = ForeignEncoder("their-model", words.encode_queries, words.encode_documents)
    index_corpus(tmp_path / "i", CORPUS, foreign)
    expected = from_scratch(tmp_path / "new", WordHashEncoder(128))
    with Index.open(tmp_path / "i") as index:
        with pytest.raises(UsageError, match=r"another program's model, 'their-model'; name the model.*`model`"):
            index.reencode(max_tokens=40)
        index.reencode(model="hash:128")
        assert answers(index) == expected
        index.reencode(encoder=foreign)
        assert index.spec.model == "foreign:their-model"


def test_a_damaged_text_is_named_and_nothing_is_lost(tmp_path: Path):
    import sqlite3

    index_corpus(tmp_path / "i", CORPUS, WordHashEncoder(64))
    database = sqlite3.connect(tmp_path / "i" / "passages.sqlite")
    database.execute("UPDATE documents SET text = 'other' WHERE doc_id = 'd5'")
    database.commit()
    database.close()
    with Index.open(tmp_path / "i") as index:
        with pytest.raises(DamagedError, match="the text of document 'd5' does not match its checksum; index the same"):
            index.reencode(model="hash:128")
        assert (index.spec.dim, len(index)) == (64, 49)
        index.add(CORPUS)
        assert index.reencode(model="hash:128").moved


def test_an_index_without_documents_is_moved_too(tmp_path: Path):
    with Index.open(tmp_path / "i", create=True, model="hash:64") as index:
        index.add(CORPUS[:3])
        index.delete(["d0", "d1", "d2"])
        with pytest.raises(UsageError, match="`tokens` is 900; expected"):
            index.reencode(chunking=Chunking(tokens=900))
        assert (index.reencode(model="hash:128").documents, index.spec.dim) == (0, 128)
        index.add(CORPUS)
        assert answers(index) == from_scratch(tmp_path / "new", WordHashEncoder(128))


@pytest.mark.parametrize("pages", [60, 100, 130])
def test_a_full_disk_leaves_the_index_and_says_how_much_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
):
    corpus = [{**one, "text": one["text"] * 3} for one in CORPUS]
    before = from_scratch(tmp_path / "i", WordHashEncoder(64), corpus)
    connect = databases.connect

    def bounded(path: Path, *, write: bool = False) -> Any:
        connection = connect(path, write=write)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(databases, "connect", bounded)
    with Index.open(tmp_path / "i") as index:
        with pytest.raises(
            DiskFullError, match=r"the disk is full; the index .* is unchanged; .* about \d+ MB of free"
        ):
            index.reencode(model="hash:512")
        monkeypatch.setattr(databases, "connect", connect)
        assert (answers(index), index.spec.dim) == (before, 64)
        index.reencode(model="hash:512")
        assert answers(index) == from_scratch(tmp_path / "new", WordHashEncoder(512), corpus)


def test_a_disk_that_is_full_when_the_draft_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = from_scratch(tmp_path / "i", WordHashEncoder(64))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Index.open(tmp_path / "i") as index:
        with monkeypatch.context() as patch:
            patch.setattr("semsearch.stores.local.drafts.write_setting", full)
            with pytest.raises(DiskFullError, match="is unchanged"):
                index.reencode(model="hash:128")
        assert (answers(index), index.spec.dim) == (before, 64)
        assert index.reencode(model="hash:128").encoded == 0  # all of it was in the draft
