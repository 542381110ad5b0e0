"""`semsearch index` on folders that change, move, overlap or contain bad files: what it keeps, replaces and deletes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path

import pytest
from command import Outcome, call
from older_index import make_older_index

from semsearch import Index, read_corpus
from semsearch.corpus.readers import Coverage, as_records
from semsearch.errors import LockedError, RecordError
from semsearch.ingest import ingest
from semsearch.stores.local.store import LocalStore

HASH = ("--model", "hash:64")

CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder."""
    monkeypatch.chdir(tmp_path)


def index(*words: object) -> Outcome:
    return call("index", *words, "--index", "i", *HASH)


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def texts(folder: str = "i") -> dict[str, str]:
    """Return the texts by document id, read with sqlite3 instead of the library."""
    with closing(sqlite3.connect(f"{folder}/passages.sqlite")) as database:
        return dict(database.execute("SELECT doc_id, text FROM documents ORDER BY doc_id"))


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases here")
def test_two_folders_with_the_same_file_names_are_two_documents():
    for name in ("a", "b", "a"):
        index(CASES / "two" / name).ok()
    assert {doc_id: text.split()[0] for doc_id, text in texts().items()} == {
        "README.md": "Alpha",
        "b/README.md": "Beta",
    }


def test_a_second_folder_of_the_same_name_gets_an_index_of_its_own_each_time():
    write({"x/docs/README.md": "boats", "y/docs/README.md": "bread"})
    call("index", "x/docs", *HASH).ok()
    for done in ("1 encoded", "0 encoded"):
        second = call("index", "y/docs", *HASH)
        assert (second.code, f" {done}" in second.out, "index: indexes/y-docs\n" in second.out) == (0, True, True)
    assert [texts(f"indexes/{name}") for name in ("docs", "y-docs")] == [{"README.md": "boats"}, {"README.md": "bread"}]
    assert call("index", "x/docs").ok().out.endswith("index: indexes/docs\n")


def test_a_second_folder_goes_into_the_same_index_if_that_is_given():
    write({"x/docs/README.md": "boats", "y/docs/README.md": "bread"})
    call("index", "x/docs", *HASH).ok()
    call("index", "y/docs", "--index", "indexes/docs").ok()
    assert texts("indexes/docs") == {"README.md": "boats", "docs/README.md": "bread"}
    assert " 0 encoded, 1 unchanged" in call("index", "y/docs").ok().out  # --index is no longer needed


def test_a_folder_that_may_have_moved_is_not_taken_for_another_one():
    write({"x/docs/README.md": "boats"})
    call("index", "x/docs", *HASH).ok()
    Path("x").rename("y")
    call("index", "y/docs", *HASH).fails(2, "which no longer exists", "pass --index indexes/docs;")
    assert texts("indexes/docs") == {"README.md": "boats"}


def test_a_file_keeps_its_id_by_whatever_path_it_comes():
    write({"docs/a.md": "one", "docs/sub/b.md": "two"})
    Path("link").symlink_to("docs")
    index("docs").ok()
    for path in ("link", "docs/sub", "docs/sub/b.md", Path("docs").resolve(), "docs/../link/a.md"):
        assert " 0 encoded, " in index(path).ok().out, path
    assert texts() == {"a.md": "one", "sub/b.md": "two"}
    Path("docs").rename("notes")
    moved = index("notes")
    assert (moved.code, moved.err.count("\n")) == (0, 1)
    assert "no longer exists; " in moved.err
    assert texts() == {"a.md": "one", "sub/b.md": "two"}
    assert " 0 encoded, 2 unchanged" in index("notes").ok().out  # the new location is remembered


@pytest.mark.parametrize("in_place", [True, False])
def test_an_id_of_another_file_is_refused_unless_replace_is_given(in_place: bool):
    write({"a.jsonl": '{"_id": "1", "text": "boats"}\n', "b.jsonl": '{"_id": "1", "text": "bread"}\n'})
    index("a.jsonl").ok()
    name = "b.jsonl" if in_place else "folder/b.jsonl"
    write({name: '{"_id": "1", "text": "bread"}\n{"_id": "2", "text": "salt"}\n'})
    refused = index(name)
    refused.fails(1, f"{name}:1: the id '1' belongs to a document from ", "a.jsonl'", "pass --replace")
    assert texts() == {"1": "boats", "2": "salt"}
    index(name, "--replace").ok()
    assert texts()["1"] == "bread"
    index("a.jsonl").fails(1, "the id '1' belongs to a document from ", "b.jsonl'")


