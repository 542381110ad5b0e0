"""Semantic textual similarity data: scored sentence pairs, in a folder in SentEval's layout or in a single file.

<folder>/STS/STS12-en-test/STS.input.<subset>.txt   two sentences per line, tab-separated; scores: STS.gs.<subset>.txt
<folder>/STS/STSBenchmark/sts-{dev,test}.csv        tab-separated, no quoting
<folder>/SICK/SICK_{trial,test_annotated}.txt       tab-separated with a header
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.corpus.tables import field_names, finite, lines_of, read_records
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.paths import as_path

YEARS = {
    "STS12": ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"),
    "STS13": ("FNWN", "headlines", "OnWN"),
    "STS14": ("deft-forum", "deft-news", "headlines", "images", "OnWN", "tweet-news"),
    "STS15": ("answers-forums", "answers-students", "belief", "headlines", "images"),
    "STS16": ("answer-answer", "headlines", "plagiarism", "postediting", "question-question"),
}
"""Subsets of each year's test set; STS13 lacks SMT, which is not free (SentEval, Conneau and Kiela 2018)."""

WHOLE_YEAR = "all"
"""The only subset of a year in the files that `semsearch data get` writes, where pairs do not name their source."""

TASKS = (*YEARS, "STS-B", "SICK-R")

SPLITS = {"test": ("test", "test_annotated"), "dev": ("dev", "trial")}
"""Names of each split in the files of STS-B and SICK-R; STS12 to STS16 have only a test set."""

Pair: TypeAlias = tuple[str, str, float | None]
"""Two sentences and their similarity; None if it is not given."""


@dataclass(frozen=True, slots=True)
class Subset:
    """Sentence pairs that were scored together.

    Attributes:
        name: Name of the subset.
        first, second: The sentences, `[n]` each.
        similarity: Human scores, float64 `[n]`, on any scale.
        dropped: Number of pairs in the file that have no score.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    similarity: NDArray[np.float64]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class StsTask:
    """An STS task, one column of the table, with one or more subsets."""

    name: str
    subsets: tuple[Subset, ...]

    @property
    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The first and the second sentences of all pairs, subset after subset."""
        first = tuple(sentence for subset in self.subsets for sentence in subset.first)
        return first, tuple(sentence for subset in self.subsets for sentence in subset.second)

    @property
    def similarity(self) -> NDArray[np.float64]:
        """The human scores of all pairs, in the same order."""
        return np.concatenate([subset.similarity for subset in self.subsets])

    @property
    def dropped(self) -> int:
        """The number of pairs in the files that have no score."""
        return sum(subset.dropped for subset in self.subsets)


def load_sts(path: str | Path, names: Sequence[str] = (), split: str = "test") -> list[StsTask]:
    """Load the STS tasks of a folder in SentEval's layout, or a single task from a file of scored sentence pairs.

    Args:
        path: A folder with STS/ and SICK/; a tsv, csv or jsonl file with `sentence1`, `sentence2` and `score`; or a
            file of STS-B, such as sts-dev.csv.
        names: Names of tasks: STS12 to STS16, STS-B or SICK-R; empty for all tasks of the split. Not used for a file.
        split: `test`, or `dev`, which only STS-B and SICK-R have. Not used for a file.

    Raises:
        UsageError: If a task or the split is unknown, a task lacks the split, or `path` is not a path.
        SourceError: If a file is missing or cannot be read, or its numbers of scores and sentence pairs differ.
        RecordError: If a line is malformed.
    """
    folder = as_path(path)
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
    if folder.is_file():
        return [StsTask(folder.name.split(".")[0], (_subset(folder.name, _rows_of_file(folder)),))]
    has = TASKS if split == "test" else ("STS-B", "SICK-R")
    for name in names:
        if name not in TASKS:
            raise UsageError(f"unknown task {name!r}; expected one of: {', '.join(TASKS)}")
        if name not in has:
            raise UsageError(f"task {name!r} has no {split} split; tasks with one: {', '.join(has)}")
    return [_load(folder, name, split) for name in has if not names or name in names]


def holds_pairs(path: Path) -> bool:
    """Return whether a path is a file of scored pairs, by its extension and the names in its first nonblank line."""
    return {*COLUMNS} <= field_names(path) or is_benchmark(path)


