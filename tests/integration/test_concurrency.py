"""Test readers during writes, concurrent writers, and threads that share an index."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes import entry, open_reader, open_writer, reopen_writer

from semsearch.errors import LockedError
from semsearch.filters.text import parse
from semsearch.stores.local import sealing
from semsearch.stores.local.store import LocalStore

TESTS = Path(__file__).parents[1]
VERSIONS, DOCUMENTS = 60, 20
QUERY = np.array([[1, 0, 0, 0]], np.float32)

# Each commit gives every document new passages that all contain the version, and adds a document.
WRITER = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from fakes import entry, open_writer
from semsearch.stores.local import sealing
sealing.SEGMENT_BYTES, sealing.TAIL_ROWS = 4 * 4 * 70, 20
with open_writer(Path(sys.argv[1])) as writer:
    for version in range(1, {VERSIONS} + 1):
        vectors = [[version / 64, 0, 0, 1]] * (1 + version % 3)
        text = f"version{{version}} " * 9
        writer.commit(entry(f"d{{n}}", vectors, text, v=version) for n in range({DOCUMENTS} + version))
        writer.seal(final=version % 4 == 0)
"""

HOLDER = """
import sys
from semsearch.stores.local.store import LocalStore
store = LocalStore(sys.argv[1])
with store.write(store.spec, store.chunking):
    print("writing", flush=True)
    sys.stdin.read()
"""


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def look(index: LocalStore) -> int:
    """Read everything in one snapshot, check that all of it has the same version, and return that version."""
    with index.snapshot():
        scores, passages = index.search_vectors(QUERY, 10_000, None)
        real = passages[0] != -1
        shown = index.show(passages[0][real].tolist())
        versions = {round(float(score) * 64) for score in scores[0][real]}
        assert len(versions) == 1, versions
        (version,) = versions
        n = DOCUMENTS + version
        assert (
            len(shown) == len({found.doc_id for found in shown.values()}) * (1 + version % 3) == n * (1 + version % 3)
        )
        assert {found.metadata["v"] for found in shown.values()} == {version}
        assert {word for found in shown.values() for word in found.text.split() if len(word) > 8} <= {
            f"version{version}"
        }
        assert (index.counts()["documents"], index.counts()["passages"]) == (n, len(shown))
        assert len(index.search_keywords(f"version{version}", 10_000, None)[1]) == len(shown)
        assert len(index.search_keywords(f"version{version - 1}", 10_000, None)[1]) == 0
        assert len(index.search_vectors(QUERY, 10_000, parse(f"v = {version}"))[1][0]) >= len(shown)
    return version


@pytest.mark.slow
def test_many_readers_see_each_commit_whole_while_a_writer_works(tmp_path):
    folder, seen = tmp_path / "index", {"shared 1": [], "shared 2": [], "alone": []}
    with open_writer(folder) as writer:
        vectors, text = [[1 / 64, 0, 0, 1]] * 2, "version1 " * 9
        writer.commit(entry(f"d{n}", vectors, text, v=1) for n in range(DOCUMENTS + 1))
    process, shared = start(WRITER, folder), open_reader(folder)
    errors: list[BaseException] = []

    def read(name: str, index: LocalStore) -> None:
        try:
            while process.poll() is None and not errors:
                seen[name].append(look(index))
            seen[name].append(look(index))
        except BaseException as error:
            errors.append(error)

    with open_reader(folder) as alone, shared:
        readers = [("shared 1", shared), ("shared 2", shared), ("alone", alone)]
        threads = [threading.Thread(target=read, args=reader) for reader in readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
    process.communicate(timeout=60)
    assert process.returncode == 0
    if errors:
        raise errors[0]
    for versions in seen.values():
        assert versions == sorted(versions)
        assert versions[-1] == VERSIONS  # without reopening the index
        assert len(set(versions)) >= 5  # they did read during the writes


def test_a_snapshot_stays_as_it_is_while_others_write(tmp_path):
    with open_writer(tmp_path) as writer, open_reader(tmp_path) as reader:
        writer.commit([entry("a", QUERY)])
        with reader.snapshot():
            assert reader.counts()["documents"] == 1
            writer.commit([entry("b", QUERY)])
            writer.delete(["a"])
            writer.seal(final=False)
            assert reader.counts()["documents"] == 1
            assert reader.search_vectors(QUERY, 9, None)[1].tolist() == [[1]]
            assert reader.show([1])[1].doc_id == "a"
        ids = reader.search_vectors(QUERY, 9, None)[1][0]
        assert ids[ids != -1].tolist() == [2]


def test_a_reader_whose_segments_are_replaced_under_it_still_answers_of_its_own_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "TAIL_ROWS", 0)
    rows = np.eye(4, dtype=np.float32)
    with open_writer(tmp_path) as writer, open_reader(tmp_path) as reader:
        writer.commit(entry(f"d{n}", rows[[n]]) for n in range(4))
        writer.seal(final=True)
        with reader.snapshot():
            assert reader.counts()["passages"] == 4  # starts the snapshot; no file has been read yet
            writer.delete(["d0", "d1"])
            monkeypatch.setattr(sealing.Sealer, "sweep", lambda self: None)  # sweeping would wait for the reader
            writer.seal(final=True)
            assert [path.name for path in tmp_path.glob("vectors.*")] == ["vectors.000002.seg"]
            assert reader.search_vectors(QUERY, 4, None)[1].tolist() == [[1, 2, 3, 4]]
        assert reader.search_vectors(QUERY, 4, None)[1].tolist() == [[3, 4]]


def test_a_second_writer_is_refused_by_name_until_the_first_is_gone_in_whatever_way(tmp_path):
    open_writer(tmp_path / "index").__exit__()
    for end in ("killed", "in peace"):
        process = start(HOLDER, tmp_path / "index")
        assert process.stdout.readline() == "writing\n"
        expected = f"is being written by process {process.pid} on {socket.gethostname()}, since "
        for _ in range(2):
            with pytest.raises(LockedError) as caught:
                open_writer(tmp_path / "index")
            assert expected in str(caught.value)
        with open_reader(tmp_path / "index") as reader:
            assert reader.counts()["documents"] == 0
        if end == "killed":
            process.kill()
        process.communicate()
        assert (tmp_path / "index" / "writer.holder").exists() == (end == "killed")
        with reopen_writer(tmp_path / "index") as writer:
            writer.commit([entry("a", QUERY)])
            writer.delete(["a"])


def test_threads_that_share_an_index_each_get_their_own_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "SEGMENT_BYTES", 4 * 8 * 100)
    rng = np.random.default_rng(4)
    rows = (rng.integers(-8, 9, (450, 8)) / 8).astype(np.float32)
    with open_writer(tmp_path, 8) as writer:
        writer.commit(entry(f"d{n}", row[None], f"word{n}", even=n % 2 == 0) for n, row in enumerate(rows))
        writer.seal(final=True)

    def answer(number: int) -> bool:
        query = rows[[number]]
        where, kept = (None, np.arange(450)) if number % 3 else (parse("even = true"), np.arange(0, 450, 2))
        ids = index.search_vectors(query, 7, where)[1][0].tolist()
        (named,) = index.search_keywords(f"word{number}", 3, None)[1].tolist()
        order = np.lexsort((kept, -(rows[kept] @ query[0])))[:7]
        return (
            ids == (kept[order] + 1).tolist()
            and named == number + 1
            and index.show([named])[named].doc_id == f"d{number}"
            and index.counts()["documents"] == 450
        )

    with open_reader(tmp_path) as index, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, range(450))) == list(itertools.repeat(True, 450))
