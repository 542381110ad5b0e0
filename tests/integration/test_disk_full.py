"""Test a full disk: there is one clear error, committed batches stay, and the same call resumes once there is space."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import Quantized, index_content, index_corpus, open_reader

from semsearch import Index, WordHashEncoder
from semsearch.errors import DiskFullError
from semsearch.stores.local import database as index_folder
from semsearch.stores.local import sealing

CORPUS = [{"_id": f"d{n}", "title": f"t{n}", "text": f"word{n} tea {n % 7} " * 20, "n": n} for n in range(1_500)]
ENCODER = WordHashEncoder(64)
BATCH = 256
COMMAND = f"import semsearch.ingest as i; i.BATCH_DOCUMENTS = {BATCH}; from semsearch.cli.main import main; main()"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch) -> None:
    monkeypatch.setattr("semsearch.ingest.BATCH_DOCUMENTS", BATCH)


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> dict:
    """Return the content of the index after an undisturbed run."""
    folder = tmp_path_factory.mktemp("calm") / "index"
    index_corpus(folder, CORPUS, ENCODER)
    return index_content(folder)


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, CORPUS)))
    return path


def first_documents(folder: Path) -> int:
    """Count the documents, after checking that they are the first whole batches of the corpus and can all be found."""
    ids = [row[0] for row in index_content(folder)["documents"]]
    assert sorted(ids) == sorted(document["_id"] for document in CORPUS[: len(ids)])
    assert len(ids) % BATCH == 0 or len(ids) == len(CORPUS)
    with Index.open(folder) as searcher:
        assert len(searcher.search("tea", 5_000, mode="keyword")) == len(ids)
        assert len(searcher.search("tea", 5_000)) == len(ids)
    return len(ids)


@pytest.mark.parametrize("pages", [60, 150, 220])
def test_a_database_that_may_not_grow_keeps_what_was_committed(tmp_path, monkeypatch, calm, pages):
    connect = index_folder.connect

    def bounded(path: Path, *, write: bool = False):
        connection = connect(path, write=write)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(index_folder, "connect", bounded)
    for _ in range(2):  # the second run stops at the same point
        with pytest.raises(DiskFullError, match=r"disk is full; committed batches are kept; free some space, then run"):
            index_corpus(tmp_path / "index", CORPUS, ENCODER)
    kept = first_documents(tmp_path / "index")
    assert (kept > 0) == (pages > 60)
    monkeypatch.setattr(index_folder, "connect", connect)
    report = index_corpus(tmp_path / "index", CORPUS, ENCODER)
    assert (report.unchanged, report.encoded) == (kept, len(CORPUS) - kept)
    assert index_content(tmp_path / "index") == calm
    assert sorted(os.listdir(tmp_path / "index"))[0] == "passages.sqlite"


def test_a_disk_that_fills_while_a_segment_is_written_costs_no_document(tmp_path, monkeypatch, calm):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(sealing, "write_segment", full)
        with pytest.raises(DiskFullError, match="No space left on device; committed batches are kept"):
            index_corpus(tmp_path / "index", CORPUS, ENCODER)
    assert first_documents(tmp_path / "index") == len(CORPUS)
    assert list((tmp_path / "index").glob("vectors.*")) == []
    assert index_corpus(tmp_path / "index", CORPUS, ENCODER).encoded == 0
    assert len(list((tmp_path / "index").glob("vectors.*.seg"))) == 1
    assert index_content(tmp_path / "index") == calm


def test_a_disk_that_fills_while_an_8_bit_model_is_kept_leaves_no_index_that_lacks_it(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "graph.bin").write_bytes(b"weights")
    encoder = Quantized(tmp_path / "graph")
    with monkeypatch.context() as patch:
        patch.setattr("semsearch.files.shutil.copyfileobj", full)
        with pytest.raises(DiskFullError, match="No space left on device; committed batches are kept"):
            index_corpus(tmp_path / "index", CORPUS[:9], encoder)
    assert os.listdir(tmp_path / "index") == ["writer.lock"]
    assert index_corpus(tmp_path / "index", CORPUS[:9], encoder).encoded == 9
    assert sorted(os.listdir(tmp_path / "index"))[0] == next(iter(encoder.artifacts))


def run(corpus: Path, folder: Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process whose files may not exceed `limit` bytes."""
    set_limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); " if limit else ""
    command = [sys.executable, "-c", set_limit + COMMAND, "index", str(corpus), "--index", str(folder)]
    return subprocess.run([*command, "--model", "hash:64"], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("limit", [10, 20_000, 200_000, 1_000_000])
def test_the_command_meets_a_limit_on_file_size_with_one_line(tmp_path, corpus, calm, limit):
    pytest.importorskip("resource", reason="no limits on file size on this system")
    result = run(corpus, tmp_path / "index", limit)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: cannot write the index: ")
    assert "free some space, then run the same command again" in result.stderr
    if limit == 1_000_000:
        assert first_documents(tmp_path / "index") > 0
    result = run(corpus, tmp_path / "index")
    assert (result.returncode, result.stderr) == (0, "")
    assert index_content(tmp_path / "index") == calm
    assert len(os.listdir(tmp_path / "index")) == 4


TMPFS = """
mount -t tmpfs -o size=1200k none "$1" || exit 77
"$2" -c "$3" index "$4" --index "$1/index" --model hash:64 > "$1.first" 2>&1; echo "exit $?" >> "$1.first"
ls "$1/index" > "$1.files"
mount -o remount,size=64m "$1" || exit 77
"$2" -c "$3" index "$4" --index "$1/index" --model hash:64 > "$1.second" 2>&1; echo "exit $?" >> "$1.second"
cp -r "$1/index" "$1.kept"
"""


def test_the_command_meets_a_disk_that_is_really_full(tmp_path, corpus, calm):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "--mount", "sh", "-c", TMPFS, "sh", str(disk), sys.executable, COMMAND, str(corpus)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here ({error})")
    lines = Path(f"{disk}.first").read_text().splitlines()
    assert lines[-1] == "exit 1"
    assert len(lines) == 2
    assert lines[0].startswith("error: cannot write the index: ")
    assert "passages.sqlite" in Path(f"{disk}.files").read_text().split()
    assert Path(f"{disk}.second").read_text().splitlines()[-1] == "exit 0"
    assert index_content(Path(f"{disk}.kept")) == calm
    with open_reader(Path(f"{disk}.kept")) as index:
        assert index.counts()["documents"] == len(CORPUS)
