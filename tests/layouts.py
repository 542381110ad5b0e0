"""Small data sets in the layouts that evaluation reads: scored pairs, labels, SentEval folders and BEIR folders."""

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


BIRDS = "heron egret wren robin gull tern finch crane".split()
LOAVES = "bread rye bun bagel roll loaf crust dough".split()

LABELED = [
    *((f"the {bird} {does}", "bird") for bird in BIRDS for does in ("waits in the reeds", "flies off")),
    *((f"the {loaf} {does}", "bread") for loaf in LOAVES for does in ("is in the oven", "has cooled")),
]
"""Texts of two topics, 16 each."""


def write_labeled(path: str, examples: Sequence[tuple[str, str]] = LABELED) -> None:
    lines = ["text\tlabel", *("\t".join(example) for example in examples)]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_lines(path: Path, *lines: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


def transfer_tasks(name: str = "downstream") -> Path:
    """Write each of SentEval's transfer tasks in its layout, with texts about birds and bread."""
    folder = Path(name)
    birds, loaves = ([text for text, label in LABELED if label == one] for one in ("bird", "bread"))
    for first, second in (
        ("MR/rt-polarity.pos", "MR/rt-polarity.neg"),
        ("CR/custrev.pos", "CR/custrev.neg"),
        ("SUBJ/subj.objective", "SUBJ/subj.subjective"),
        ("MPQA/mpqa.pos", "MPQA/mpqa.neg"),
    ):
        write_lines(folder / first, *birds)
        write_lines(folder / second, *loaves)
    parts = {"train": slice(0, 8), "dev": slice(8, 12), "test": slice(12, 16)}
    for part, some in parts.items():
        each = [(text, label) for label, texts in enumerate((birds, loaves)) for text in texts[some]]
        write_lines(folder / f"SST/binary/sentiment-{part}", *(f"{text}\t{label}" for text, label in each))
        write_lines(folder / f"SST/fine/sentiment-{part}", *(f"{4 * label} {text}" for text, label in each))
    for file, some in (("train_5500", slice(0, 12)), ("TREC_10", slice(12, 16))):
        lines = [
            f"{label} {text} ?" for label, texts in (("HUM:ind", birds), ("NUM:date", loaves)) for text in texts[some]
        ]
        write_lines(folder / f"TREC/{file}.label", *lines)
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    for part, some in (("train", slice(0, 12)), ("test", slice(12, 16))):
        same = [f"1\t7\t8\t{text}\tyes, {text}" for text in (birds[some] + loaves[some])]
        other = [f"0\t7\t8\t{one}\t{two}" for one, two in zip(birds[some], loaves[some], strict=True)]
        write_lines(folder / f"MRPC/msr_paraphrase_{part}.txt", f"\ufeff{header}", *same, *other)
    return folder
