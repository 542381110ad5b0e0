"""Tests for the vector cache: no text is encoded twice, encoders never share vectors, and failures only cost time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import tiny_checkpoint

from semsearch import Encoder
from semsearch.arrays import Vectors
from semsearch.encoder.cache import CacheWarning
from semsearch.errors import UsageError
from semsearch.evaluation import vector_cache
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.vector_cache import VectorCache, key_of
from semsearch.poolers import POOLERS

pytestmark = pytest.mark.usefixtures("one_thread", "reference")

TEXTS = ["a heron", "a bird waits in the reeds", "bread " * 20, "an egret", "x", "咖啡"]

MORE = ["an egret", "a loaf", "the oven is hot"]
"""One text of TEXTS and two new ones."""

HIDDEN = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the test's cache."""
    return tmp_path / "vectors"


@pytest.fixture(autouse=True)
def _no_warning_that_was_not_expected(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert [str(one.message) for one in recwarn if one.category is CacheWarning] == []


def counted(model: str, poolers: Sequence[str], cache: VectorCache | None, **wishes: Any) -> tuple[Any, list[str]]:
    """Load poolers, with a list that collects the texts that reach the runtime."""
    encoder = MultiPooler.load(model, poolers, device="cpu", cache=cache, **wishes)
    seen: list[str] = []

    def batches(texts, prefix):
        seen.extend(texts)
        return encoder._batcher(texts, prefix)

    return replace(encoder, _batcher=batches), seen


def assert_same(ours: dict[str, Vectors], theirs: dict[str, Vectors]) -> None:
    """Assert equality up to the differences that other texts in a batch cause."""
    assert list(ours) == list(theirs)
    for name, rows in ours.items():
        np.testing.assert_allclose(rows, theirs[name], atol=1e-5, err_msg=name)


def rows_in(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Query the file with plain SQLite."""
    with closing(sqlite3.connect(f"file:{folder / 'vectors.sqlite'}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def used_bytes(folder: Path) -> int:
    """Return the total size in bytes of the pages in use."""
    size, pages, free = (
        rows_in(folder, f"PRAGMA {name}")[0][0] for name in ("page_size", "page_count", "freelist_count")
    )
    return size * (pages - free)


# --- cached vectors come back unchanged


def test_vectors_come_back_bit_for_bit(folder: Path):
    rows = np.random.default_rng(0).standard_normal((1_300, 7)).astype(np.float32)  # more than one SQLite query takes
    rows[0] = [0.0, -0.0, 1e-45, -1e-38, np.pi, np.finfo(np.float32).min, np.finfo(np.float32).max]
    keys = [f"text {number}" for number in range(len(rows))]
    with VectorCache(folder) as cache:
        cache.add(keys, {"one": rows, "two": -rows})
    with VectorCache(folder) as cache:
        for name, expected in (("one", rows), ("two", -rows)):
            out = np.zeros_like(rows)
            assert cache.find(name, keys, out).all()
            assert out.tobytes() == expected.tobytes()


def test_a_folder_may_be_text_and_nothing_but_a_path(folder: Path):
    with VectorCache(str(folder)) as cache:
        assert cache.path.parent == folder
    for path in (b"folder", 5):
        with pytest.raises(UsageError, match=r"`folder` is .*; expected a path as text or pathlib\.Path"):
            VectorCache(path)


def test_what_is_not_there_is_not_found_and_its_row_stays_as_it_is(folder: Path):
    with VectorCache(folder) as cache:
        cache.add(["a"], {"one": np.ones((1, 2), np.float32)})
        out = np.full((3, 2), 7, np.float32)
        assert cache.find("one", ["b", "a", "a"], out).tolist() == [False, True, False]  # only the first of equal keys
        assert out.tolist() == [[7, 7], [1, 1], [7, 7]]
        assert not cache.find("two", ["a"], np.empty((1, 2), np.float32)).any()
        assert not cache.find("one", ["a"], np.empty((1, 3), np.float32)).any()  # the dimension differs


def test_a_vector_that_is_not_finite_is_not_found(folder: Path):
    kept, out = np.array([[1, 2], [np.nan, 0], [0, np.inf]], np.float32), np.full((3, 2), 7, np.float32)
    with VectorCache(folder) as cache:
        cache.add(["a", "b", "c"], {"print": kept})  # as earlier versions did
        assert cache.find("print", ["a", "b", "c"], out).tolist() == [True, False, False]
    assert out.tolist() == [[1, 2], [7, 7], [7, 7]]


@pytest.mark.parametrize("poolers", [["mean", "cls"], ["cls"], ["max", "top2", "pooler-output"], ["all"]])
def test_a_second_run_encodes_nothing_whichever_poolers_it_has(model: str, folder: Path, poolers: list[str]):
    with VectorCache(folder) as cache:
        first, seen = counted(model, ["mean"], cache)
        kept = first.encode_documents(TEXTS)
    assert sorted(seen) == sorted(TEXTS)
    with VectorCache(folder) as cache:
        second, seen = counted(model, poolers, cache)
        vectors = second.encode_documents(TEXTS[::-1])
        assert (seen, second.counts["from the cache"], second.counts.total()) == ([], len(TEXTS), len(TEXTS))
    assert_same(vectors, MultiPooler.load(model, poolers, device="cpu").encode_documents(TEXTS[::-1]))
    if "mean" in vectors:
        assert vectors["mean"][::-1].tobytes() == kept["mean"].tobytes()


def test_other_tasks_over_the_same_texts_encode_what_is_new_alone(model: str, folder: Path):
    with VectorCache(folder) as cache:
        encoder, seen = counted(model, ["mean", "cls"], cache)
        encoder.encode_documents(TEXTS)
        seen.clear()
        told: list[int] = []
        vectors = encoder.encode_queries(MORE, told.append)  # without prefixes a query is a text like any other
        assert (seen, encoder.counts["from the cache"], sum(told)) == (MORE[1:], 1, len(MORE))
    assert_same(vectors, MultiPooler.load(model, ["mean", "cls"], device="cpu").encode_queries(MORE))


def test_a_pooler_that_is_not_registered_is_kept_for_whoever_asks_for_it_again(model: str, folder: Path):
    for expected in (TEXTS, []):
        with VectorCache(folder) as cache:
            encoder, seen = counted(model, ["mean"], cache, also=["layer:1+cls"])
            vectors = encoder.encode_documents(TEXTS)
        assert seen == expected
        np.testing.assert_allclose(
            vectors["layer:1+cls"],
            Encoder.load(model, "layer:1+cls", normalize=False).encode_documents(TEXTS),
            atol=1e-5,
        )
    with VectorCache(folder) as cache:
        encoder, seen = counted(model, ["layer:2+cls"], cache)
        encoder.encode_documents(TEXTS)
    assert seen == TEXTS


# --- encoders never share vectors


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "weights": ({"seed": 1}, {}),
    "config": ({"hidden_act": "relu"}, {}),
    "length": ({}, {"max_tokens": 8}),
    "precision": ({}, {"precision": "bfloat16"}),
    "prefix": ({"files": {"config_sentence_transformers.json": {"prompts": {"passage": "passage: "}}}}, {}),
    "case": ({"files": {"sentence_bert_config.json": {"do_lower_case": True}}}, {}),
}
"""Differences of another encoder: in its checkpoint, and in the settings that load it."""


@pytest.mark.parametrize("other", OTHERS)
def test_another_encoder_has_vectors_of_its_own(model: str, folder: Path, checkpoint: Callable[..., Path], other: str):
    about, wishes = OTHERS[other]
    another = str(checkpoint(**about))
    with VectorCache(folder) as cache:
        MultiPooler.load(model, ["mean"], device="cpu", cache=cache).encode_documents(TEXTS)
        encoder, seen = counted(another, ["mean", "cls"], cache, **wishes)
        vectors = encoder.encode_documents(TEXTS)
    assert seen == TEXTS
    assert_same(vectors, MultiPooler.load(another, ["mean", "cls"], device="cpu", **wishes).encode_documents(TEXTS))


def test_a_copy_of_the_checkpoint_elsewhere_is_the_same_encoder(
    model: str, folder: Path, checkpoint: Callable[..., Path]
):
    with VectorCache(folder) as cache:
        MultiPooler.load(model, ["mean"], device="cpu", cache=cache).encode_documents(TEXTS)
        encoder, seen = counted(str(checkpoint()), ["mean"], cache)
        encoder.encode_documents(TEXTS)
    assert seen == []


@pytest.mark.parametrize("pools_prefix", [True, False])
def test_a_passage_that_begins_as_a_prefix_is_no_query(
    folder: Path, checkpoint: Callable[..., Path], pools_prefix: bool
):
    files = {
        "config_sentence_transformers.json": {"prompts": {"query": "query: "}},
        "1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": pools_prefix},
    }
    another = str(checkpoint(files=files))
    alone = Encoder.load(another, "mean", normalize=False)
    with VectorCache(folder) as cache:
        encoder = MultiPooler.load(another, ["mean"], device="cpu", cache=cache)
        query = encoder.encode_queries(["a heron"])["mean"]
        passage = encoder.encode_documents(["query: a heron"])["mean"]
    np.testing.assert_allclose(query, alone.encode_queries(["a heron"]), atol=1e-5)
    np.testing.assert_allclose(passage, alone.encode_documents(["query: a heron"]), atol=1e-5)
    assert np.allclose(query, passage, atol=1e-5) == pools_prefix


@pytest.mark.parametrize(
    ("one", "two"),
    [(("a", "b"), ("", "ab")), (("", "a"), ("", "a ")), (("1 ", "a"), ("", "1 a")), (("", "\ud800"), ("", "\udfff"))],
)
def test_each_prefix_and_text_has_a_key_of_its_own(one: tuple[str, str], two: tuple[str, str]):
    assert key_of(*one) != key_of(*two)
    assert key_of(*one) == key_of(*one)


# --- contents and size


def test_only_pooled_vectors_are_kept(model: str, folder: Path):
    texts = [*(f"text {number}" for number in range(60)), "word " * 60]
    with VectorCache(folder) as cache:
        MultiPooler.load(model, ["mean"], device="cpu", cache=cache).encode_documents(texts)
    checksum = 4
    assert rows_in(folder, "SELECT DISTINCT length(vector) FROM vectors") == [(4 * HIDDEN + checksum,)]
    n_vectors = len(texts) * len(POOLERS)
    assert rows_in(folder, "SELECT count(*), count(DISTINCT text) FROM vectors") == [(n_vectors, len(texts))]
    assert used_bytes(folder) < n_vectors * (4 * HIDDEN + 150) + 100_000  # 150: two 32-character keys and overhead
    assert [path.name for path in folder.iterdir()] == ["vectors.sqlite"]


def add_rows(cache: VectorCache, numbers: range) -> None:
    """Add two vectors for each number, about 2 kB in all."""
    rows = np.repeat(np.array(numbers, np.float32), 256).reshape(-1, 256)
    cache.add([str(number) for number in numbers], {"one": rows, "two": rows})


def found_of(cache: VectorCache, numbers: range) -> list[int]:
    """Return the numbers for which both vectors are found, after checking their values."""
    keys, out = [str(number) for number in numbers], np.zeros((len(numbers), 256), np.float32)
    found = np.ones(len(numbers), bool)
    for name in ("one", "two"):
        found &= cache.find(name, keys, out)
        assert all((out[place] == number).all() for place, number in enumerate(numbers) if found[place])
    return [number for number, there in zip(numbers, found.tolist(), strict=True) if there]


def test_the_oldest_leave_when_the_bound_is_reached_and_those_of_this_run_stay(folder: Path):
    every = range(2_000)
    for start in range(0, 2_000, 100):
        with VectorCache(folder, max_mb=1) as cache:
            add_rows(cache, range(start, start + 100))
            assert used_bytes(folder) <= 2**20
    with VectorCache(folder, max_mb=1) as cache:
        there = found_of(cache, every)
    assert 200 < len(there) < 500  # 1 MiB holds fewer than 512
    assert there == [*every][-len(there) :]


def scanned(folder: Path, numbers: range) -> list[int]:
    """Go through the numbers in order in one run, add the missing ones, and return those that were found."""
    hits = []
    with VectorCache(folder, max_mb=1) as cache:
        for start in range(numbers.start, numbers.stop, 50):
            some = range(start, start + 50)
            found = found_of(cache, some)
            hits += found
            for number in sorted({*some} - {*found}):
                add_rows(cache, range(number, number + 1))
    assert used_bytes(folder) <= 2**20
    return hits


def test_a_corpus_that_outgrows_the_bound_gains_what_fits_each_time(folder: Path):
    assert scanned(folder, range(1_000)) == []
    for _ in range(4):
        gained = scanned(folder, range(1_000))  # first-in, first-out eviction would gain nothing
        assert 200 < len(gained) < 500
        assert gained == [*range(len(gained))]


def test_what_a_run_has_met_outlives_what_it_has_not(folder: Path):
    """300 numbers fit within the bound, but 450 do not."""
    scanned(folder, range(300))
    with VectorCache(folder, max_mb=1) as cache:
        assert found_of(cache, range(150)) == [*range(150)]  # the oldest
        add_rows(cache, range(2_000, 2_150))
        for numbers in (range(150), range(2_000, 2_150)):
            assert found_of(cache, numbers) == [*numbers]


def test_a_batch_that_is_larger_than_the_bound_leaves_whole_texts(folder: Path):
    with VectorCache(folder, max_mb=1) as cache:
        add_rows(cache, range(2_000))
        there = found_of(cache, range(2_000))
    assert used_bytes(folder) <= 2**20
    assert 200 < len(there) < 500
    assert there == [*range(len(there))]


def test_a_smaller_bound_counts_for_what_an_earlier_run_left(folder: Path):
    with VectorCache(folder, max_mb=8) as cache:
        add_rows(cache, range(2_000))
        assert len(found_of(cache, range(2_000))) == 2_000
    before = (folder / "vectors.sqlite").stat().st_size
    with VectorCache(folder, max_mb=2) as cache:
        assert found_of(cache, range(1_998, 2_000)) == [1_998, 1_999]
    assert used_bytes(folder) <= 2 * 2**20
    assert (folder / "vectors.sqlite").stat().st_size <= 2 * 2**20 < before / 2  # the file shrinks, too


def test_a_run_whose_vectors_do_not_fit_has_them_all_the_same(model: str, folder: Path):
    with VectorCache(folder, max_mb=0) as cache:
        encoder, seen = counted(model, ["mean", "cls"], cache)
        for _ in range(2):
            assert_same(
                encoder.encode_documents(TEXTS), MultiPooler.load(model, ["mean", "cls"]).encode_documents(TEXTS)
            )
    assert seen == TEXTS * 2


def test_without_a_cache_no_file_is_written(model: str):
    MultiPooler.load(model, ["mean"], device="cpu").encode_documents(TEXTS)
    assert not Path(os.environ["SEMSEARCH_CACHE"], "vectors.sqlite").exists()


def test_the_folder_is_the_environment_s_or_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "mine"))
    with VectorCache() as cache:
        assert cache.path == tmp_path / "mine" / "vectors.sqlite"
    for home in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(home, str(tmp_path / "home"))
    monkeypatch.setenv("SEMSEARCH_CACHE", "~/mine")
    with VectorCache() as cache:
        assert cache.path == tmp_path / "home" / "mine" / "vectors.sqlite"
    monkeypatch.delenv("SEMSEARCH_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "home" / name)
    with VectorCache() as cache:
        assert cache.path == tmp_path / "home" / "semsearch" / "vectors.sqlite"


# --- texts of all kinds


def test_equal_texts_are_encoded_once_and_have_equal_vectors(model: str, folder: Path):
    texts = ["a heron", "a bird", "a heron", "a heron"]
    for expected in (["a heron", "a bird"], []):
        with VectorCache(folder) as cache:
            encoder, seen = counted(model, ["mean"], cache)
            vectors = encoder.encode_documents(texts)
        assert seen == expected
        assert_same(vectors, {"mean": Encoder.load(model, "mean", normalize=False).encode_documents(texts)})
        assert vectors["mean"][0].tobytes() == vectors["mean"][2].tobytes() == vectors["mean"][3].tobytes()


def test_no_texts_give_an_empty_matrix_for_each_pooler(model: str, folder: Path):
    with VectorCache(folder) as cache:
        vectors = MultiPooler.load(model, ["mean", "cls+mean"], device="cpu", cache=cache).encode_documents([])
        cache.add([], {"one": np.empty((0, 3), np.float32)})
    assert {name: rows.shape for name, rows in vectors.items()} == {"mean": (0, HIDDEN), "cls+mean": (0, 2 * HIDDEN)}


def test_a_lone_surrogate_that_no_tokenizer_takes_fails_as_it_does_without_a_cache(model: str, folder: Path):
    with VectorCache(folder) as cache:
        encoder = MultiPooler.load(model, ["mean"], device="cpu", cache=cache)
        for one in (encoder, MultiPooler.load(model, ["mean"], device="cpu")):
            with pytest.raises(UsageError, match="which is not valid Unicode"):
                one.encode_documents(["a heron", "a \ud83d b"])
        assert rows_in(folder, "SELECT count(*) FROM vectors") == [(0,)]
        assert encoder.encode_documents(["a heron"])["mean"].shape == (1, HIDDEN)


# --- failures


@contextmanager
def junk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    (folder / "vectors.sqlite").write_bytes(np.random.default_rng(0).bytes(50_000))
    yield


@contextmanager
def cut_short(folder: Path) -> Iterator[None]:
    with VectorCache(folder) as cache:
        add_rows(cache, range(100))
    file = folder / "vectors.sqlite"
    file.write_bytes(file.read_bytes()[:10_000])
    yield


@contextmanager
def blotted(folder: Path) -> Iterator[None]:
    """Overwrite every page but the first, which keeps the tables but not their contents."""
    with VectorCache(folder) as cache:
        add_rows(cache, range(100))
    with (folder / "vectors.sqlite").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    yield


@contextmanager
def somebody_s_words(folder: Path) -> Iterator[None]:
    folder.mkdir()
    file = folder / "vectors.sqlite"
    file.write_text("my diary " * 200)
    yield
    assert file.read_text() == "my diary " * 200


@contextmanager
def somebody_s_database(folder: Path, version: int) -> Iterator[None]:
    folder.mkdir()
    file = folder / "vectors.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(f"CREATE TABLE contacts (name); PRAGMA user_version = {version}")
    before = file.read_bytes()
    yield
    assert file.read_bytes() == before


@contextmanager
def newer_format(folder: Path) -> Iterator[None]:
    with VectorCache(folder) as cache:
        add_rows(cache, range(3))
    file = folder / "vectors.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE more (a); PRAGMA user_version = 99")
    before = file.read_bytes()
    yield
    assert file.read_bytes() == before


@contextmanager
def no_folder_to_be_made(folder: Path) -> Iterator[None]:
    folder.write_text("a file")
    yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let another process hold the lock for longer than the cache waits."""
    with VectorCache(folder):
        pass
    begin = "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]); connection.execute('BEGIN EXCLUSIVE')"
    program = f"{begin}; print(flush=True); input()"
    words = [sys.executable, "-c", program, str(folder / "vectors.sqlite")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"\n"
        try:
            yield
        finally:
            other.communicate(b"\n", timeout=60)
    assert other.returncode == 0


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Limit the files of this process to the size of an empty cache."""
    resource = pytest.importorskip("resource")
    with VectorCache(folder):
        pass
    size = (folder / "vectors.sqlite").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


TROUBLE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "junk": (junk, "file is not a database"),
    "cut short": (cut_short, "malformed"),
    "blotted": (blotted, "malformed"),
    "words": (somebody_s_words, "file is not a database"),
    "database": (lambda folder: somebody_s_database(folder, 0), "of another program"),
    "database with our version": (lambda folder: somebody_s_database(folder, 1), "of another program"),
    "newer": (newer_format, "it has format 99, not 1; delete it"),
    "no folder": (no_folder_to_be_made, "File exists"),
    "below a file": (lambda folder: no_folder_to_be_made(folder.parent / "file"), "Not a directory"),
    "locked": (locked, "database is locked"),
    "full": (full_disk, "disk"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_with_the_file_is_one_warning_and_the_vectors_come_out_anyway(
    model: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    trouble, reason = TROUBLE[name]
    monkeypatch.setattr(vector_cache, "WAIT_SECONDS", 0.1)
    place = tmp_path / "file" / "below" if name == "below a file" else folder
    expected = [MultiPooler.load(model, ["mean", "cls"], device="cpu").encode_documents(some) for some in (TEXTS, MORE)]
    with trouble(folder), warnings.catch_warnings(record=True) as caught, VectorCache(place) as cache:
        encoder, seen = counted(model, ["mean", "cls"], cache)
        vectors = [encoder.encode_documents(some) for some in (TEXTS, MORE)]
    (warning,) = caught
    assert warning.category is CacheWarning
    assert str(warning.message).startswith(f"the cache {str(place / 'vectors.sqlite')!r} is not used: ")
    assert reason in str(warning.message)
    assert seen == TEXTS + MORE
    for ours, theirs in zip(vectors, expected, strict=True):
        assert_same(ours, theirs)


def test_a_vector_that_was_damaged_is_made_again_and_kept(model: str, folder: Path):
    with VectorCache(folder) as cache:
        encoder, _ = counted(model, ["mean"], cache)
        before = encoder.encode_documents(TEXTS)["mean"]
    bad = next(
        blob
        for (blob,) in rows_in(folder, "SELECT vector FROM vectors")
        if np.frombuffer(blob[4:], "<f4").tolist() == before[0].tolist()
    )
    file = folder / "vectors.sqlite"
    content = file.read_bytes()
    assert content.count(bad) == 1
    file.write_bytes(content.replace(bad, bad[:60] + bytes([bad[60] ^ 1]) + bad[61:]))  # one bit
    for expected in (TEXTS[:1], []):
        with VectorCache(folder) as cache:
            encoder, seen = counted(model, ["mean"], cache)
            after = encoder.encode_documents(TEXTS)["mean"]
        assert seen == expected
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_file_that_is_deleted_in_mid_run_is_done_without(model: str, folder: Path):
    with warnings.catch_warnings(record=True) as caught:
        with VectorCache(folder) as cache:
            encoder, seen = counted(model, ["mean"], cache)
            encoder.encode_documents(TEXTS)
            (folder / "vectors.sqlite").unlink()
            vectors = encoder.encode_documents([*MORE, *TEXTS])
    assert [one.category for one in caught] in ([], [CacheWarning])
    assert_same(vectors, {"mean": Encoder.load(model, "mean", normalize=False).encode_documents([*MORE, *TEXTS])})
    with VectorCache(folder) as cache:  # the next run starts over
        encoder, seen = counted(model, ["mean"], cache)
        encoder.encode_documents(TEXTS)
    assert seen == TEXTS
    assert rows_in(folder, "SELECT count(DISTINCT text) FROM vectors") == [(len(TEXTS),)]


# --- several processes

FILLING = """
import sys
from pathlib import Path
import numpy as np
from semsearch.evaluation.vector_cache import VectorCache
folder, first, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print(flush=True)
input()
for start in range(first, first + 40 * rounds, 40):
    with VectorCache(folder) as cache:
        numbers = range(start, start + 100)  # the last 60 are those of the next round, too
        rows = np.repeat(np.array(numbers, np.float32), 256).reshape(-1, 256)
        keys = [str(number) for number in numbers]
        cache.add(keys, {"one": rows, "two": rows})
        out = np.zeros_like(rows)
        assert cache.find("one", keys, out).all()
        assert (out == rows).all()
    print(start, flush=True)
"""


@contextmanager
def filling(folder: Path, first: int, rounds: int) -> Iterator[subprocess.Popen[str]]:
    """Start a process that keeps filling the cache with new numbers once it is told to."""
    words = [sys.executable, "-W", "error", "-c", FILLING, str(folder), str(first), str(rounds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout.readline() == "\n"
            yield process
        finally:
            process.kill()


def test_processes_that_fill_a_cache_at_once_end_well_and_what_they_leave_is_right(folder: Path):
    with filling(folder, 0, 25) as one, filling(folder, 500, 25) as two, filling(folder, 0, 25) as three:
        for process in (one, two, three):
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, two, three):
            assert process.communicate(timeout=100)[1] == ""
            assert process.returncode == 0
    with VectorCache(folder) as cache:
        assert found_of(cache, range(2_000)) == [*range(1_560)]  # `two` started at 500: 500 + 24 * 40 + 100
    assert rows_in(folder, "PRAGMA integrity_check") == [("ok",)]
    assert rows_in(folder, "SELECT count(*) FROM vectors") == [(2 * 1_560,)]


def test_who_comes_while_another_makes_the_tables_waits_for_them(tmp_path: Path, folder: Path):
    with VectorCache(tmp_path / "other"):
        tables = [sql for (sql,) in rows_in(tmp_path / "other", "SELECT sql FROM sqlite_master WHERE type = 'table'")]

    def found_after_adding() -> list[int]:
        with VectorCache(folder) as cache:
            add_rows(cache, range(10))
            return found_of(cache, range(11))

    folder.mkdir()
    with closing(sqlite3.connect(folder / "vectors.sqlite")) as first, ThreadPoolExecutor(1) as pool:
        first.execute("BEGIN IMMEDIATE")
        second = pool.submit(found_after_adding)
        time.sleep(0.3)
        for sql in (*tables, "PRAGMA user_version = 1"):
            first.execute(sql)
        first.commit()
        assert second.result(timeout=60) == [*range(10)]


def test_a_process_that_is_killed_leaves_a_cache_that_can_be_used(folder: Path):
    with filling(folder, 0, 10_000) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        for _ in range(5):
            process.stdout.readline()
        process.kill()
        process.wait(60)
    with VectorCache(folder) as cache:
        there = found_of(cache, range(100_000))
        assert len(there) >= 100 + 4 * 40
        add_rows(cache, range(100_000, 100_010))
        assert found_of(cache, range(100_000, 100_010)) == [*range(100_000, 100_010)]
