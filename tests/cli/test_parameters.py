"""Names in messages: the library names its parameters, and the command line names its options instead."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import pytest
from command import DOCUMENTS, HASH, call, jsonl
from typer.main import get_command

from semsearch.cli import main as cli
from semsearch.cli.parameters import as_options, speak_for


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "message", "expected"),
    [
        ("index x", "name the id field with `id_field`", "name the id field with --id-field"),
        (
            "index x --id-field a",
            "`simcse_names` says how to read `pooler`",
            "--simcse-names says how to read --pooler",
        ),
        ("eval sts", "none of `poolers`; use `as_json`", "none of --poolers; use --json"),
        ("query x", "`k` is 0, in `mode` dense", "-k is 0, in --mode dense"),
        ("index x", "`tokens` requires `on_long` chunk", "--chunk-tokens requires --on-long chunk"),
        ("index x", "use another `folder`", "use another --index"),
        ("list", "use another `folder`", "use another --folder"),
        ("data get x", "choose another `to`, or `refresh`", "choose another --to, or --refresh"),
        ("query x", "name one with `pooler`", "name one with --pooler"),  # an option of another command
        ("index x", "an argument, `paths`; a pooler, `mean`; `semsearch data list`; `_id`; `x.y`", None),
        ("index x", "`id_field", None),
        ("", "see `where`", "see --where"),
    ],
)
def test_a_parameter_becomes_the_option_of_the_command_that_runs(words, message, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["semsearch", *words.split()])
    speak_for(get_command(cli.app))
    assert as_options(message) == (expected or message)


def test_errors_and_skipped_records_and_their_json_name_options():
    Path("notes.jsonl").write_bytes(b'{"key": 1}\n' + jsonl(DOCUMENTS))
    named = 'no "text" field (found: key); specify the text field with --text-field'
    call("index", "notes.jsonl", *HASH).fails(1, f"notes.jsonl:1: {named}")
    assert call("index", "notes.jsonl", *HASH, "--skip-bad").err.startswith(f"skipped: notes.jsonl:1: {named}\n")
    done = call("index", "notes.jsonl", *HASH, "--skip-bad", "--json")
    assert done.json["errors"] == [f"notes.jsonl:1: {named}"]


def test_warnings_name_options(monkeypatch):
    def find(*_: object, **__: object) -> list[Path]:
        warnings.warn("name one with `pooler`", stacklevel=1)
        return []

    monkeypatch.setattr(cli, "indexes_in", find)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert call("list").err == "warning: name one with --pooler\n"


LIBRARY = [
    path
    for path in sorted(Path(cli.__file__).parents[1].rglob("*.py"))
    if path.parent.name in ("corpus", "datasets", "reports") or path.name in ("paths.py", "ingest.py", "search.py")
]


def test_no_message_of_the_library_names_an_option():
    options = {option for command in _commands(get_command(cli.app)) for one in command.params for option in one.opts}
    # --data and --tasks are part of commands that the library prints.
    options = {option for option in options if option.startswith("--")} - {"--data", "--tasks"}
    named = re.compile(rf"({'|'.join(sorted(options, key=len, reverse=True))})\b")
    assert len(LIBRARY) > 15
    assert [
        (path.name, line) for path in LIBRARY for line in path.read_text("utf-8").split("\n") if named.search(line)
    ] == []


def _commands(command):
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from _commands(below)
