"""Small data sets in the layouts that evaluation reads: scored pairs, SentEval folders and BEIR folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from command import jsonl

SCORED = [
    ("a heron waits in the reeds", "a bird stands in the water", 4.0),
    ("a heron", "an egret", 5.0),
    ("a heron", "a loaf of bread", 0.5),
    ("the oven is hot", "the kitchen is warm", 3.2),
    ("bread", "the wing of a plane", 0.0),
    ("lift and drag", "drag and lift", 4.8),
    ("shock waves", "a boundary layer", 2.0),
    ("flour, water and salt", "bread", 3.0),
]

TOPICS = "heron bread kettle glacier violin harbour orchard lantern".split()

DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": f"d{number}",
        "title": f"About the {topic}",
        "text": f"Every {topic} of number {number} has stood here for a hundred years or more. "
        f"People from the town come by to look at it on {number + 2} days of the week. "
        f"Nobody remembers who brought the old thing along in the winter of 19{number}0. "
        f"It was last seen beside {TOPICS[number - 1]} and {TOPICS[number - 3]} on a photograph.",
    }
    for number, topic in enumerate(TOPICS)
]

QUERIES = [{"_id": f"q{number}", "text": f"who brought a {topic} here"} for number, topic in enumerate(TOPICS[:6])]

QRELS = [("q0", "d0", 2), ("q0", "d1", 1), ("q1", "d1", 1), ("q2", "d2", 1), ("q3", "d4", 1), ("q4", "d3", 0)]
"""Judgments in which q5 does not occur and q4 has no relevant document."""


def beir(
    name: str,
    documents: Sequence[dict[str, Any]] = DOCUMENTS,
    qrels: Sequence[tuple[str, str, int]] = QRELS,
    split: str = "test",
) -> Path:
    """Write a folder in BEIR's layout."""
    folder = Path(name)
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes(jsonl([*documents]))
    (folder / "queries.jsonl").write_bytes(jsonl(QUERIES))
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{doc}\t{gain}" for query, doc, gain in qrels)]
    (folder / f"qrels/{split}.tsv").write_text("\n".join(lines))
    return folder


def write_pairs(path: str, pairs: Sequence[tuple[str, str, float]] = SCORED) -> None:
    lines = ["sentence1\tsentence2\tscore", *("\t".join(map(str, pair)) for pair in pairs)]
    Path(path).write_text("\n".join(lines) + "\n")


def two_tasks() -> None:
    """Write two tasks in SentEval's layout; all pairs of the second one have the same score."""
    lines = [f"genre\tfile\tyear\t{n}\t{score}\t{one}\t{two}" for n, (one, two, score) in enumerate(SCORED)]
    Path("STS/STSBenchmark").mkdir(parents=True)
    Path("STS/STSBenchmark/sts-dev.csv").write_text("\n".join(lines) + "\n")
    Path("SICK").mkdir()
    head = "pair_ID\tsentence_A\tsentence_B\trelatedness_score"
    Path("SICK/SICK_trial.txt").write_text(f"{head}\n1\ta\tb\t3\n2\tc\td\t3\n")
