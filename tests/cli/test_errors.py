"""Bad input on the command line: a one-line error message, the exit code, and no loss of data."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from command import DOCUMENTS, HASH, call, indexed, jsonl, run
from fakes import tiny_checkpoint
from filelock import FileLock

from semsearch.poolers import POOLERS


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an index that the tests only read."""
    with chdir(tmp_path_factory.mktemp("shared")):
        return indexed().absolute()


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("nowhere.jsonl",), 1, ('"nowhere.jsonl" does not exist', "expected a file")),
        (("good.jsonl", "nowhere"), 1, ('"nowhere" does not exist',)),
        (("odd.xyz",), 1, ("unknown extension", ".jsonl", "--format")),
        (("empty",), 1, ("contains no files in a supported format",)),
        (("good.jsonl", "--format", "xml"), 2, ('unknown format "xml"', "jsonl, csv")),
        (("good.jsonl", "--model", "hash:none"), 2, ("'hash:none'", "hash:64")),
        (("good.jsonl", "--overlap", "-1", *HASH), 2, ("--overlap is -1", "0 or more")),
        (("good.jsonl", "--pooler", "median"), 2, ("unknown pooler 'median'", *POOLERS)),
        (("good.jsonl", "--transform", "bleach"), 2, ("unknown transform 'bleach'", "whiten")),
    ],
)
def test_a_request_that_cannot_be_met_leaves_no_index_behind(words, code, parts):
    Path("good.jsonl").write_bytes(jsonl(DOCUMENTS))
    Path("odd.xyz").touch()
    Path("empty").mkdir()
    call("index", *words).fails(code, *parts)
    assert not Path("indexes").exists()


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("",), 2, ("the query is empty",)),
        ((" \t",), 2, ("the query is empty",)),
        (("water", "-k", "0"), 2, ("must be at least 1, got 0",)),
        (("water", "-k", "-3"), 2, ("must be at least 1, got -3",)),
        (("water", "--where", ""), 2, ("the filter is empty", "year >= 2020")),
        (("water", "--where", "year >"), 2, ("column 7", "got the end")),
        (("water", "--where", "year = 1 or or lang = 'en'"), 2, ("column 13", "»or«")),
        (("water", "--where", "year = 1; drop table documents"), 2, ("column 9", "»;«")),
        (("water", "--where", "yeer > 2000"), 2, ("no document has a field 'yeer'", "did you mean 'year'", "'lang'")),
        ((), 2, ("give either a query", "--queries FILE")),
        (("water", "--queries", "notes.jsonl"), 2, ("give either a query",)),
        (("water", "--run", "out.trec"), 2, ("--run requires --queries",)),
    ],
)
@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_a_query_that_makes_no_sense_says_what_to_do(notes, words, code, parts, mode):
    call("query", *words, "--mode", mode, "--index", notes).fails(code, *parts)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("indx",), ("indx",)),
        (("index",), ("PATHS",)),
        (("delete",), ("IDS",)),
        (("query", "water", "--color"), ("--color",)),
        (("query", "water", "-k", "ten"), ("-k", "ten", "int")),
        (("query", "water", "--mode", "sparse"), ("--mode", "sparse", "dense", "keyword", "hybrid")),
        (("query", "water", "--fusion", "sum"), ("--fusion", "convex", "rrf")),
        (("index", "x", "--on-long", "cut"), ("--on-long", "chunk", "truncate", "error")),
        (("status", "extra"), ("extra",)),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(words, parts):
    call(*words).fails(2, *parts)


def test_the_installed_command_ends_with_the_same_codes_and_lines():
    run("query", "water").fails(1, "no index in 'indexes'", "semsearch index CORPUS", "--index")
    run("query", "water", "--color").fails(2, "--color")
    run("index", "-", *HASH, stdin=b'{"_id": 1').fails(1, "<stdin>:1: not valid JSON")


# --- choice of the index


def test_several_indexes_are_listed_for_the_user_to_choose_from():
    folders = [indexed("one"), indexed("two")]
    call("delete", "a").fails(2, "several indexes", "--index", *map(str, folders))
    for command in (("query", "water"), ("status",)):
        note = call(*command, "--json").err
        assert note == f"using {folders[1]}, the most recently updated of 2 indexes; choose another with --index\n"


def test_another_corpus_of_the_same_name_does_not_land_in_the_same_index():
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Path(folder, "corpus.jsonl").write_bytes(jsonl(DOCUMENTS))
    call("index", "one/corpus.jsonl", *HASH).ok()
    words = ("index", "two/corpus.jsonl", *HASH, "--delete-missing")
    other = call(*words)
    owner = Path("one/corpus.jsonl").resolve()
    told = f"indexes/corpus is the index of {owner}; using indexes/two-corpus for two/corpus.jsonl (or choose one with"
    assert (other.code, other.err) == (0, f"{told} --index)\n")
    assert "4 unchanged" in call("index", "one/corpus.jsonl").ok().out
    assert "4 unchanged" in call(*words, "--index", "indexes/corpus").ok().out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--refit",), ("--refit needs a transform",)),
        (("--chunk-tokens", "0"), ("--chunk-tokens is 0",)),
        (("--on-long", "truncate", "--chunk-tokens", "64"), ("--chunk-tokens requires --on-long chunk",)),
        (("--on-long", "truncate", "--overlap", "4"), ("--overlap requires --on-long chunk",)),
        (("--pooler", "cls"), ("'hash:4096' hashes words and does not accept pooler",)),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(words, parts):
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    call("index", "notes.jsonl", *HASH, *words).fails(2, *parts)
    assert not Path("indexes").exists()


