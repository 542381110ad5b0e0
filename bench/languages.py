"""Hybrid search in languages that the model does not know: nDCG@10 of finding a page by its title.

Run it with `python bench/languages.py FOLDER...`; each folder holds manual pages (`*.gz`) or HTML pages of a language,
such as those of the Debian packages manpages-zh and libreoffice-help-ko. The query is the one-line description of a
manual page or the heading of an HTML page, which is left out of the text of the page; this page is the only relevant
document. Pages in another script than most of the folder's are left out, as nobody has translated them. The English
queries of Cranfield must have the same results with and without the weights for unknown languages.
"""

from __future__ import annotations

import argparse
import gzip
import html
import re
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import ir_measures
from ir_measures import nDCG
from machine import data_folder, describe

from semsearch import Index, Query
from semsearch.corpus.readers import read_queries
from semsearch.encoder.languages import UNKNOWN, unknown_shares
from semsearch.evaluation.retrieval_data import read_qrels
from semsearch.search import find_run
from semsearch.types import Qrels

PAGES, CHARS, LEAST_CHARS = 300, 1_200, 300
"""Number of pages per language, characters of each that are indexed, and characters that a page must have."""

COLUMNS = (
    *("corpus", "documents", "queries", "median share of unknown letters in a query", "queries in an unknown language"),
    *("passages in an unknown language", "dense", "keyword", "hybrid, fixed weight", "hybrid", "rrf, fixed", "rrf"),
)

HEADING, TAGS = re.compile(r"<h1[^>]*>(.*?)</h1>", re.S), re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.S)
MACRO, SECTION, FONT = (
    re.compile(r"[.'] *([A-Za-z\"]+)"),
    re.compile(r"\. *S[Hh] "),
    re.compile(r"\\f(?:\[\w*\]|\(..|.)"),
)
SILENT = {"TH", "so", "ds", "de", "nr", "if", "ie", "el", "tr", "ne", "in", "ti", "ta", "nf", "fi", "ad", "ig"}
"""Macros whose arguments are not text."""


class Page(NamedTuple):
    """A page of a language."""

    name: str
    title: str
    text: str


class Task(NamedTuple):
    """A corpus, its queries, and their relevant documents."""

    corpus: list[dict[str, str]] | str
    queries: list[Query]
    qrels: Qrels


def manual_page(file: Path) -> Page:
    """Read a manual page; its title is the description in the first section, after the dash."""
    sections: list[list[str]] = []
    for line in gzip.decompress(file.read_bytes()).decode("utf-8", "replace").splitlines():
        macro = MACRO.match(line)
        if SECTION.match(line):
            sections.append([])
        elif sections and not line.startswith(('.\\"', "'\\\"")) and not (macro and macro[1] in SILENT):
            plain = FONT.sub("", line[macro.end() :] if macro else line)
            sections[-1].append(re.sub(r"\\(?:\(..|\[\w*\]|[&|e ])", "", plain.replace("\\-", "-")).strip('" '))
    first, *others = [" ".join(lines) for lines in sections] or [""]
    return Page(file.name, " ".join(re.split(r"\s[-–—]+\s", first, maxsplit=1)[1:]), " ".join(others))


def html_page(file: Path) -> Page:
    """Read an HTML page; its title is its heading."""
    source = file.read_text("utf-8", "replace")
    heading = HEADING.search(source)
    if not heading:
        return Page(str(file), "", "")
    title, text = (" ".join(html.unescape(TAGS.sub(" ", x)).split()) for x in (heading[1], source[heading.end() :]))
    return Page(str(file), title, text)


def pages_of(folder: Path) -> Iterator[Page]:
    """Yield the pages of a folder that have a title of their own and enough text."""
    seen = set[str]()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".gz", ".html") and file.is_file() and not file.is_symlink():
            page = manual_page(file) if file.suffix == ".gz" else html_page(file)
            if len(page.title) > 3 and len(page.text) >= LEAST_CHARS and page.title not in seen:
                seen.add(page.title)
                yield page


def is_foreign(text: str) -> bool:
    """Return whether a text has several letters beyond the Latin ones."""
    return sum(letter.isalpha() and letter > "\u036f" for letter in text) > 1


def task_of(folder: Path) -> Task:
    """Make a task from pages; each query is the title of a page, and only this page is relevant."""
    pages = list(pages_of(folder))
    foreign = statistics.mean(is_foreign(page.text[:CHARS]) for page in pages) > 0.5
    pages = [one for one in pages if is_foreign(one.title) == is_foreign(one.text[:CHARS]) == foreign]
    drawn = Random(0).sample(pages, min(PAGES, len(pages)))
    corpus = [{"_id": str(n), "text": page.text[:CHARS]} for n, page in enumerate(drawn)]
    queries = [Query(str(n), page.title) for n, page in enumerate(drawn)]
    return Task(corpus, queries, {query.query_id: {query.query_id: 1} for query in queries})


def row(name: str, task: Task) -> str:
    """Search with every query in every mode, and return a row of the table."""
    with tempfile.TemporaryDirectory() as folder, Index.open(folder, create=True) as index:
        index.add(task.corpus)
        texts = [query.text for query in task.queries]
        vectors, shares = index.encoder.encode_queries(texts), unknown_shares(index.encoder.tokenizer, texts)

        def score(mode: str, unknown: list[float] | None, fusion: str = "convex") -> str:
            run = find_run(index._store, task.queries, vectors, mode=mode, fusion=fusion, unknown=unknown)
            return f"{ir_measures.calc_aggregate([nDCG @ 10], task.qrels, run)[nDCG @ 10]:.4f}"

        blind = sum(share >= UNKNOWN for share in shares) / len(shares)
        passages = index.status()["unknown_language"]
        cells = [name, len(index), len(texts), f"{statistics.median(shares):.2f}", f"{blind:.0%}", f"{passages:.0%}"]
        cells += [score("dense", None), score("keyword", None), score("hybrid", None), score("hybrid", shares)]
        cells += [score("hybrid", None, "rrf"), score("hybrid", shares, "rrf")]
    return f"| {' | '.join(map(str, cells))} |"


def judged(folder: Path) -> Task:
    """Read a corpus in BEIR's layout."""
    qrels = read_qrels(next((folder / "qrels").glob("*.tsv")))
    queries = [query for query in read_queries(str(folder / "queries.jsonl")) if query.query_id in qrels]
    return Task(str(folder / "corpus.jsonl"), queries, qrels)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="Folders of pages, one a language.")
    folders = parser.parse_args().folders
    print(f"{describe()}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for corpus in (data_folder() / "cranfield", Path(__file__).parents[1] / "corpora" / "sample"):
        print(row(corpus.name, judged(corpus)), flush=True)
    for folder in folders:
        print(row(str(folder), task_of(folder)), flush=True)


if __name__ == "__main__":
    main()