def test_the_same_document_in_another_file_is_that_document_until_it_differs():
    write({"a.jsonl": '{"_id": "1", "text": "boats"}\n', "b.jsonl": '{"_id": "1", "text": "boats"}\n'})
    index("a.jsonl").ok()
    assert " 0 encoded, 1 unchanged" in index("b.jsonl").ok().out
    write({"b.jsonl": '{"_id": "1", "text": "boats and oars"}\n'})
    index("b.jsonl").fails(1, "the id '1' belongs to a document from ", "a.jsonl'")
    assert texts() == {"1": "boats"}


def test_a_copy_does_not_take_a_document_from_the_file_that_has_it():
    for folder in ("c1", "c2"):
        write({f"{folder}/x.jsonl": '{"_id": "1", "text": "x"}\n{"_id": "2", "text": "y"}\n'})
        index(folder).ok()
    write({"c2/x.jsonl": '{"_id": "2", "text": "y"}\n'})
    index("c2", "--delete-missing").ok()
    assert sorted(texts()) == ["1", "2"]
    Path("c1/x.jsonl").unlink()
    index("c2").ok()  # document 2 now belongs to c2
    write({"c2/x.jsonl": '{"_id": "3", "text": "z"}\n'})
    index("c2", "--delete-missing").ok()
    assert sorted(texts()) == ["1", "3"]


def test_a_folder_that_is_not_there_now_loses_nothing_to_another_one():
    write({"a/README.md": "boats", "a/more.md": "oars", "b/README.md": "bread"})
    index("a").ok()
    Path("a").rename("unplugged")
    index("b").ok()
    assert texts() == {"README.md": "boats", "more.md": "oars", "b/README.md": "bread"}


def test_what_vanished_from_a_folder_within_the_given_one_is_told():
    write({"n/sub/a.md": "one", "n/sub/b.md": "two", "n/c.md": "three"})
    index("n/sub").ok()
    index("n").ok()
    Path("n/sub/b.md").unlink()
    assert "1 document no longer in the corpus; --delete-missing removes them: b.md" in index("n").err
    index("n", "--delete-missing").ok()
    assert sorted(texts()) == ["a.md", "n/c.md"]


def test_two_first_runs_at_once_never_take_documents_from_one_another():
    write({"a/README.md": "boats", "b/README.md": "bread"})
    with Index.open("i", create=True, model="hash:64") as opened:
        with ThreadPoolExecutor(2) as both:
            results = [each.result() for each in [both.submit(opened.add, name) for name in ("a", "b")]]
        assert [result.encoded for result in results] == [1, 1]
    assert sorted(texts().values()) == ["boats", "bread"]


def test_a_run_that_began_with_other_roots_is_refused():
    write({"a/README.md": "boats", "b/README.md": "bread"})
    with Index.open("i", create=True, model="hash:64") as opened:
        coverage = Coverage()
        records = as_records("b", coverage=coverage)
        opened.add("a")
        with pytest.raises(LockedError, match="another run has added files to 'i' in the meantime; run this one again"):
            ingest(LocalStore("i"), records, opened.encoder, chunking=opened.chunking, coverage=coverage)
    assert texts() == {"README.md": "boats"}


def test_a_document_from_memory_takes_the_place_of_any_and_its_own_is_not_taken(tmp_path: Path):
    write({"docs/a.md": "one"})
    index("docs").ok()
    with Index.open("i") as opened:
        opened.add({"_id": "a.md", "text": "two"})
        assert texts() == {"a.md": "two"}
        with pytest.raises(
            RecordError, match=r"a.md: the id 'a.md' belongs to a document from 'Python or HTTP'.*`replace`"
        ):
            opened.add("docs", strict=True)
        assert opened.add("docs").bad == 1
        assert texts() == {"a.md": "two"}
        assert opened.add("docs", replace=True).encoded == 1
    assert texts() == {"a.md": "one"}


