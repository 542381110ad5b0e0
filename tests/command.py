"""Helpers to run the command line: `call` runs it in this process, which is fast; `run` runs the installed command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from semsearch.cli.main import app, main

SCRIPT = shutil.which("semsearch", path=str(Path(sys.executable).parent)) or "semsearch"

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "a", "title": "Heron", "text": "The heron waits by the water.", "metadata": {"year": 2020, "lang": "en"}},
    {"_id": "b", "title": "Bread", "text": "Flour, water and salt.", "year": 2010, "lang": "en"},
    {"_id": "c", "title": "咖啡", "text": "水要热。", "year": 2021, "lang": "zh"},
    {"_id": "d", "title": "Kettle", "text": "Fill it, then wait.", "year": 2022, "lang": "en"},
]
"""Few enough for answers by hand: `water` is one of b's five words and one of a's, which have counts 2 2 1 1 1."""

HASH = ("--model", "hash:4096")
"""The word-hash encoder, wide enough that no two words of DOCUMENTS collide."""


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Parse the only line of standard output as JSON."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def rows(self) -> list[list[str]]:
        """Return the rows of tab-separated standard output, including the header."""
        return [line.split("\t") for line in self.out.removesuffix("\n").split("\n")]

    def ok(self) -> Outcome:
        """Check that the command succeeded and return this outcome."""
        assert (self.code, self.err) == (0, "")
        return self

    def fails(self, code: int, *parts: str) -> None:
        """Check the exit code and that the only output is one line of error that contains all parts."""
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        assert self.code == code
        for part in parts:
            assert part in self.err


def call(*words: object) -> Outcome:
    """Run `semsearch WORDS` in this process, with pipes; an escaping exception corresponds to a traceback."""
    out, err = (TextIOWrapper(BytesIO(), encoding="utf-8", newline="\n") for _ in range(2))
    argv = ["semsearch", *map(str, words)]
    with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "argv", argv):
        with pytest.raises(SystemExit) as stop:
            main()
        out.flush()
        err.flush()
    printed = [stream.buffer.getvalue().decode() for stream in (out, err)]
    assert isinstance(stop.value.code, int)
    return Outcome(stop.value.code, *printed)


def run(*words: object, stdin: bytes = b"", **environment: str) -> Outcome:
    """Run the installed command in a separate process, with pipes."""
    done = subprocess.run(
        [SCRIPT, *map(str, words)], input=stdin, capture_output=True, env=os.environ | environment, timeout=120
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def jsonl(documents: list[dict[str, Any]]) -> bytes:
    """Serialize documents as JSONL."""
    return "".join(f"{json.dumps(document, ensure_ascii=False)}\n" for document in documents).encode()


def indexed(name: str = "notes", documents: list[dict[str, Any]] = DOCUMENTS, *options: object) -> Path:
    """Build an index of the documents in the current folder, where commands find it by default."""
    corpus = Path(f"{name}.jsonl")
    corpus.write_bytes(jsonl(documents))
    call("index", corpus, *(options or HASH)).ok()
    return Path("indexes", name)


def parse(arguments: list[str]) -> dict[str, Any]:
    """Return the parameters that the command line reads from arguments; raises what it raises for wrong ones."""
    command: Any = get_command(app)
    context = Context(command, info_name="semsearch")
    while isinstance(command, TyperGroup) and arguments:
        name, *arguments = arguments
        command = command.get_command(context, name)
        assert command, f"no command {name!r}"
        context = Context(command, info_name=name, parent=context)
    return dict(command.make_context(context.info_name, list(arguments), parent=context.parent).params)
