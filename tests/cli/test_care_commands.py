"""The commands that look after an index: what they print, their exit codes, and one line for each error."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from command import DOCUMENTS, HASH, call, indexed
from older_index import make_older_index


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def damage(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as connection:
        connection.execute(statement)


LOST = "UPDATE documents SET text = 'x' WHERE doc_id = 'b'"


def test_verify_says_that_an_index_is_intact():
    folder = indexed()
    done = call("verify").ok()
    assert done.out.startswith(f"{folder} is intact: read in ")
    assert done.out.endswith(" s, 4 passages encoded again\n")
    found = call("verify", "--sample", 2, "--json").ok().json
    assert found.pop("seconds") >= 0
    assert found == {"index": str(folder), "intact": True, "problems": [], "notes": [], "encoded": 2}


def test_verify_prints_one_line_a_problem_and_exits_with_1():
    folder = indexed()
    damage(folder, LOST)
    damage(folder, "INSERT INTO fields VALUES ('color')")
    done = call("verify")
    assert done.code == 1
    first, second, *words = done.out.splitlines()
    assert first == (
        "settings: the list of metadata fields does not match the documents: 'color'; semsearch rebuild makes it anew"
    )
    assert second == "documents: document 'b' does not match its checksum"
    assert all(line.startswith("words: ") for line in words)
    assert done.err == f"{folder} is damaged: {2 + len(words)} problems\n"
    found = call("verify", "--json")
    assert (found.code, found.err, found.json["intact"]) == (1, "", False)
    assert found.json["problems"][1] == {
        "part": "documents",
        "found": "document 'b' does not match its checksum",
        "derived": False,
    }


def test_verify_notes_what_it_could_not_check():
    folder = indexed()
    (folder / "notes.txt").write_text("mine")
    done = call("verify")
    assert done.code == 0
    assert done.err == "note: notes.txt is not part of the index; it may be deleted while nothing writes\n"


def test_verify_of_no_database_at_all_is_a_problem_and_of_no_index_an_error():
    folder = indexed()
    os.truncate(folder / "passages.sqlite", 2_000)
    done = call("verify")
    assert (done.code, done.out.count("\n"), done.out[:10]) == (1, 1, "database: ")
    call("verify", "--index", "nothing").fails(1, "no index in")


def test_rebuild_repairs_what_is_derived():
    folder = indexed()
    damage(folder, "DELETE FROM segments")
    damage(folder, "UPDATE settings SET value = '7' WHERE key = 'background'")
    done = call("rebuild")
    assert done.code == 0
    assert done.out.startswith(f"{folder}: rebuilt fields, segments, background in ")
    assert done.err == "warning: the setting 'background' was damaged, and has its default value again\n"
    assert call("verify").ok().out.startswith(f"{folder} is intact")
    found = call("rebuild", "--json").ok().json
    assert (found["rebuilt"], found["lost"]) == (["fields", "segments"], [])


def test_rebuild_names_what_is_lost_and_exits_with_1():
    damage(indexed(), LOST)
    done = call("rebuild")
    assert done.code == 1
    assert done.err.startswith("warning: 1 documents are damaged, such as 'b'; index the same corpus again")
    assert call("rebuild", "--json").json["lost"] == ["b"]
    assert call("index", "notes.jsonl").code == 0
    call("verify").ok()


def test_compact_says_how_much_space_is_returned():
    folder = indexed()
    call("delete", "a").ok()
    found = call("compact", "--secure", "--json").ok().json
    assert found["bytes"] <= found["bytes_before"]
    assert call("compact").ok().out.startswith(f"{folder}: ")
    assert b"heron" not in (folder / "passages.sqlite").read_bytes()
    call("verify").ok()


def test_backup_and_restore():
    folder = indexed()
    done = call("backup", "saved").ok()
    assert done.out.startswith(f"copied {folder} to saved and verified it in ")
    assert "(4 documents, " in done.out
    call("backup", "saved").fails(2, "'saved' exists already; give a new folder")
    call("delete", "a").ok()
    call("restore", "saved", folder).fails(2, "there is an index in", "pass --replace")
    found = call("restore", "saved", folder, "--replace", "--json").ok().json
    assert (found["from"], found["to"], found["documents"]) == ("saved", str(folder), 4)
    call("restore", "saved", "elsewhere").ok()
    assert call("query", "heron", "--index", "elsewhere", "--json").ok().json["hits"][0]["doc_id"] == "a"
    damage(Path("saved"), LOST)
    call("restore", "saved", "third").fails(1, "'saved' was not copied, because it is damaged", "document 'b'")
    assert not Path("third").exists()


@pytest.mark.parametrize("vectors", ["base64", "rows.npy"])
def test_export_and_the_way_back(vectors):
    folder = indexed()
    done = call("export", "out.jsonl", "--vectors", vectors).ok()
    assert done.out == "wrote 4 documents with the vectors of 4 passages to out.jsonl\n"
    given = ("--vectors", vectors) if vectors != "base64" else ()
    done = call("index", "out.jsonl", *HASH, *given).ok()
    assert "4 with their vectors, 0 encoded" in done.out
    old, new = (call("query", "water", "--index", f"indexes/{name}", "--json").ok().json for name in ("notes", "out"))
    assert [(hit["doc_id"], hit["score"]) for hit in old["hits"]] == [
        (hit["doc_id"], hit["score"]) for hit in new["hits"]
    ]
    call("index", "out.jsonl", "--index", "other", "--model", "hash:32", *given).fails(
        1 if vectors == "base64" else 2, *(["dim 4096, not 32"] if vectors == "base64" else ["expected [passages, 32]"])
    )
    assert folder.exists()


def test_export_of_documents_alone():
    indexed()
    found = call("export", "out.jsonl", "--json").ok().json
    assert (found["documents"], found["passages"], found["vectors"]) == (4, 4, None)
    first = json.loads(Path("out.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first == {key: DOCUMENTS[0][key] for key in ("_id", "title", "text", "metadata")}
    call("export", "out.jsonl", "--vectors", "out.csv").fails(2, "--vectors is 'out.csv'; expected 'base64' or")
    call("export", "missing/out.jsonl").fails(1, "cannot write")


def test_vectors_that_do_not_fit_are_one_line():
    indexed()
    call("export", "out.jsonl", "--vectors", "rows.npy").ok()
    np.save("rows.npy", np.load("rows.npy", allow_pickle=False)[:3])
    words = ("index", "out.jsonl", "--index", "again", *HASH, "--vectors", "rows.npy")
    call(*words).fails(2, "--vectors 'rows.npy' has 3 rows, but the documents have 4 passages")


def test_migrate_says_from_and_to():
    make_older_index(Path("older"), [{"_id": "a", "text": "The heron waits"}])
    assert call("migrate", "--index", "older").ok().out == "older: migrated from schema 1 to 6\n"
    assert call("migrate", "--index", "older").ok().out == "older is up to date: schema 6\n"
    assert call("migrate", "--index", "older", "--json").ok().json == {"index": "older", "before": 6, "after": 6}
    call("verify", "--index", "older").ok()
    damage(Path("older"), "PRAGMA user_version = 99")
    for command in ("migrate", "verify", "rebuild"):
        call(command, "--index", "older").fails(1, "newer semsearch", "schema 99", "upgrade")
