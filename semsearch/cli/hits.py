"""Printing of hits: tab-separated lines in a pipe; on a terminal, several lines per hit with highlighted matches."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from semsearch.cli import terminal
from semsearch.cli.terminal import MATCH
from semsearch.confidence import DEFAULT
from semsearch.layout import headed
from semsearch.printable import one_line
from semsearch.snippets import Snippet, make_snippets

if TYPE_CHECKING:
    from rich.text import Text

    from semsearch.explain.records import Dense, Explanation, Keyword, TokenShare
    from semsearch.types import Hit

WIDTH = 110
"""Maximum width of a snippet, in columns."""

INDENT = 5

LINES = 8
"""Maximum number of lines of a snippet, before the terminal wraps them."""

SIMILAR = 10
"""Maximum number of similar documents that a hit on a terminal names."""

NAMED = 8
"""Maximum number of words, and of terms, that an explanation names."""

LEAST = 0.0005
"""Smallest contribution to a dense score for which a word is named."""


def as_json(query: str, found: Sequence[Hit], explained: Sequence[Explanation] | None = None) -> list[dict[str, Any]]:
    """Return hits as `--json` prints them: the fields of `Hit`, `page`, `snippet`, and `explanation` if requested."""
    snippets = _snippets(query, found, explained)
    shown = [
        {**asdict(hit), "page": hit.page, "snippet": snippet.to_json()}
        for hit, snippet in zip(found, snippets, strict=True)
    ]
    for hit, why in zip(shown, explained or (), strict=False):
        hit["explanation"] = {name: value for name, value in why.to_json().items() if name != "snippet"}
    return shown


def show(
    query: str, found: Sequence[Hit], explained: Sequence[Explanation] | None = None, *, best_last: bool = False
) -> None:
    """Print the hits of one query, each with the best part of its passage and, if given, its explanation.

    Args:
        query: The query.
        found: Its hits, best first.
        explained: Their explanations.
        best_last: Begin with the last hit on a terminal, so that the best one is next to the prompt.
    """
    snippets = _snippets(query, found, explained)
    if not sys.stdout.isatty():
        columns = ("rank", "score", "doc_id", "title", "text", *(("why",) if explained is not None else ()), "similar")
        why = [("; ".join(_reasons(one)),) for one in explained] if explained is not None else [()] * len(found)
        last = [(*reasons, ", ".join(hit.similar)) for hit, reasons in zip(found, why, strict=True)]
        rows = (
            (hit.rank, f"{hit.score:.4f}", hit.doc_id, named, _on_one_line(hit, snippet), *more)
            for hit, snippet, more in zip(found, snippets, last, strict=True)
            for named in (headed(hit.title, hit.section),)
        )
        terminal.table(columns, list(rows))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    order = range(len(found))
    for number in reversed(order) if best_last else order:
        hit, snippet = found[number], snippets[number]
        sure = "" if hit.confidence is None else f"{hit.confidence:4.0%}  "
        head = Text.assemble((f"{hit.rank:>3}  {hit.score:.3f}  {sure}", "cyan"))
        page = f", page {hit.page}" if hit.page else ""
        doc_id, title = one_line(hit.doc_id), one_line(headed(hit.title, hit.section))
        console.print(head.append(title or doc_id, style="bold").append(f"  {doc_id}{page}", style="dim"))
        reasons = _reasons(explained[number]) if explained else ()
        below = [*([_more_like(hit)] if hit.similar else []), *reasons]
        for line in (*_styled(hit, snippet), *(Text(one_line(note), "dim") for note in below)):
            for row in line.wrap(console, max(min(console.width, WIDTH) - INDENT, 1)):
                row.rstrip()
                console.print(Text(" " * INDENT).append_text(row))
    if not found:
        console.print("  nothing found", style="dim")
    elif all(hit.confidence is not None and hit.confidence < DEFAULT for hit in found):
        console.print("  low confidence in every hit: the index may hold no answer to this query", style="dim")


def _snippets(query: str, found: Sequence[Hit], explained: Sequence[Explanation] | None) -> list[Snippet]:
    return [one.snippet for one in explained] if explained is not None else make_snippets(query, found)


def _more_like(hit: Hit) -> str:
    more = len(hit.similar) - SIMILAR
    return f"and {len(hit.similar)} more like it: {', '.join(hit.similar[:SIMILAR])}{', …' if more > 0 else ''}"


def _on_one_line(hit: Hit, snippet: Snippet) -> str:
    text = " ".join(one_line(snippet.text).split())
    return f"{'…' if _before(hit, snippet) else ''}{text}{'…' if _behind(hit, snippet) else ''}"


def _before(hit: Hit, snippet: Snippet) -> bool:
    return bool(hit.text[: snippet.start].strip())


def _behind(hit: Hit, snippet: Snippet) -> bool:
    return bool(hit.text[snippet.end :].strip())


def _styled(hit: Hit, snippet: Snippet) -> list[Text]:
    """Return at most LINES lines of a snippet, broken as in the passage, with the matches highlighted."""
    from rich.text import Text

    lines = [line for line in _lines(snippet) if any(text.strip() for text, _ in line)]
    first = next((n for n, line in enumerate(lines) if any(matches for _, matches in line)), 0)
    start = max(0, min(first - 2, len(lines) - LINES))
    styled = []
    for line in lines[start : start + LINES]:
        text = Text(tab_size=4)
        for part, matches in line:
            text.append(one_line(part.expandtabs(4)), MATCH if matches else "")
        styled.append(text)
    if styled and (start or _before(hit, snippet)):
        styled[0] = Text("…").append_text(styled[0])
    if styled and (start + LINES < len(lines) or _behind(hit, snippet)):
        styled[-1].append("…")
    return styled


def _lines(snippet: Snippet) -> Iterator[list[tuple[str, bool]]]:
    """Yield each line as a list of parts, each with whether it is a match."""
    cuts = [0, *(place for span in snippet.highlights for place in span), len(snippet.text)]
    line: list[tuple[str, bool]] = []
    for number, (start, end) in enumerate(pairwise(cuts)):
        first, *more = snippet.text[start:end].split("\n")
        line.append((first, number % 2 == 1))
        for text in more:
            yield line
            line = [(text, number % 2 == 1)]
    yield line


def _reasons(why: Explanation) -> Iterator[str]:
    """Yield an explanation line by line."""
    if why.dense and why.keyword:
        yield f"{why.score:.4f} {why.kind} = {why.dense.share:.4f} by meaning + {why.keyword.share:.4f} by words"
    if why.dense:
        yield f"meaning: {'; '.join(_meaning(why.dense))}"
    if why.keyword:
        yield f"words: {'; '.join(_words(why.keyword, why))}"
    if why.note:
        yield why.note


def _meaning(dense: Dense) -> Iterator[str]:
    if dense.score is not None:
        scale = f", baseline {dense.zero:.4f}" if dense.zero else ""
        yield f"{dense.similarity} {dense.score:.4f}{_rank(dense.rank)}{scale}"
    if dense.tokens:
        named, rest = _named_words(dense.tokens)
        named += [f"{rest[0]} more {rest[1]:+.3f}"] if rest[0] else []
        named += [f"{name} {share:+.3f}" for name, share in (dense.offsets or {}).items()]
        named += [f"rounding {dense.rounding:+.4f}"] if abs(dense.rounding) >= LEAST / 10 else []
        yield ", ".join(named)
    if dense.n_lost:
        yield f"{dense.n_lost:,} tokens past the encoder's limit were ignored"
    if dense.note:
        yield dense.note


def _named_words(tokens: Sequence[TokenShare]) -> tuple[list[str], tuple[int, float]]:
    """Format the words with the largest contributions; returns these, and the number and the sum of the others."""
    from semsearch.explain.records import whole_words

    shares: defaultdict[str, list[float]] = defaultdict(list)
    for word in whole_words(tokens):
        name = {"title": f"{word.token} (title)", "prefix": "prefix"}.get(word.part, word.token)
        shares[name.lower() if word.part == "text" else name].append(word.contribution)
    best = sorted(shares, key=lambda name: (not any(map(str.isalnum, name)), -max(map(abs, shares[name]))))
    times = {name: f" ×{len(each)}" if len(each) > 1 else "" for name, each in shares.items()}
    worth = [name for name in best[:NAMED] if abs(sum(shares[name])) >= LEAST]
    named = [f"{name}{times[name]} {sum(shares[name]):+.3f}" for name in worth]
    others = [share for name, each in shares.items() if name not in worth for share in each]
    return named, (len(shares) - len(worth), sum(others))


def _words(keyword: Keyword, why: Explanation) -> Iterator[str]:
    if keyword.score is not None:
        most = f", maximum {keyword.one:.2f}" if keyword.one != 1 else ""
        yield f"BM25 {keyword.score:.2f}{_rank(keyword.rank)}{most}"
    if keyword.terms:
        terms = [f"{term.term}{' (exact)' if term.exact else ''} {term.score:.2f}" for term in keyword.terms]
        more = len(terms) - NAMED
        rest = sum(term.score for term in keyword.terms[NAMED:])
        yield ", ".join([*terms[:NAMED], *([f"{more} more {rest:.2f}"] if more > 0 else [])])
        if (keyword.start, keyword.end) != (why.start, why.end):
            yield f"in another passage, characters {keyword.start} to {keyword.end}"
    if keyword.note:
        yield keyword.note


def _rank(rank: int | None) -> str:
    return "" if rank is None else f", rank {rank}"