def test_documents_that_python_reads_from_another_folder_are_not_taken_for_those_of_the_index():
    write({"a/README.md": "boats", "b/README.md": "bread"})
    index("a").ok()
    with Index.open("i") as opened:
        assert opened.add(read_corpus("a")).unchanged == 1
        assert opened.add(read_corpus("b")).encoded == 1
        assert opened.add("b").unchanged == 1
    assert texts() == {"README.md": "boats", "b/README.md": "bread"}


BAD_FILES = {
    "broken.pdf": b"%PDF-1.4 no",
    "latin.txt": b"caf\xe9",
    "rows.jsonl": b'{"_id": "r", "text": "row"}\n{"_id"\n',
}


def write_bad() -> None:
    write({"docs/a.md": "one", "docs/z.md": "two"})
    for name, content in BAD_FILES.items():
        Path("docs", name).write_bytes(content)
    Path("docs/dangling.md").symlink_to("nowhere")


def test_a_bad_file_in_a_folder_is_skipped_counted_and_named():
    write_bad()
    done = index("docs")
    assert (done.code, sorted(texts())) == (0, ["a.md", "r", "z.md"])
    *skipped, warning = done.err.splitlines()
    places = ("broken.pdf: ", "dangling.md: ", "latin.txt:1: ", "rows.jsonl:2: ")
    for line, place in zip(skipped, places, strict=True):
        assert line.startswith(f"skipped: {Path('docs', place)}")
    assert warning == "warning: skipped 4 bad records"
    report = call("index", "docs", "--index", "i", "--json").ok().json
    assert (report["bad"], len(report["errors"])) == (4, 4)


def test_strict_stops_at_a_bad_file_and_keeps_what_came_before():
    write_bad()
    done = index("docs", "--strict")
    done.fails(1, f"{Path('docs/broken.pdf')}: the PDF is broken")
    assert sorted(texts()) == ["a.md"]
    index("docs", "--strict", "--skip-bad").fails(2, "--strict and --skip-bad are mutually exclusive")


def test_a_bad_file_that_was_given_itself_stops():
    write_bad()
    index("docs/broken.pdf").fails(1, "docs/broken.pdf: the PDF is broken")
    index("docs/rows.jsonl").fails(1, "docs/rows.jsonl:2: ")
    Path("docs/rows.jsonl").rename("docs/corpus.jsonl")  # a folder with a corpus.jsonl is read as that file
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warned, failed = index("docs").err.splitlines()
    assert "not read: a.md, broken.pdf, dangling.md, latin.txt, z.md (pass their paths" in warned
    assert failed.startswith("error: docs/corpus.jsonl:2: not valid JSON")


def test_documents_that_vanished_are_reported_and_deleted_only_if_asked_for():
    write({"docs/a.md": "one", "docs/b.md": "two", "docs/sub/c.md": "three", "more/d.md": "four"})
    index("docs", "more").ok()
    Path("docs/b.md").unlink()
    shutil.rmtree("docs/sub")
    Path("more/d.md").unlink()
    write({"more/e.md": "five"})
    done = index("docs")
    assert (done.code, done.err) == (
        0,
        "warning: 2 documents no longer in the corpus; --delete-missing removes them: b.md, sub/c.md\n",
    )
    assert sorted(texts()) == ["a.md", "b.md", "more/d.md", "sub/c.md"]
    assert " 2 deleted" in index("docs", "--delete-missing").ok().out
    assert sorted(texts()) == ["a.md", "more/d.md"]  # more/d.md is kept, because `more` was not given
    assert " 1 deleted" in index("more", "--delete-missing").ok().out
    assert sorted(texts()) == ["a.md", "more/e.md"]


def test_records_that_left_their_file_are_missing_but_not_where_it_has_a_bad_one():
    write({"birds.jsonl": '{"_id": "1", "text": "x"}\n{"_id": "2", "text": "y"}\n', "other.csv": "id,text\n9,z\n"})
    index("birds.jsonl", "other.csv").ok()
    write({"birds.jsonl": '{"_id": "1", "text": "x"}\n'})
    assert "1 document no longer in the corpus" in index("birds.jsonl").err
    write({"birds.jsonl": '{"_id": "1", "text": "x"}\n{"_id": \n'})
    kept = index("birds.jsonl", "--delete-missing", "--skip-bad")
    assert "warning: kept 1 document that may be missing" in kept.err
    write({"birds.jsonl": '{"_id": "1", "text": "x"}\n'})
    index("birds.jsonl", "--delete-missing").ok()
    assert sorted(texts()) == ["1", "9"]


