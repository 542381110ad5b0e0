"""Answers to queries as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.cli import terminal

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.types import Hit, Query

QUERIES_AT_ONCE = 512

Answer: TypeAlias = "tuple[Query, list[Hit]]"


def answer_file(index: Index, file: str, k: int, **wishes: Any) -> Iterator[Answer]:
    """The queries of a file with their hits, some hundred at a time; `wishes` are those of `search_many`."""
    from semsearch.corpus.readers import read_queries

    every = read_queries(file)
    while batch := list(islice(every, QUERIES_AT_ONCE)):
        yield from zip(batch, index.search_many([query.text for query in batch], k, **wishes), strict=True)


def as_object(query: str, index: Path, mode: str, found: list[Hit]) -> dict[str, Any]:
    """One answer as `--json` prints it."""
    return {"query": query, "index": str(index), "mode": mode, "hits": [asdict(hit) for hit in found]}


def print_lines(answers: Iterable[Answer], index: Path, mode: str) -> None:
    """An object a line for each query."""
    for query, found in answers:
        terminal.print_json({"query_id": query.query_id, **as_object(query.text, index, mode, found)})
