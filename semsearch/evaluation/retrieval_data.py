"""Retrieval data in BEIR's layout: a corpus with queries and judgments.

<folder>/corpus.jsonl          documents
<folder>/queries.jsonl         _id and text
<folder>/qrels/<split>.tsv     query-id, corpus-id, score: an integer gain, 0 for judged but not relevant

Each file may be gzipped, with .gz appended to its name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semsearch.corpus.gzipped import GZIPPED, UNREADABLE, open_bytes, plain_or_gzipped
from semsearch.corpus.readers import ReadOptions, read_corpus, read_queries
from semsearch.errors import RecordError, SourceError
from semsearch.paths import as_path
from semsearch.types import Document, Qrels, Query

COLUMNS = ("query-id", "corpus-id", "score")

MAX_GAIN = 10_000
"""Limit for gains, because trec_eval allocates memory for each gain up to the highest: 8 GB for a gain of a billion."""

DEFAULTS = ReadOptions()


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """Queries with judgments over a corpus, which is read on demand.

    Attributes:
        name: Name of the folder.
        corpus: Path of the file to read documents from.
        queries: Queries that have judgments, in the order of the file.
        qrels: Judgments of these queries.
        unjudged: Number of queries without judgments, which are skipped.
        unknown_queries: Ids of queries that have judgments but no text, which are left out.
        options: How to read the corpus.
        skip_bad: Whether to skip bad records.
    """

    name: str
    corpus: Path
    queries: tuple[Query, ...]
    qrels: Qrels
    unjudged: int = 0
    unknown_queries: tuple[str, ...] = ()
    options: ReadOptions = DEFAULTS
    skip_bad: bool = False

    def documents(self) -> Iterator[Document]:
        """Yield the documents of the corpus; raise RecordError at the first bad record unless these are skipped."""
        for record in read_corpus([str(self.corpus)], self.options):
            if not isinstance(record, RecordError):
                yield record
            elif not self.skip_bad:
                raise record


def load_retrieval(
    folder: str | Path, split: str = "test", options: ReadOptions = DEFAULTS, *, skip_bad: bool = False
) -> RetrievalTask:
    """Load the queries and judgments of a folder in BEIR's layout; its corpus is read later.

    Args:
        folder: Folder with corpus.jsonl, queries.jsonl and qrels/.
        split: Name of the split: judgments are read from qrels/SPLIT.tsv.
        options: How to read the corpus.
        skip_bad: Whether to skip bad records of the corpus.

    Raises:
        UsageError: If `folder` is not a path.
        SourceError: If a file is missing or cannot be read, or no query has judgments.
        RecordError: If a line of the queries or the judgments is malformed.
    """
    folder = as_path(folder, "folder")
    names = ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv")
    files = {name: plain_or_gzipped(folder / name) for name in names}
    for name, path in files.items():
        if not path.is_file():
            others = ", ".join(splits_of(folder))
            found = f" (available splits: {others})" if name.startswith("qrels") and others else ""
            raise SourceError(f"no {path}{found}; expected BEIR's layout: {', '.join(names)}, each optionally with .gz")
    every = read_qrels(files[f"qrels/{split}.tsv"])
    queries = list(read_queries(str(files["queries.jsonl"])))
    judged = tuple(query for query in queries if query.query_id in every)
    if not judged:
        raise SourceError(f"no query in {files['queries.jsonl']} has judgments in {files[f'qrels/{split}.tsv']}")
    qrels = {query.query_id: every[query.query_id] for query in judged}
    unknown = tuple(sorted(every.keys() - qrels.keys()))
    name = folder.resolve().name
    n_unjudged = len(queries) - len(judged)
    return RetrievalTask(name, files["corpus.jsonl"], judged, qrels, n_unjudged, unknown, options, skip_bad)


def holds_queries(folder: Path) -> bool:
    """Return whether a folder has queries, and judgments of at least one split."""
    return plain_or_gzipped(folder / "queries.jsonl").is_file() and bool(splits_of(folder))


def splits_of(folder: Path) -> list[str]:
    """Return the sorted names of the splits that a folder has judgments for."""
    files = ((folder / "qrels").glob(f"*.tsv{ending}") for ending in ("", GZIPPED))
    return sorted({file.name.removesuffix(GZIPPED).removesuffix(".tsv") for some in files for file in some})


def read_qrels(path: str | Path) -> Qrels:
    """Read judgments from a tab-separated file with a header; if a pair is judged twice, the last one counts."""
    path = as_path(path)
    qrels: Qrels = {}
    try:
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as file:  # type: ignore[type-var]
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise RecordError(str(path), 1, f"the header lacks {', '.join(missing)}; expected {', '.join(COLUMNS)}")
            for row in reader:
                query_id, doc_id, gain = (row[name] for name in COLUMNS)
                if not query_id or not doc_id:
                    raise RecordError(str(path), reader.line_num, f"expected {', '.join(COLUMNS)}")
                try:
                    qrels.setdefault(query_id, {})[doc_id] = _gain(gain)
                except (TypeError, ValueError):
                    reason = f"the score is {gain!r:.40}; expected a whole number up to {MAX_GAIN:,}"
                    raise RecordError(str(path), reader.line_num, reason) from None
    except csv.Error as error:
        raise RecordError(str(path), reader.reader.line_num, f"{error}; expected {', '.join(COLUMNS)}") from None
    except UNREADABLE as error:
        raise SourceError(f"{path} cannot be read: {error}") from None
    return qrels


def _gain(score: str) -> int:
    gain = int(score)
    if abs(gain) > MAX_GAIN:
        raise ValueError
    return gain
