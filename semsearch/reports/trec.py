"""Writing runs in TREC format: query id, Q0, document id, rank, score, tag."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from semsearch.errors import UsageError
from semsearch.files import writing
from semsearch.paths import as_path
from semsearch.printable import CONTROLS
from semsearch.types import Run


def write_run(path: str | Path, answers: Iterable[tuple[str, Mapping[str, float]]]) -> int:
    """Write a TREC run: query id, Q0, document id, rank, score, tag.

    Args:
        path: Path of the output; a file appears once it is complete, while a pipe or device is written to query by
            query.
        answers: Query ids with the scores of their documents, best first.

    Returns:
        The number of queries.

    Raises:
        UsageError: If the format cannot represent an id, or `path` is not a path.
        SourceError: If the file cannot be written.
    """
    answered = 0
    with writing(as_path(path)) as file:
        for query_id, scores in answers:
            answered += 1
            ranked = enumerate(scores.items(), 1)
            file.writelines(_run_line(query_id, doc_id, rank, score) for rank, (doc_id, score) in ranked)
    return answered


def write_runs(folder: str | Path, runs: Iterable[tuple[str, Run]]) -> None:
    """Write the run of each row to a folder, as a file named after the row: mean-hybrid.run for `mean, hybrid`.

    Raises:
        UsageError, SourceError: Under the same conditions as in `write_run`.
    """
    folder = as_path(folder, "folder")
    for label, run in runs:
        write_run(folder / f"{re.sub(r'[^0-9A-Za-z+_-]+', '-', label)}.run", run.items())


def _run_line(query_id: str, doc_id: str, rank: int, score: float) -> str:
    if any(len(name.split()) != 1 or not {*map(ord, name)}.isdisjoint(CONTROLS) for name in (query_id, doc_id)):
        raise UsageError(
            f"one of the ids {(query_id, doc_id)} is empty or contains white space or control characters, which a TREC "
            "run cannot represent; omit `run` to get JSON lines, or `run_dir` to get only the table"
        )
    return f"{query_id} Q0 {doc_id} {rank} {score!r} semsearch\n"