def _missing(folder: Path) -> None:
    pass


def _garbage(folder: Path) -> None:
    folder.mkdir()
    (folder / "passages.sqlite").write_bytes(b"no database at all, " * 100)


def _another_database(folder: Path) -> None:
    folder.mkdir()
    connection = sqlite3.connect(folder / "passages.sqlite")
    connection.execute("CREATE TABLE documents (id)")
    connection.close()


NO_INDEX: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (_missing, "no index in 'here'"),
    "empty": (Path.mkdir, "no index in 'here'"),
    "a file": (Path.touch, "'here'"),
    "garbage": (_garbage, "is not a semsearch index"),
    "another database": (_another_database, "not a semsearch index"),
}
COMMANDS = {"query": ("query", "water"), "status": ("status",), "delete": ("delete", "a")}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(("make", "part"), NO_INDEX.values(), ids=NO_INDEX)
def test_a_folder_that_is_no_index_is_refused(make, part, command):
    make(Path("here"))
    call(*command, "--index", "here").fails(1, part)


@pytest.mark.parametrize("make", [Path.touch, _garbage, _another_database])
def test_index_writes_into_nothing_that_is_not_an_index(make):
    make(Path("here"))
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    content = {path: path.read_bytes() for path in (Path("here"), *Path("here").rglob("*")) if path.is_file()}
    call("index", "notes.jsonl", *HASH, "--index", "here").fails(1, "here")
    assert {path: path.read_bytes() for path in content} == content


def test_index_refuses_a_folder_with_other_files():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    Path("here").mkdir()
    Path("here/diary.txt").write_text("mine")
    call("index", "notes.jsonl", *HASH, "--index", "here").fails(
        1, "'here' is not an index", "diary.txt", "empty or new folder"
    )
    assert [path.name for path in Path("here").iterdir()] == ["diary.txt"]


@pytest.mark.parametrize("command", [*COMMANDS.values(), ("index", "notes.jsonl")])
def test_an_index_from_a_newer_schema_is_refused(command):
    with sqlite3.connect(indexed() / "passages.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    call(*command).fails(1, "newer semsearch", "schema 99", "upgrade")


def test_list_shows_what_is_wrong_with_an_index_beside_the_others():
    with sqlite3.connect(indexed("newer") / "passages.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    indexed("notes")
    rows = {Path(row["index"]).name: row["model"] for row in call("list", "--json").ok().json}
    assert rows["notes"] == HASH[1]
    assert rows["newer"].startswith("unusable: ")
    assert {len(row) for row in call("list").ok().rows} == {7}


def test_an_index_that_is_being_written_names_its_writer():
    folder = indexed()
    (folder / "writer.holder").write_text("process 7 on mars")
    with FileLock(folder / "writer.lock"):
        call("index", "notes.jsonl").fails(1, "is being written by process 7 on mars")
        call("delete", "a").fails(1, "is being written by process 7 on mars")
        call("query", "water").ok()


# --- different encoder or chunking settings


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--model", "hash:32"), ("another encoder", "dim 4096, not 32", "--index")),
        (("--max-tokens", 128), ("another encoder", "max_tokens 256, not 128")),
        (("--chunk-tokens", 64), ("other chunking settings", "tokens None, not 64", "--index")),
        (("--no-title", "--overlap", 1), ("other chunking settings", "overlap 32, not 1", "title True, not False")),
    ],
)
def test_an_index_refuses_other_options_than_its_own_and_says_which(options, parts):
    indexed()
    call("index", "notes.jsonl", *options).fails(1, *parts)
    assert call("index", "notes.jsonl", "--json").ok().json["unchanged"] == len(DOCUMENTS)


def test_an_index_refuses_another_pooler_and_another_checkpoint():
    model = tiny_checkpoint(Path("model"))
    indexed("notes", DOCUMENTS, "--model", model, "--pooler", "max")
    call("index", "notes.jsonl", "--pooler", "mean").fails(1, "another encoder", "pooler max, not mean")
    call("index", "notes.jsonl", "--model", "hash:32").fails(
        1, "another encoder", "weights ", "tokenizer ", "pooler max, not word-hash"
    )
    tiny_checkpoint(model, seed=1)
    call("query", "water").fails(1, "another encoder", "weights ")
    assert call("query", "water", "--mode", "keyword", "--json").ok().json["hits"]
