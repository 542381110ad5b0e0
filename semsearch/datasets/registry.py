"""The registry of public evaluation data sets: where they are published, and how their files are converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from semsearch.datasets.layouts import copy, write_benchmark, write_pairs, write_qrels, write_year
from semsearch.errors import UsageError

Writer: TypeAlias = Callable[[Path, Path], None]
"""Converts a downloaded file (first path) into a file or folder of the layout (second path)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a repository, and how it is converted.

    Attributes:
        repo: A dataset repository on the hub.
        revision: The commit to fetch unless a lock names another; MAIN for the newest.
        stem: Path of the file in the repository, without its ending.
        endings: Supported endings, in order of preference.
        target: Path that `write` creates, relative to the data set's folder.
        write: Function that converts the file.
        required: Whether the data set is incomplete without it.
    """

    repo: str
    revision: str
    stem: str
    endings: tuple[str, ...]
    target: str
    write: Writer
    required: bool = True


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set that can be fetched.

    Attributes:
        name: Name of the data set and of its folder.
        about: One-line description.
        parts: The files that it consists of.
        command: Arguments of `semsearch` that evaluate on it; `{folder}` stands for its folder.
        note: Caveat about the numbers; empty if there is none.
    """

    name: str
    about: str
    parts: tuple[Part, ...]
    command: tuple[str, ...]
    note: str = ""

    @property
    def revisions(self) -> dict[str, str]:
        """The pinned commit of each repository."""
        return {part.repo: part.revision for part in self.parts}


def find_set(name: str) -> DataSet:
    """Look up a data set by name.

    Raises:
        UsageError: If the name is unknown.
    """
    if not isinstance(name, str) or name not in SETS:
        raise UsageError(f"unknown data set {name!r:.60}; expected one of {', '.join(SETS)}")
    return SETS[name]


JSONL = (".jsonl", ".jsonl.gz")
TSV = (".tsv", ".tsv.gz")


def _retrieval(name: str, revision: str, about: str) -> DataSet:
    repo = f"mteb/{name}"
    texts = [Part(repo, revision, stem, JSONL, f"{stem}.jsonl", copy) for stem in ("corpus", "queries")]
    judged = [
        Part(repo, revision, f"qrels/{split}", TSV + JSONL, f"qrels/{split}.tsv", write_qrels, split == "test")
        for split in ("train", "dev", "test")
    ]
    return DataSet(name, about, (*texts, *judged), ("eval", "retrieval", "--data", "{folder}"))


def _sts(years: Mapping[str, str], benchmark: str) -> DataSet:
    parts = [
        Part(f"mteb/{year.lower()}-sts", revision, "test", JSONL, f"STS/{year}-en-test", write_year)
        for year, revision in years.items()
    ]
    parts += [
        Part("mteb/stsbenchmark-sts", benchmark, split, JSONL, f"STS/STSBenchmark/sts-{ours}.csv", write_benchmark)
        for split, ours in (("train", "train"), ("validation", "dev"), ("test", "test"))
    ]
    tasks = ",".join((*years, "STS-B"))
    return DataSet(
        "sts",
        "semantic textual similarity: STS12 to STS16 and STS-B, 13,923 scored pairs in their test sets",
        tuple(parts),
        ("eval", "sts", "--data", "{folder}", "--tasks", tasks),
        "MTEB does not say which subset each pair belongs to, so each year is a single subset, `all`",
    )


def _sick(revision: str) -> DataSet:
    return DataSet(
        "sick",
        "semantic relatedness: SICK-R, 9,927 scored pairs",
        (Part("mteb/sickr-sts", revision, "test", JSONL, "sick.tsv", write_pairs),),
        ("eval", "sts", "--data", "{folder}/sick.tsv"),
        "MTEB uses all pairs of SICK; SentEval and most papers use only the 4,927 test pairs, so their numbers differ",
    )


STS_YEARS = {
    "STS12": "a0d554a64d88156834ff5ae9920b964011b16384",
    "STS13": "7e90230a92c190f1bf69ae9002b8cea547a64cca",
    "STS14": "6031580fec1f6af667f0bd2da0a551cf4f0b2375",
    "STS15": "ae752c7c21bf194d8b67fd573edf7ae58183cbe3",
    "STS16": "4d8694f8f0e0100860b497b999b3dbed754a0513",
}

RETRIEVAL = (
    ("scifact", "0228b52cf27578f30900b9e5271d331663a030d7", "scientific claims: 5,183 abstracts"),
    ("nfcorpus", "ec0fa4fe99da2ff19ca1214b7966684033a58814", "nutrition and medicine: 3,633 documents"),
    ("arguana", "c22ab2a51041ffd869aaddef7af8d8215647e41a", "counterarguments: 8,674 arguments"),
    ("fiqa", "27a168819829fe9bcd655c2df245fb19452e8e06", "financial questions: 57,638 answers"),
    ("scidocs", "f8c2fcf00f625baaa80f62ec5bd9e1fff3b8ae88", "citation prediction: 25,657 abstracts"),
    ("trec-covid", "bb9466bac8153a0349341eb1b22e06409e78ef4e", "questions on COVID-19: 171,332 articles"),
    ("touche2020", "a34f9a33db75fa0cbb21bb5cfc3dae8dc8bec93f", "controversial questions: 382,545 arguments"),
    ("quora", "e4e08e0b7dbe3c8700f0daef558ff32256715259", "duplicate questions: 522,931 questions"),
)

SETS = {
    dataset.name: dataset
    for dataset in (
        _sts(STS_YEARS, "b0fddb56ed78048fa8b90373c8a3cfc37b684831"),
        _sick("20a6d6f312dd54037fe07a32d58e5e168867909d"),
        *(_retrieval(name, revision, about) for name, revision, about in RETRIEVAL),
    )
}
"""All data sets, at the commits that MTEB's task definitions name, so that results are comparable with MTEB's."""
