"""Answers to queries as JSON and as TREC run files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from semsearch.errors import SourceError, UsageError
from semsearch.surfaces import render

if TYPE_CHECKING:
    from semsearch.records import Hit, Query, Run
    from semsearch.search import Searcher

QUERIES_AT_ONCE = 512

Answer: TypeAlias = "tuple[Query, list[Hit]]"


def answer_file(searcher: Searcher, file: str, k: int, **wishes: Any) -> Iterator[Answer]:
    """The queries of a file with their hits, some hundred at a time; `wishes` are those of `search_many`."""
    from semsearch.corpus.readers import read_queries

    every = read_queries(file)
    while batch := list(islice(every, QUERIES_AT_ONCE)):
        yield from zip(batch, searcher.search_many([query.text for query in batch], k, **wishes), strict=True)


def as_object(query: str, index: Path, mode: str, found: list[Hit]) -> dict[str, Any]:
    """One answer as `--json` prints it."""
    return {"query": query, "index": str(index), "mode": mode, "hits": [asdict(hit) for hit in found]}


def print_lines(answers: Iterable[Answer], index: Path, mode: str) -> None:
    """An object a line for each query."""
    for query, found in answers:
        render.print_json({"query_id": query.query_id, **as_object(query.text, index, mode, found)})


def write_run(path: Path, answers: Iterable[tuple[str, Mapping[str, float]]]) -> int:
    """Write a TREC run: query id, Q0, document id, rank, score, tag.

    Args:
        path: A file appears when it is complete; a pipe or a device is written to as the answers come.
        answers: Query ids with the scores of their documents, best first.

    Returns:
        The number of queries.
    """
    answered = 0
    with writing(path) as file:
        for query_id, scores in answers:
            answered += 1
            ranked = enumerate(scores.items(), 1)
            file.writelines(_run_line(query_id, doc_id, rank, score) for rank, (doc_id, score) in ranked)
    return answered


def write_runs(folder: Path, runs: Iterable[tuple[str, Run]]) -> None:
    """Write the run of each row into a folder, named after the row: `mean, hybrid` as mean-hybrid.run."""
    for label, run in runs:
        write_run(folder / f"{re.sub(r'[^0-9A-Za-z+_-]+', '-', label)}.run", run.items())


def make_folder(folder: Path) -> None:
    """Make a folder to write into, unless it is there.

    Raises:
        SourceError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot write {str(folder)!r}: {error.strerror}") from None


@contextmanager
def writing(path: Path) -> Iterator[IO[str]]:
    """A text file that appears when it is complete; a pipe or a device is written to as it goes.

    Raises:
        SourceError: It cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        direct = target.exists() and not target.is_file()
        with (target if direct else temporary).open("w" if direct else "x", encoding="utf-8") as file:
            yield file
        if not direct:
            temporary.replace(target)
    except OSError as error:
        raise SourceError(f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _run_line(query_id: str, doc_id: str, rank: int, score: float) -> str:
    if any(len(name.split()) != 1 for name in (query_id, doc_id)):
        raise UsageError(
            f"ids {(query_id, doc_id)} hold white space, which a TREC run cannot; leave --run out for JSON lines, and "
            "--run-dir for the table alone"
        )
    return f"{query_id} Q0 {doc_id} {rank} {score!r} semsearch\n"
