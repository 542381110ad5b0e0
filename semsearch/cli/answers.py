"""Answers to one query or many, printed as text, as JSON or as a TREC run."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.cli import hits, terminal
from semsearch.cli.recent import Place, keep_hits, places_of
from semsearch.errors import SourceError, UsageError

if TYPE_CHECKING:
    from semsearch.cli.locations import IndexPlace
    from semsearch.explain.records import Explanation
    from semsearch.index import Index
    from semsearch.types import Hit, Query

QUERIES_AT_ONCE = 512

Answer: TypeAlias = "tuple[Query, list[Hit]]"


def answer_file(index: Index, file: str, k: int, **wishes: Any) -> Iterator[Answer]:
    """Yield the queries of a file with their hits, searching for QUERIES_AT_ONCE queries at a time.

    A pipe, such as that of `--queries <(...)`, is read as its queries arrive.

    Args:
        index: The index to search.
        file: Path of the file of queries.
        k: Number of hits per query.
        wishes: Further arguments of `Index.search_many`.

    Raises:
        SourceError: If the file is a device, which may never end.
    """
    from semsearch.corpus.readers import read_queries

    with suppress(OSError, ValueError):  # `read_queries` reports why a file cannot be read
        if stat.S_IFMT(Path(file).stat().st_mode) not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFDIR, stat.S_IFSOCK):
            raise SourceError(f"{file!r} is a device; expected a file of queries or a pipe")
    every = read_queries(file)
    while batch := list(islice(every, QUERIES_AT_ONCE)):
        yield from zip(batch, index.search_many([query.text for query in batch], k, **wishes), strict=True)


def check_context_options(
    context: bool,
    *,
    budget: int | None,
    neighbors: int | None,
    queries: str | None,
    fusion: str,
    depth: int | None,
    group: bool | None,
) -> None:
    """Check that no option of `--context` is given that would have no effect.

    Raises:
        UsageError: If there is such an option.
    """
    if not context and (budget is not None or neighbors is not None):
        raise UsageError("--budget and --neighbors require --context")
    if context and (queries is not None or fusion != "convex" or depth is not None or group is not None):
        raise UsageError(
            "--context answers one query at a time and cannot be combined with --queries, --fusion rrf, "
            "--rerank-depth, --group or --no-group"
        )


def check_explain_options(explain: bool, *, context: bool, queries: str | None) -> None:
    """Check that `--explain` would have an effect.

    Raises:
        UsageError: If it would not.
    """
    if explain and (context or queries is not None):
        raise UsageError(
            "--explain answers one query at a time and cannot be combined with --queries, --run or --context"
        )


@dataclass(frozen=True, slots=True)
class Form:
    """The format in which answers from one index are printed."""

    index: IndexPlace
    as_json: bool
    context: bool
    budget: int | None
    neighbors: int | None
    explain: bool = False


def print_context(index: Index, query: str, wishes: dict[str, Any], form: Form) -> tuple[Place, ...]:
    """Print the context of a query, to be put into a prompt; returns the places of its excerpts."""
    given = {"budget": form.budget, "neighbors": form.neighbors, **wishes}
    context = index.context(query, **{name: value for name, value in given.items() if value is not None})
    if form.as_json:
        terminal.print_json(context.to_json())
    else:
        terminal.block(context.text)
    return places_of(context.excerpts)


@dataclass(slots=True)
class Asking:
    """Answers to single queries: what is searched and how, and the hits of the last query.

    Attributes:
        index: The index to search.
        k: Number of hits.
        mode: Search mode.
        where: Filter; None for none.
        wishes: Further arguments of `Index.search` and `Index.context`.
        ranking: Further arguments of `Index.search`.
        form: How to print an answer.
        best_last: Whether to print the best hit last, nearest to the prompt, on a terminal.
        query: The last query.
        places: Where its hits are, or the excerpts of its context.
    """

    index: Index
    k: int
    mode: str
    where: str | None
    wishes: dict[str, Any]
    ranking: dict[str, Any]
    form: Form
    best_last: bool = False
    query: str = ""
    places: tuple[Place, ...] = ()

    def answer(self, query: str, *, more: bool = False) -> bool:
        """Search and print the answer; returns whether anything was found.

        Args:
            query: The query.
            more: Print only the next k hits after those of the last query, which must be the same.
        """
        wishes = {"mode": self.mode, "where": self.where, **self.wishes}
        known = len(self.places) if more else 0
        self.query = query
        if self.form.context:
            wishes["rerank"] = self.ranking["rerank"]
            self.places = print_context(self.index, query, wishes, self.form)
            keep_hits(query, self.form.index, self.places)
            return bool(self.places)
        found = self.index.search(query, known + self.k, **wishes, **self.ranking)
        self.places, new = places_of(found), found[known:]
        why = self.index.explain(query, new, where=self.where) if self.form.explain else None
        if self.form.as_json:
            terminal.print_json(as_object(query, self.form.index, self.mode, new, why))
        else:
            hits.show(query, new, why, best_last=self.best_last)
        keep_hits(query, self.form.index, self.places)
        return bool(new)


def as_object(
    query: str, index: IndexPlace, mode: str, found: list[Hit], explained: Sequence[Explanation] | None = None
) -> dict[str, Any]:
    """Return one answer as the object that `--json` prints."""
    return {"query": query, "index": str(index), "mode": mode, "hits": hits.as_json(query, found, explained)}


def write_run(answers: Iterable[Answer], file: Path, mode: str, form: Form) -> None:
    """Write a TREC run and report how many queries it contains."""
    from semsearch.reports import trec

    scores = ((query.query_id, {hit.doc_id: hit.score for hit in hits}) for query, hits in answers)
    n = trec.write_run(file, scores)
    if form.as_json:
        terminal.print_json({"index": str(form.index), "mode": mode, "queries": n, "run": str(file)})
    else:
        terminal.say(f"wrote the hits of {n:,} queries to {file}")


def print_lines(answers: Iterable[Answer], index: IndexPlace, mode: str) -> None:
    """Print the answer to each query as one line of JSON."""
    for query, found in answers:
        terminal.print_json({"query_id": query.query_id, **as_object(query.text, index, mode, found)})
