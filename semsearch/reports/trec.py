"""Runs as TREC writes them: query id, Q0, document id, rank, score, tag."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from semsearch.errors import UsageError
from semsearch.files import writing
from semsearch.types import Run


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


def _run_line(query_id: str, doc_id: str, rank: int, score: float) -> str:
    if any(len(name.split()) != 1 for name in (query_id, doc_id)):
        raise UsageError(
            f"ids {(query_id, doc_id)} hold white space, which a TREC run cannot; leave --run out for JSON lines, and "
            "--run-dir for the table alone"
        )
    return f"{query_id} Q0 {doc_id} {rank} {score!r} semsearch\n"