def is_benchmark(path: Path) -> bool:
    """Return whether a path is a file of STS-B as it is published, which has no header."""
    return path.is_file() and path.match("sts-*.csv") and not {*COLUMNS} <= field_names(path)


def _load(folder: Path, name: str, split: str) -> StsTask:
    benchmark, sick = SPLITS[split]
    if name == "STS-B":
        rows = rows_of_benchmark(folder / "STS" / "STSBenchmark" / f"sts-{benchmark}.csv")
        return StsTask(name, (_subset(name, rows),))
    if name == "SICK-R":
        return StsTask(name, (_subset(name, _rows_of_sick(folder / "SICK" / f"SICK_{sick}.txt")),))
    year = folder / "STS" / f"{name}-en-test"
    subsets = (WHOLE_YEAR,) if (year / f"STS.input.{WHOLE_YEAR}.txt").is_file() else YEARS[name]
    return StsTask(name, tuple(_subset(subset, _rows_of_year(year, subset)) for subset in subsets))


def _subset(name: str, rows: Iterable[Pair]) -> Subset:
    everything = list(rows)
    scored = [(one, two, score) for one, two, score in everything if score is not None]
    return Subset(
        name,
        tuple(one for one, _, _ in scored),
        tuple(two for _, two, _ in scored),
        np.array([score for _, _, score in scored], np.float64),
        len(everything) - len(scored),
    )


def _rows_of_year(year: Path, subset: str) -> Iterator[Pair]:
    sentences, scores = _lines(year / f"STS.input.{subset}.txt"), _lines(year / f"STS.gs.{subset}.txt")
    if len(sentences) != len(scores):
        raise SourceError(
            f"{year / f'STS.gs.{subset}.txt'} has {len(scores)} scores for {len(sentences)} sentence pairs"
        )
    for number, (pair, score) in enumerate(zip(sentences, scores, strict=True), 1):
        yield _row(year / f"STS.input.{subset}.txt", number, [*pair.split("\t")[:2], score])


def rows_of_benchmark(path: Path) -> Iterator[Pair]:
    """Yield the pairs of a file of STS-B as it is published: tab-separated, without a header or quoting."""
    for number, line in enumerate(_lines(path), 1):
        cells = line.split("\t")  # genre, file, year, id, score, two sentences, and sometimes their sources
        yield _row(path, number, [*cells[5:7], *cells[4:5]])


def _rows_of_sick(path: Path) -> Iterator[Pair]:
    lines = _lines(path)
    header = lines[0].split("\t") if lines else []
    for number, line in enumerate(lines[1:], 2):
        cells = dict(zip(header, line.split("\t"), strict=False))
        yield _row(path, number, [cells[name] for name in SICK_COLUMNS if name in cells])


SICK_COLUMNS = ("sentence_A", "sentence_B", "relatedness_score")

COLUMNS = ("sentence1", "sentence2", "score")


def _rows_of_file(path: Path) -> Iterator[Pair]:
    if is_benchmark(path):
        yield from rows_of_benchmark(path)
        return
    for number, record in read_records(path):
        missing = [name for name in COLUMNS if name not in record]
        if missing:
            raise RecordError(str(path), number, f"no {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        yield _row(path, number, [record[name] for name in COLUMNS])


def _row(path: Path, number: int, cells: Sequence[Any]) -> Pair:
    if len(cells) != 3 or not all(isinstance(sentence, str) and sentence.strip() for sentence in cells[:2]):
        raise RecordError(str(path), number, "expected two sentences and a score")
    try:
        "".join(cells[:2]).encode()
    except UnicodeEncodeError:
        raise RecordError(str(path), number, "a lone surrogate, which is half a character; remove it") from None
    if cells[2] is None or not str(cells[2]).strip():
        return cells[0], cells[1], None
    score = finite(cells[2])
    if math.isnan(score):
        raise RecordError(str(path), number, f"the score is {cells[2]!r:.40}; expected a number, or an empty value")
    return cells[0], cells[1], score


def _lines(path: Path) -> list[str]:
    return lines_of(path, "SentEval's layout: a folder with STS/ and SICK/")
