"""Test `compact`, `tune`, and the options for vector indexes, with small limits on what is searched exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import call
from fakes import index_corpus

from semsearch import Index, WordHashEncoder
from semsearch.errors import UsageError
from semsearch.stores.local.vectors.ann import kinds
from semsearch.vector_options import changed_options

DIM, N = 32, 2_600
WORDS = [f"bird{number}" for number in range(60)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write documents of a few random words each."""
    rng = np.random.default_rng(0)
    lines = [
        json.dumps({"_id": f"d{number}", "text": " ".join(rng.choice(WORDS, 5)), "year": number % 10})
        for number in range(N)
    ]
    path = tmp_path_factory.mktemp("corpus") / "birds.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build vector indexes from 500 rows on."""
    monkeypatch.setattr(kinds, "EXACT_BYTES", 4 * DIM * 500)
    monkeypatch.setattr(kinds, "LEAST_ROWS", 100)


@pytest.fixture
def folder(corpus: Path, tmp_path: Path, small: None) -> Path:
    call("index", corpus, "--index", tmp_path / "index", "--model", f"hash:{DIM}").ok()
    return tmp_path / "index"


def vectors(folder: Path) -> dict:
    return call("status", "--index", folder, "--json").ok().json["vectors"]


def test_a_large_index_has_a_vector_index_and_status_says_what_was_measured(folder):
    status = vectors(folder)
    assert (status["vector_index"], status["memory"], status["target_recall"]) == ("auto", 2 * 2**30, 0.98)
    (segment,) = status["segments"]
    assert (segment["rows"], segment["kind"]) == (N, "HNSW32,SQ8")
    assert segment["recall"] >= 0.98
    assert segment["ms"] > 0
    assert N * DIM < segment["bytes"] < N * (DIM + 300)
    line = call("status", "--index", folder).ok().out.split("vectors.segments")[1].splitlines()[0]
    recall = f"recall@10 {segment['recall']:.3f} ± {segment['error']:.3f}"
    assert f"{N:,} vectors, HNSW32,SQ8: {recall} at effort {segment['effort']}" in line


def test_options_are_kept_and_compact_changes_the_kind(folder):
    outcome = call("compact", "--index", folder, "--vector-index", "IVF16,SQ8", "--target-recall", "0.9", "--json").ok()
    assert outcome.json["merged"]
    (segment,) = vectors(folder)["segments"]
    assert segment["kind"] == "IVF16,SQ8"
    assert vectors(folder)["target_recall"] == 0.9
    assert not call("compact", "--index", folder, "--json").ok().json["merged"]
    assert f"{N:,} vectors, Flat (exact)" in call("compact", "--index", folder, "--vector-index", "Flat").ok().out
    (segment,) = vectors(folder)["segments"]
    assert segment == {"rows": N, "kind": "Flat"}


def test_the_hits_are_those_of_exact_search(folder):
    with Index.open(folder, encoder=WordHashEncoder(DIM)) as index:
        asked = [" ".join(WORDS[place : place + 5]) for place in range(0, 50, 5)]
        found = [index.search(query, 10, mode="dense", where="year < 5") for query in asked]
        index.compact(vector_index="Flat")
        for query, hits in zip(asked, found, strict=True):
            exact = index.search(query, 10, mode="dense", where="year < 5")
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in exact], abs=1e-6)


def test_many_small_additions_are_merged_by_compact(folder):
    with Index.open(folder, encoder=WordHashEncoder(DIM)) as index:
        for number in range(3):
            index.add([{"_id": f"new {number} {row}", "text": f"bird{row % 60} fish"} for row in range(250)])
        index.delete(["d1", "d2"])
        before = index.status()
        assert before["segments"] > 1
        assert index.compact()
        after = index.status()
        assert (after["segments"], after["rows_in_segments"], after["deleted_rows"]) == (1, N + 748, 0)
        assert not index.compact()
        assert len(index.search("fish", 1_000, mode="keyword")) == 750


