"""Answers to queries as JSON."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.cli import hits, terminal
from semsearch.errors import SourceError, UsageError

if TYPE_CHECKING:
    from semsearch.explain.records import Explanation
    from semsearch.index import Index
    from semsearch.types import Hit, Query

QUERIES_AT_ONCE = 512

Answer: TypeAlias = "tuple[Query, list[Hit]]"


def answer_file(index: Index, file: str, k: int, **wishes: Any) -> Iterator[Answer]:
    """The queries of a file with their hits, some hundred at a time; `wishes` are those of `search_many`.

    A pipe is read as its queries come, such as that of `--queries <(...)`.

    Raises:
        SourceError: The file is a device, which may never end.
    """
    from semsearch.corpus.readers import read_queries

    with suppress(OSError, ValueError):  # whoever reads it says why it cannot be read
        if stat.S_IFMT(Path(file).stat().st_mode) not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFSOCK):
            raise SourceError(f"{file!r} is a device; expected a file of queries, or a pipe")
    every = read_queries(file)
    while batch := list(islice(every, QUERIES_AT_ONCE)):
        yield from zip(batch, index.search_many([query.text for query in batch], k, **wishes), strict=True)


def check_context_options(
    context: bool, *, budget: int | None, neighbors: int | None, queries: str | None, fusion: str, depth: int | None
) -> None:
    """Refuse options that would have no effect.

    Raises:
        UsageError: The first of them.
    """
    if not context and (budget is not None or neighbors is not None):
        raise UsageError("--budget and --neighbors go with --context")
    if context and (queries is not None or fusion != "convex" or depth is not None):
        raise UsageError(
            "--context answers one query at a time, and goes with none of --queries, --fusion rrf and --rerank-depth"
        )


def check_explain_options(explain: bool, *, context: bool, queries: str | None) -> None:
    """Refuse `--explain` where it would have no effect; raises UsageError."""
    if explain and (context or queries is not None):
        raise UsageError(
            "--explain explains the hits of one query at a time, and goes with neither --queries, --run nor --context"
        )


@dataclass(frozen=True, slots=True)
class Form:
    """How the answers to queries of one index are printed."""

    index: Path
    as_json: bool
    context: bool
    budget: int | None
    neighbors: int | None
    explain: bool = False


def print_context(index: Index, query: str, wishes: dict[str, Any], form: Form) -> bool:
    """Print what to put into a prompt about a question; says whether there is anything."""
    given = {"budget": form.budget, "neighbors": form.neighbors, **wishes}
    context = index.context(query, **{name: value for name, value in given.items() if value is not None})
    if form.as_json:
        terminal.print_json(context.to_json())
    else:
        terminal.block(context.text)
    return bool(context)


def explain(index: Index, query: str, found: list[Hit], where: str | None, form: Form) -> Sequence[Explanation] | None:
    """Explain the hits of a query where that was asked for."""
    return index.explain(query, found, where=where) if form.explain else None


def print_hits(
    query: str, mode: str, found: list[Hit], form: Form, explained: Sequence[Explanation] | None = None
) -> bool:
    """Print the hits of a query, with their explanations where there are such; says whether there are any."""
    if form.as_json:
        terminal.print_json(as_object(query, form.index, mode, found, explained))
    else:
        hits.show(query, found, explained)
    return bool(found)


def as_object(
    query: str, index: Path, mode: str, found: list[Hit], explained: Sequence[Explanation] | None = None
) -> dict[str, Any]:
    """One answer as `--json` prints it."""
    return {"query": query, "index": str(index), "mode": mode, "hits": hits.as_json(query, found, explained)}


def write_run(answers: Iterable[Answer], file: Path, mode: str, form: Form) -> None:
    """Write a TREC run, and say how many queries are in it."""
    from semsearch.reports import trec

    scores = ((query.query_id, {hit.doc_id: hit.score for hit in hits}) for query, hits in answers)
    n = trec.write_run(file, scores)
    if form.as_json:
        terminal.print_json({"index": str(form.index), "mode": mode, "queries": n, "run": str(file)})
    else:
        terminal.say(f"wrote the answers to {n:,} queries to {file}")


def print_lines(answers: Iterable[Answer], index: Path, mode: str) -> None:
    """An object a line for each query."""
    for query, found in answers:
        terminal.print_json({"query_id": query.query_id, **as_object(query.text, index, mode, found)})
