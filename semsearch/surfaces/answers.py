"""Answers to queries as JSON and as TREC run files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from semsearch.errors import SourceError, UsageError
from semsearch.surfaces import render
from semsearch.text.readers import read_queries

if TYPE_CHECKING:
    from semsearch.records import Hit, Query
    from semsearch.search import Searcher

QUERIES_AT_ONCE = 512

Answer: TypeAlias = "tuple[Query, list[Hit]]"


def answer_file(searcher: Searcher, file: str, k: int, **wishes: Any) -> Iterator[Answer]:
    """The queries of a file with their hits, some hundred at a time; `wishes` are those of `search_many`."""
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


def write_run(path: Path, answers: Iterable[Answer]) -> int:
    """Write a TREC run: query id, Q0, document id, rank, score, tag.

    A file appears when it is complete; a pipe or a device is written to as the answers come.

    Returns:
        The number of queries.
    """
    target = path.resolve()  # a link stays one
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        if target.exists() and not target.is_file():
            with target.open("w", encoding="utf-8") as file:
                return _write_lines(file, answers)
        with temporary.open("x", encoding="utf-8") as file:
            answered = _write_lines(file, answers)
        temporary.replace(target)
        return answered
    except OSError as error:
        raise SourceError(f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_lines(file: IO[str], answers: Iterable[Answer]) -> int:
    answered = 0
    for query, found in answers:
        answered += 1
        file.writelines(f"{_run_line(query, hit)}\n" for hit in found)
    return answered


def _run_line(query: Query, hit: Hit) -> str:
    ids = (query.query_id, hit.doc_id)
    if any(len(name.split()) != 1 for name in ids):
        raise UsageError(f"ids {ids} hold white space, which a TREC run cannot; leave --run out for JSON lines")
    return f"{ids[0]} Q0 {ids[1]} {hit.rank} {hit.score:.9g} semsearch"
