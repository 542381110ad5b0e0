"""Training examples: read from a file, checked against an objective, and kept in columns.

Files are JSON Lines, CSV or TSV with one example per record, plain text with one sentence per line, or the files of
STS-B and SICK as they are published. This module knows nothing about models; `semsearch.training.objectives` says which
columns and labels an objective needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semsearch.corpus.gzipped import ending_of
from semsearch.corpus.tables import READERS, finite, lines_of, read_records
from semsearch.encoder.texts import is_broken
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.sts_data import COLUMNS, is_benchmark, rows_of_benchmark
from semsearch.paths import as_path

if TYPE_CHECKING:
    from semsearch.training.objectives import Objective  # which imports torch

ALIASES: dict[str, tuple[str, ...]] = {
    "sentence": ("text",),
    "text": ("sentence",),
    "sentence1": ("sent0", "premise", "text1", "sentence_A"),
    "sentence2": ("sent1", "hypothesis", "text2", "sentence_B"),
    "anchor": ("query", "sent0"),
    "positive": ("sent1",),
    "negative": ("hard_neg",),
    "query": ("anchor",),
    "score": ("label", "similarity", "relatedness_score"),
    "class": ("label", "gold_label", "entailment_judgment", "entailment_label"),
    "margin": ("label", "score"),
}
"""Other names of a column, as SimCSE and the usual data sets have them; the first one that a record has counts."""

COSINES = (-1.0, 1.0)

RANKING = "cosent"
"""The objective for which only the order of scores counts."""

SICK = "SICK_*.txt"
"""Names of the files of SICK as they are published."""

STS_B_SCORES, SICK_SCORES = (0.0, 5.0), (1.0, 5.0)
"""Lowest and highest score of each."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Training examples in columns.

    Attributes:
        columns: One tuple of texts per text column, all of the same length.
        labels: Scores or margins, float64 `[n]`; class indices, int64 `[n]`; None if the objective needs no labels.
        classes: Names of the classes by index, sorted; empty unless labels are classes.
        n_skipped: Number of examples left out because a text is empty, or because all texts of an example without a
            label are the same, which teaches nothing.
    """

    columns: tuple[tuple[str, ...], ...]
    labels: NDArray[Any] | None
    classes: tuple[str, ...]
    n_skipped: int

    def __len__(self) -> int:
        return len(self.columns[0])


def load_examples(path: str | Path, objective: Objective, *, scale: tuple[float, float] | None = None) -> Examples:
    """Read the examples that an objective needs.

    Args:
        path: A .jsonl, .csv or .tsv file whose fields are named after `Objective.texts` and `Objective.label` (or an
            alias, see `ALIASES`), or a .txt file if the objective takes single sentences; each also as .gz.
        objective: What the examples are for.
        scale: Lowest and highest possible score in the file, which become 0 and 1, as in Sentence-BERT. Needed for
            regression if scores lie outside of -1 to 1, except for the files of STS-B and SICK.

    Raises:
        SourceError: If the file cannot be read, or has no usable example.
        RecordError: If a record lacks a column, or its text or label is invalid.
        UsageError: If scores are outside the range of cosines and `scale` is not given, or outside of `scale`; or if
            all examples have the same class.
    """
    file = as_path(path)
    rows, labels, n_skipped = list[tuple[str, ...]](), list[Any](), 0
    for number, record in _records(file, objective):
        texts, label = _texts(file, number, record, objective), _label(file, number, record, objective)
        if all(text.strip() for text in texts) and (label is not None or len(texts) == 1 or len({*texts}) > 1):
            rows.append(texts)
            labels.append(label)
        else:
            n_skipped += 1
    if not rows:
        raise SourceError(f"{str(file)!r} has no usable example; expected records with {_expected(objective)}")
    width = len(rows[0])
    if uneven := next((i for i, row in enumerate(rows) if len(row) != width), None):
        raise SourceError(f"{str(file)!r}: example {uneven + 1} has {len(rows[uneven])} texts, the first one {width}")
    if objective.label == "score" and scale is None:
        scale = STS_B_SCORES if is_benchmark(file) else SICK_SCORES if file.match(SICK) else None
    values, classes = _values(labels, objective, scale)
    return Examples(tuple(zip(*rows, strict=True)), values, classes, n_skipped)


def _records(path: Path, objective: Objective) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the records of a file; lines of text are records with one sentence."""
    if is_benchmark(path):
        rows = enumerate(rows_of_benchmark(path), 1)
        return ((n, dict(zip(COLUMNS, row, strict=True))) for n, row in rows if row[2] is not None)
    if path.match(SICK):
        return READERS[".tsv"](path)
    if ending_of(path) == ".txt" and len(objective.texts) == 1:
        name = objective.texts[0].rstrip("*")
        return ((n, {name: line}) for n, line in enumerate(lines_of(path), 1) if line.strip())
    return read_records(path)