def test_tune_prints_a_row_for_each_kind_and_writes_a_report(folder, tmp_path):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    outcome = call("tune", "--index", folder, "--report", tmp_path / "tune.html", "HNSW8,SQ8", "Flat")
    assert outcome.code == 0
    columns, *rows = [line for line in outcome.out.splitlines() if line.strip()]
    assert "recall@10" in columns
    assert "50.0% of passages: recall, ms" in columns
    assert [row.split()[0] for row in rows if row[:1].isalpha()] == ["HNSW8,SQ8", "Flat"]
    page = (tmp_path / "tune.html").read_text(encoding="utf-8")
    assert "HNSW8,SQ8" in page
    assert "<script" in page
    assert 'src="http' not in page
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())


def test_tune_measures_filters_of_every_share(folder):
    outcome = call("tune", "--index", folder, "--json", "HNSW32,SQ8", "IVF16,RaBitQ")
    for tuned in outcome.json:
        assert [one["share"] for one in tuned["filtered"]] == [1.0, 0.5, 0.01, 0.001]
        assert all(one["recall"] >= 0.95 for one in tuned["filtered"])


def test_a_memory_that_cannot_work_says_the_smallest_that_can_and_keeps_the_documents(corpus, tmp_path, small):
    options = ("--index", tmp_path / "index", "--model", f"hash:{DIM}")
    outcome = call("index", corpus, *options, "--memory", "1MB")
    outcome.fails(2, "--memory of 1 MiB is too little for 2,600 vectors of 32 dimensions", "MiB to build")
    assert call("status", "--index", tmp_path / "index", "--json").ok().json["documents"] == N
    least = outcome.err.split("takes ")[1].split(" MiB")[0]
    call("compact", "--index", tmp_path / "index", "--memory", f"{int(least) - 1}MiB").fails(2, f"takes {least} MiB")
    call("compact", "--index", tmp_path / "index", "--memory", f"{least}MiB").ok()
    (segment,) = vectors(tmp_path / "index")["segments"]
    assert segment["kind"] != "Flat"


@pytest.mark.filterwarnings("always::semsearch.vector_options.RecallWarning")
def test_a_recall_that_is_not_reached_is_told(folder):
    outcome = call("compact", "--index", folder, "--vector-index", "HNSW2,SQ4", "--target-recall", "1")
    assert outcome.code == 0
    (segment,) = vectors(folder)["segments"]
    assert segment["recall"] < 1
    assert f"'HNSW2,SQ4' finds {segment['recall']:.3f} of the ten nearest vectors at most" in outcome.err
    assert "less than --target-recall 1;" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--vector-index", "HNSW32,XY"), "--vector-index 'HNSW32,XY' is not supported; expected 'auto', 'Flat'"),
        (("--vector-index", "IVF16,PQ7"), "FAISS rejects --vector-index 'IVF16,PQ7' for vectors of 32 dimensions"),
        (("--memory", "lots"), "--memory is 'lots'; expected a number of bytes, or a size such as 512MB or 2GB"),
        (("--memory", "0"), "--memory is '0'; expected a number of bytes"),
        (("--target-recall", "1.5"), "--target-recall is 1.5; expected a number above 0 and at most 1"),
        (("--target-recall", "0"), "--target-recall is 0.0; expected a number above 0"),
    ],
)
def test_wrong_options_are_one_line_and_change_nothing(folder, options, words):
    before = vectors(folder)
    call("compact", "--index", folder, *options).fails(2, words)
    assert vectors(folder) == before


@pytest.mark.parametrize(
    ("memory", "n"), [(5, 5), ("5", 5), ("2GB", 2**31), ("1.5 kib", 1536), ("512MB", 512 * 2**20), ("1T", 2**40)]
)
def test_sizes_have_units_of_1024(memory, n):
    assert changed_options(memory=memory) == {"memory": n}


@pytest.mark.parametrize("memory", [0, -1, True, 1.5, "", "x", "-1", "1PB", "0.1"])
def test_other_sizes_are_refused(memory):
    with pytest.raises(UsageError, match=r"`memory` is .*; expected a number of bytes, or a size such as 512MB or 2GB"):
        changed_options(memory=memory)


def test_too_few_vectors_are_not_compared(tmp_path):
    index_corpus(tmp_path / "index", [{"_id": "a", "text": "heron"}], WordHashEncoder(8))
    call("tune", "--index", tmp_path / "index").fails(1, "has 1 vectors; at least 2,000 are needed")
