"""Test an index that is deleted or replaced while it is open: hits of the two indexes are never mixed up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import index_corpus

from semsearch import Index, WordHashEncoder
from semsearch.errors import MismatchError, NoIndexError, StoreError

ENCODER = WordHashEncoder(64)
APPLES = [{"_id": f"apple{n}", "text": f"apple sort{n}"} for n in range(6)]
BIRDS = [{"_id": f"b{n}", "text": f"bird kind{n} sort{n}"} for n in range(6)]


def best(index: Index, query: str) -> set[tuple[str, str]]:
    return {(index.search(query, 1, mode=mode)[0].doc_id, index.search(query, 1)[0].text) for mode in MODES}


MODES = ("dense", "keyword")


def replace(folder: Path, corpus: list[dict[str, str]], encoder: WordHashEncoder = ENCODER) -> None:
    """Replace the index with another one that has the same number of commits."""
    shutil.rmtree(folder)
    index_corpus(folder, corpus, encoder)


def test_a_reader_of_an_index_that_was_replaced_reads_the_new_one(tmp_path):
    index_corpus(tmp_path / "i", APPLES, ENCODER)
    with Index.open(tmp_path / "i", encoder=ENCODER) as index:
        assert best(index, "apple sort3") == {("apple3", "apple sort3")}
        replace(tmp_path / "i", BIRDS)
        assert best(index, "bird sort3") == {("b3", "bird kind3 sort3")}
        assert len(index) == 6


def test_a_file_that_is_written_over_in_place_is_another_index(tmp_path):
    for name, corpus in (("i", APPLES), ("other", BIRDS)):
        index_corpus(tmp_path / name, corpus, ENCODER)
    with Index.open(tmp_path / "i", encoder=ENCODER) as index:
        assert best(index, "apple sort3") == {("apple3", "apple sort3")}
    with Index.open(tmp_path / "i", encoder=ENCODER) as index:
        assert len(index) == 6
        for file in (tmp_path / "other").iterdir():
            shutil.copyfile(file, tmp_path / "i" / file.name)
        (tmp_path / "i" / "passages.sqlite-wal").unlink(missing_ok=True)
    with Index.open(tmp_path / "i", encoder=ENCODER) as index:
        assert best(index, "bird sort3") == {("b3", "bird kind3 sort3")}


def test_an_index_that_was_deleted_says_so_in_each_call(tmp_path):
    index_corpus(tmp_path / "i", APPLES, ENCODER)
    with Index.open(tmp_path / "i", encoder=ENCODER) as index:
        assert len(index.search("apple", 9)) == 6
        shutil.rmtree(tmp_path / "i")
        calls = [lambda: index.search("apple", mode="keyword"), lambda: index.search("apple"), index.status]
        for call in [*calls, lambda: len(index), lambda: index.spec, lambda: index.add(APPLES)]:
            with pytest.raises(NoIndexError, match="was deleted while it was open"):
                call()


def test_a_writer_whose_index_is_deleted_or_replaced_does_not_write_into_nothing(tmp_path):
    for change, kind, words in ((shutil.rmtree, NoIndexError, "was deleted"), (replace, StoreError, "was replaced")):
        index_corpus(tmp_path / "i", APPLES, ENCODER)

        def corpus(change=change):
            yield {"_id": "new", "text": "first"}
            change(tmp_path / "i", *([BIRDS] if change is replace else []))

        with Index.open(tmp_path / "i", encoder=ENCODER) as index, pytest.raises(kind, match=words):
            index.add(corpus())


def test_an_index_with_another_encoder_in_its_place_is_refused_or_gets_its_own(tmp_path):
    index_corpus(tmp_path / "i", APPLES, ENCODER)
    with Index.open(tmp_path / "i", encoder=ENCODER) as given, Index.open(tmp_path / "i") as own:
        assert given.search("apple sort3", 1)[0].doc_id == own.search("apple sort3", 1)[0].doc_id == "apple3"
        replace(tmp_path / "i", BIRDS, WordHashEncoder(128))
        with pytest.raises(MismatchError, match="it has dim 128, not 64"):
            given.search("bird sort3")
        assert own.search("bird sort3", 1)[0].doc_id == "b3"
        assert own.encoder.spec.dim == 128


FROZEN = """
import sys
from semsearch import Index, WordHashEncoder
from semsearch.errors import SemsearchError
with Index.open(sys.argv[1], encoder=WordHashEncoder(64)) as index:
    for line in sys.stdin:
        try:
            print([(hit.doc_id, hit.text) for mode in ("dense", "keyword") for hit in index.search(line, 1, mode=mode)])
        except SemsearchError as error:
            print(type(error).__name__, error)
        sys.stdout.flush()
"""


def test_a_reader_that_may_not_write_follows_an_index_that_is_built_again_in_place(tmp_path):
    """Revisions and passage ids start over, so the new index has the same ones as the old index."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root, who writes where the reader may not, and setpriv to make one")
    folder = tmp_path / "i"
    index_corpus(folder, APPLES, ENCODER)
    folder.chmod(0o555)
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", sys.executable, "-c", FROZEN]
    process = subprocess.Popen([*command, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(query: str) -> str:
        process.stdin.write(f"{query}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    try:
        assert ask("apple sort3") == str([("apple3", "apple sort3")] * 2)
        for path in folder.iterdir():
            path.unlink()
        index_corpus(folder, BIRDS, ENCODER)
        assert ask("bird sort3") == str([("b3", "bird kind3 sort3")] * 2)
        for path in folder.iterdir():
            path.unlink()
        assert ask("bird sort3").startswith("NoIndexError the index ")
    finally:
        folder.chmod(0o755)
        process.kill()
        process.communicate()