def _texts(path: Path, number: int, record: Mapping[str, Any], objective: Objective) -> tuple[str, ...]:
    """Return the texts of a record; a column whose name ends in `*` may be missing, or be a list of texts."""
    found: list[Any] = []
    for column in objective.texts:
        name = column.rstrip("*")
        value = next((record[one] for one in (name, *ALIASES.get(name, ())) if record.get(one) is not None), None)
        if value is None and (column == name or not found):
            fields = ", ".join(str(field) for field in record) or "none"
            raise RecordError(str(path), number, f"no {name!r} (found: {fields}); expected {_expected(objective)}")
        texts = value if isinstance(value, list) and column != name else [value]
        found += [] if value is None else texts
    for text in found:
        if not isinstance(text, str):
            raise RecordError(str(path), number, f"{text!r:.40} is not text; expected {_expected(objective)}")
        if is_broken(text):
            raise RecordError(str(path), number, "a lone surrogate, which is half a character; remove it")
    return tuple(found)


def _label(path: Path, number: int, record: Mapping[str, Any], objective: Objective) -> Any:
    """Return the label of a record: a class as text, a score or margin as a number, or None."""
    if objective.label in ("", "vector"):
        return None
    names = (objective.label, *ALIASES[objective.label])
    value = next((record[one] for one in names if record.get(one) not in (None, "")), None)
    if value is None:
        raise RecordError(str(path), number, f"no {objective.label!r}; expected {_expected(objective)}")
    if objective.label == "class":
        return str(value)
    score = finite(value)
    if math.isnan(score):
        raise RecordError(str(path), number, f"the {objective.label} is {value!r:.40}; expected a number")
    return score


def _values(
    labels: list[Any], objective: Objective, scale: tuple[float, float] | None
) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    """Return labels as an array, and the names of classes."""
    if scale is not None and objective.label != "score":
        raise UsageError(f"`scale` applies only to objectives with scores, and {objective.name!r} has none")
    if objective.label in ("", "vector"):
        return None, ()
    if objective.label == "class":
        classes = tuple(sorted({*labels}))
        if len(classes) < 2:
            raise UsageError(f"all examples have the class {classes[0]!r}; expected at least 2 classes")
        index = {name: i for i, name in enumerate(classes)}
        return np.array([index[label] for label in labels], np.int64), classes
    values = np.array(labels, np.float64)
    if objective.label == "score":
        if scale is None and objective.name == RANKING:
            return values, ()
        low, high = scale or COSINES
        if not low < high or math.isinf(high - low):
            raise UsageError(f"`scale` is {low:g} to {high:g}; expected the lowest and the highest score")
        if values.min() < low or values.max() > high:
            raise UsageError(
                f"the scores go from {values.min():g} to {values.max():g}, outside of {low:g} to {high:g}; "
                "pass their range as `scale`"
            )
        if scale is not None:
            values = (values - low) / (high - low)
    return values, ()


def _expected(objective: Objective) -> str:
    """Return the columns of an objective, for messages."""
    names = [f"{name.rstrip('*')} (optional)" if name.endswith("*") else name for name in objective.texts]
    return ", ".join([*names, *([objective.label] if objective.label not in ("", "vector") else [])])
