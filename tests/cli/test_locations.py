"""Where commands find an index: here, in a folder above, by name, and anywhere on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import DOCUMENTS, HASH, call, indexed, jsonl, run

from semsearch.cli.state import state_folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


def below(monkeypatch: pytest.MonkeyPatch, folder: str = "deep/down") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)


# --- in a folder above


def test_the_index_of_a_folder_above_is_found_and_named(monkeypatch):
    indexed()
    below(monkeypatch)
    for words in (("status", "--json"), ("query", "water", "--json"), ("delete", "b", "--json")):
        done = call(*words)
        assert (done.code, done.err) == (0, "using ../../indexes/notes\n"), words
        assert done.json["index"] == "../../indexes/notes"
    assert [row["index"] for row in call("list", "--json").ok().json] == ["../../indexes/notes"]


def test_the_nearest_folder_with_an_index_wins(monkeypatch):
    indexed("far")
    below(monkeypatch, "deep")
    Path("indexes").mkdir()  # holds no index
    below(monkeypatch, "down")
    assert call("status", "--json").json["index"] == "../../indexes/far"
    monkeypatch.chdir("..")
    Path("other").mkdir()
    monkeypatch.chdir("other")
    indexed("far", DOCUMENTS[:1], *HASH, "--index", "../indexes/near")
    monkeypatch.chdir("../down")
    assert call("status", "--json").json["index"] == "../indexes/near"
    monkeypatch.chdir("..")
    assert call("status", "--json").ok().json["index"] == "indexes/near"


def test_a_new_index_goes_beside_the_others_of_its_project(monkeypatch):
    indexed()
    below(monkeypatch)
    Path("birds.jsonl").write_bytes(jsonl(DOCUMENTS))
    done = call("index", "birds.jsonl", *HASH)
    assert (done.code, done.err) == (0, "using ../../indexes/birds\n")
    assert Path("../../indexes/birds/passages.sqlite").exists()
    assert not Path("indexes").exists()


def test_the_search_ends_at_the_home_folder(tmp_path, monkeypatch):
    indexed()
    below(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path / "project" / "deep"))
    call("status").fails(1, "no index in 'indexes'")
    monkeypatch.setenv("HOME", str(tmp_path / "project"))
    assert call("status", "--json").json["documents"] == 4


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_passed_over(tmp_path, monkeypatch):
    indexed()
    below(monkeypatch)
    os.chown(tmp_path / "project", 65534, -1)
    call("status").fails(1, "no index in 'indexes'")


def test_the_search_ends_where_another_file_system_begins(tmp_path, monkeypatch):
    indexed()
    below(monkeypatch)
    assert call("status", "--json").json["documents"] == 4
    real, project = Path.stat, tmp_path / "project"

    def stat(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:])) if path == project else found

    monkeypatch.setattr(Path, "stat", stat)
    call("status").fails(1, "no index in 'indexes'")


# --- by name


@pytest.mark.parametrize(
    ("given", "meant"),
    [("indexes/nots", "indexes/notes"), ("nots", "indexes/notes"), ("Notes2", "indexes/notes"), ("indexes/bird", None)],
)
def test_a_mistyped_index_is_answered_with_the_near_one(given, meant):
    indexed()
    indexed("zebras")
    failed = call("query", "water", "--index", given)
    failed.fails(1, f"no index in {given!r}")
    assert ("did you mean" in failed.err) == bool(meant)
    if meant:
        assert failed.err.endswith(f"; did you mean {meant}?\n")


def test_an_index_goes_by_its_name_unless_there_is_one_here():
    indexed()
    indexed("zebras")
    assert call("status", "--index", "notes", "--json").ok().json["index"] == "indexes/notes"
    Path("notes").mkdir()
    Path("notes", "a.md").write_text("the corpus itself")
    assert call("status", "--index", "notes", "--json").ok().json["index"] == "indexes/notes"
    call("index", "zebras.jsonl", "--index", "herons", *HASH).ok()
    assert call("status", "--index", "herons", "--json").ok().json["index"] == "herons"
    assert " 4 unchanged" in call("index", "zebras.jsonl", "--index", "zebras").ok().out
    assert not Path("zebras").exists()


# --- on this machine


def known() -> list[str]:
    return [row["index"] for row in call("list", "--all", "--json").ok().json]


def test_every_index_of_this_machine_is_listed_until_it_is_gone(tmp_path, monkeypatch):
    assert known() == []
    here, project = indexed().resolve(), tmp_path / "project"
    assert known() == [str(here)]
    assert call("backup", "saved").code == 0
    call("restore", "saved", "../again/notes").ok()
    below(monkeypatch)
    assert known() == [str(tmp_path / "again" / "notes"), str(here)]
    call("list", "--all", "--folder", "x").fails(2, "mutually exclusive")
    here.rename(project / "elsewhere")
    assert known() == [str(tmp_path / "again" / "notes")]
    assert len(list((state_folder() / "indexes").iterdir())) == 1  # the other is forgotten
    call("status", "--index", project / "elsewhere").ok()  # using an index is enough
    assert known() == [str(tmp_path / "again" / "notes"), str(project / "elsewhere")]


def test_runs_at_once_are_all_remembered(tmp_path):
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    program = "import sys; from pathlib import Path; from semsearch.cli.registry import remember\n" + (
        "for n in range(50): remember(Path(sys.argv[1]) / str(n))"
    )
    for name in ("a", "b"):
        for n in range(50):
            Path(name, str(n)).mkdir(parents=True)
            Path(name, str(n), "passages.sqlite").touch()
    both = [subprocess.Popen([sys.executable, "-c", program, name]) for name in ("a", "b")]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert len(known()) == 100


def test_a_state_folder_that_cannot_be_written_does_not_matter(monkeypatch):
    monkeypatch.setenv("SEMSEARCH_STATE", "/dev/null/nobody")
    indexed()
    assert call("query", "water", "--json").ok().json["hits"]
    assert call("list", "--all").ok().out.startswith("no index known on this machine")


# --- while it is written


@contextmanager
def being_written(folder: Path) -> Iterator[int]:
    """Hold the lock of an index in another process, whose id is yielded."""
    program = (
        "import sys; from pathlib import Path; from semsearch.stores.local.lock import hold_lock\n"
        "with hold_lock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    folder.mkdir(parents=True, exist_ok=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program, folder], **pipes) as process:
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_list_and_status_tell_who_writes_to_an_index_as_long_as_that_lives():
    folder = indexed()
    with being_written(folder) as process:
        (row,) = call("list", "--json").ok().json
        assert row["writing"].startswith(f"process {process} on ")
        assert ", since 20" in row["writing"]
        assert dict(call("status").ok().rows)["writing"] == row["writing"]
        assert call("list").ok().rows[0][-1] == "writing"
    assert (folder / "writer.holder").exists()  # the process was killed
    assert call("list", "--json").ok().json[0]["writing"] == ""
    assert "writing" not in dict(call("status").ok().rows)


def test_an_index_before_its_first_batch_is_not_said_to_be_missing():
    folder = Path("indexes", "notes")
    with being_written(folder) as process:
        failed = call("query", "water", "--index", folder)
        failed.fails(1, f"'indexes/notes' is being written by process {process} on ", "no batch is committed yet")
    call("query", "water", "--index", folder).fails(1, "no index in 'indexes/notes'")


# --- completion


def completed(*words: str, unfinished: str = "") -> list[str]:
    line = " ".join(["semsearch", *words, unfinished])
    variables = {"_SEMSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) + 1)}
    return run(**variables).ok().out.split()


def test_the_shell_completes_indexes_modes_options_and_commands():
    indexed()
    indexed("zebras")
    assert completed("query", "--index") == ["indexes/notes", "indexes/zebras"]
    assert completed("status", "-i", unfinished="z") == ["zebras"]
    assert completed("query", "--mode", unfinished="d") == ["dense"]
    assert completed(unfinished="re") == ["reencode", "rebuild", "restore"]
    assert completed("query", unfinished="--where") == ["--where"]
