"""A worker process that runs cases for the fuzz tests, one after another, and may crash.

`python fuzzing.py` reads a JSON list, the name of a case and its arguments, from each line of standard input and prints
the outcome of `CASES[name](*arguments)` as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from threading import Timer
from typing import Any

SECONDS = 200
"""Time limit for one case; a case that takes longer is taken to hang."""


class Worker:
    """Client of a worker process, which is restarted after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, name: str, *arguments: Any) -> Any:
        """Return the outcome: `{"answers": ...}`, `{"error": line}`, `{"traceback": ...}` or `{"died": exit code}`."""
        if self._process is None:
            environment = os.environ | {"SEMSEARCH_RUNTIME": "torch", "HF_HUB_OFFLINE": "1"}
            command = [sys.executable, __file__]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        timer = Timer(SECONDS, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps([name, *map(str, arguments)]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line:
            return json.loads(line)
        process, self._process = self._process, None
        return {"died": process.wait()}

    def close(self) -> None:
        if self._process:
            self._process.communicate()


QUERIES = ("heron number7 water", "bread 京都")


def search(folder: str) -> dict[str, Any]:
    """Return the status of an index, its dense hits, and every passage that any search shows."""
    from semsearch import Index, WordHashEncoder

    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        status = index.status()
        about = [status[name] for name in ("documents", "passages", "origin", "chunking", "encoder")]
        dense: list[Any] = []
        shown: dict[str, Any] = {}
        for query in QUERIES:
            for mode in ("dense", "keyword", "hybrid"):
                for where in (None, "year >= 2003"):
                    hits = index.search(query, 5, mode=mode, where=where)
                    shown |= {f"{hit.doc_id} {hit.start}": [hit.title, hit.text, hit.metadata] for hit in hits}
                    if mode == "dense" and where is None:
                        dense.append([(hit.doc_id, round(hit.score, 5)) for hit in hits])
        return {"about": about, "dense": dense, "shown": shown}


def write(folder: str, corpus: str) -> dict[str, Any]:
    """Index a corpus again and return the same as `search`."""
    from semsearch import Index, WordHashEncoder

    with Index.open(folder, create=True, encoder=WordHashEncoder(64)) as index:
        index.add(corpus)
    return search(folder)


def verify(folder: str) -> list[str]:
    """Return the problems that verification finds."""
    from semsearch import Index

    return [str(problem) for problem in Index.verify(folder, sample=0).problems]


def ask(folder: str, k: str = "5") -> dict[str, Any]:
    """Return the hits of queries in every mode, with and without a filter, and some explanations, or errors."""
    from semsearch import Index, WordHashEncoder
    from semsearch.errors import StoreError

    found: dict[str, Any] = {}
    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        for query in QUERIES:
            for mode in ("dense", "keyword", "hybrid"):
                for where in (None, "year >= 2003"):
                    try:
                        hits = index.search(query, int(k), mode=mode, where=where)
                        told = [[hit.doc_id, round(hit.score, 5), hit.text, hit.title, hit.metadata] for hit in hits]
                        if mode == "keyword" and where is None:
                            told.append(repr(index.explain(query, hits)))
                    except StoreError as error:
                        told = [f"{type(error).__name__}: {error}"]
                    found[f"{mode} {query} {where}"] = told
    return found


def rebuild(folder: str) -> list[str]:
    """Rebuild an index and return the parts that could not be made anew."""
    from semsearch import Index, WordHashEncoder

    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        return index.rebuild().failed


def encode(folder: str, model: str) -> list[Any]:
    """Return the hits of an index that is opened with a checkpoint that has moved."""
    from semsearch import Index

    with Index.open(folder, model=model) as index:
        return [[(hit.doc_id, round(hit.score, 3)) for hit in index.search(query, 5)] for query in QUERIES]


CASES = {case.__name__: case for case in (search, write, verify, ask, rebuild, encode)}


def main() -> None:
    """Run the case on each line of standard input and print its outcome."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from semsearch.errors import SemsearchError

    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the outcomes
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            told: dict[str, Any] = {"answers": CASES[name](*arguments)}
        except SemsearchError as error:
            told = {"error": str(error)}
        except BaseException:
            told = {"traceback": traceback.format_exc()}
        out.write(json.dumps(told) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