def test_what_python_hands_over_is_the_whole_corpus_for_delete_missing():
    write({"docs/a.md": "one", "docs/b.md": "two"})
    index("docs").ok()
    with Index.open("i") as opened:
        opened.add([{"_id": "m", "text": "three"}, {"_id": "n", "text": "four"}])
        Path("docs/b.md").unlink()
        result = opened.add([{"_id": "m", "text": "three"}], delete_missing=True)
        assert (result.deleted, result.not_deleted) == (2, 1)
    assert sorted(texts()) == ["a.md", "m"]  # docs/a.md still exists


@pytest.fixture
def somebody() -> Iterator[Path]:
    """Create a folder that unprivileged users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="semsearch-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("mode", [0o444, 0o111, 0o000])
def test_what_could_not_be_looked_at_is_not_deleted(somebody: Path, mode: int):
    write({f"{somebody}/docs/a.md": "one", f"{somebody}/docs/sub/b.md": "two", f"{somebody}/docs/sub/c.md": "three"})
    index(somebody / "docs").ok()
    shutil.copytree("i", somebody / "i")
    for path in somebody.rglob("*"):
        path.chmod(0o777)
    (somebody / "docs" / "a.md").unlink()
    (somebody / "docs" / "b.md").write_text("new")
    (somebody / "docs" / "sub").chmod(mode)
    done = as_nobody("index", somebody / "docs", "--index", somebody / "i", "--delete-missing", *HASH)
    assert done.code == 0, done.err
    assert done.err.splitlines() == [
        f"skipped: {somebody}/docs/sub: cannot be read: Permission denied",
        "warning: skipped 1 bad file",
        "warning: kept 2 documents that may be missing: could not check whether they are gone",
    ]
    assert sorted(texts(str(somebody / "i"))) == ["b.md", "sub/b.md", "sub/c.md"]


def as_nobody(*words: object) -> Outcome:
    """Run a command in an unprivileged child process, which inherits the modules that are already imported."""
    receiver, sender = Pipe(duplex=False)
    if not (pid := os.fork()):
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.chdir(tempfile.gettempdir())
            sender.send(call(*words))
        except BaseException:
            sender.send(traceback.format_exc())
        finally:
            os._exit(0)
    sender.close()
    os.waitpid(pid, 0)
    outcome = receiver.recv()
    assert isinstance(outcome, Outcome), outcome
    return outcome


OLD_FILES = [{"_id": name, "text": name[0] * 3, "path": name} for name in ("a.md", "b.md")]


def upgraded(origin: Path, documents: list[dict[str, str]]) -> None:
    make_older_index(Path("i"), documents, str(origin.resolve()))


def test_the_files_of_an_older_index_are_those_of_its_folder_as_far_as_they_are_there():
    write({"p1/a.md": "aaa", "p2/b.md": "bbb"})
    upgraded(Path("p1"), OLD_FILES)  # the state that two runs into one index left behind
    assert " 1 encoded" in index("p1", "--delete-missing").ok().out  # it had no title then
    assert sorted(texts()) == ["a.md", "b.md"]


def test_an_older_index_of_a_folder_that_has_moved_since_keeps_its_ids():
    upgraded(Path("data/notes"), OLD_FILES)
    write({"data/moved/a.md": "aaa", "data/moved/b.md": "bbb"})
    assert " 2 encoded" in index("data/moved").out  # they had no titles then
    assert sorted(texts()) == ["a.md", "b.md"]


def test_records_that_left_the_file_of_an_older_index_can_be_deleted():
    lines = [f'{{"_id": "{n}", "text": "heron{n}"}}\n' for n in range(3)]
    upgraded(Path("x.jsonl"), [{"_id": str(n), "text": f"heron{n}"} for n in range(3)])
    write({"x.jsonl": "".join(lines[1:])})
    assert "1 document no longer in the corpus; --delete-missing removes them: 0" in index("x.jsonl").err
    assert " 1 deleted" in index("x.jsonl", "--delete-missing").ok().out
    assert sorted(texts()) == ["1", "2"]
