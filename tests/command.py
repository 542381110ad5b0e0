"""The command line as tests call it: `call` in this process, which is fast, and `run`, the installed command."""

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

from semsearch.cli.main import main

SCRIPT = shutil.which("semsearch", path=str(Path(sys.executable).parent)) or "semsearch"

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "a", "title": "Heron", "text": "The heron waits by the water.", "metadata": {"year": 2020, "lang": "en"}},
    {"_id": "b", "title": "Bread", "text": "Flour, water and salt.", "year": 2010, "lang": "en"},
    {"_id": "c", "title": "咖啡", "text": "水要热。", "year": 2021, "lang": "zh"},
    {"_id": "d", "title": "Kettle", "text": "Fill it, then wait.", "year": 2022, "lang": "en"},
]
"""Small enough for answers by hand: `water` is one of five words of b, and one of a's, whose counts are 2 2 1 1 1."""

HASH = ("--model", "hash:4096")
"""An encoder of words without a model, wide enough that no two words of DOCUMENTS fall together."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one line of standard output as a value."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def rows(self) -> list[list[str]]:
        """Tab-separated standard output, its header included."""
        return [line.split("\t") for line in self.out.removesuffix("\n").split("\n")]

    def ok(self) -> Outcome:
        """Itself, after a check that nothing went wrong."""
        assert (self.code, self.err) == (0, "")
        return self

    def fails(self, code: int, *parts: str) -> None:
        """One line of error that holds all parts, nothing else, and the exit code."""
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.count("\n") == 1
        assert self.code == code
        for part in parts:
            assert part in self.err


def call(*words: object) -> Outcome:
    """Run `semsearch WORDS` in this process, piped; an exception that gets out is what a traceback would be."""
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
    """Run the installed command in a process of its own, piped."""
    done = subprocess.run(
        [SCRIPT, *map(str, words)], input=stdin, capture_output=True, env=os.environ | environment, timeout=120
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def jsonl(documents: list[dict[str, Any]]) -> bytes:
    """Documents as a JSONL file has them."""
    return "".join(f"{json.dumps(document, ensure_ascii=False)}\n" for document in documents).encode()


def indexed(name: str = "notes", documents: list[dict[str, Any]] = DOCUMENTS, *options: object) -> Path:
    """An index of the documents below the current folder, where commands find it by themselves."""
    corpus = Path(f"{name}.jsonl")
    corpus.write_bytes(jsonl(documents))
    call("index", corpus, *(options or HASH)).ok()
    return Path("indexes", name)
