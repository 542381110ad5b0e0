"""The contents of a report, as values: `study.py` creates them, and `reports/` prints and draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.evaluation.geometry import Geometry
from semsearch.evaluation.significance import Comparison

TOP = 10
"""Number of first hits for which a report shows which ones are relevant."""


@dataclass(frozen=True, slots=True)
class Table:
    """A comparison, and how to print its values.

    Attributes:
        name: Heading of the table.
        comparison: The compared values.
        scale: Factor for printed values: 100 for correlations, as papers print them.
        decimals: Number of digits after the decimal point.
        beside: Additional columns that are not compared, such as times: printed values by column and row.
        measure: Name of the measure, if the columns name tasks instead of measures.
    """

    name: str
    comparison: Comparison
    scale: float = 1.0
    decimals: int = 4
    beside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    measure: str = ""

    @property
    def corner(self) -> str:
        """The heading above the row labels: the measure with its scale, or `pooler`."""
        times = f" x {self.scale:g}" if self.scale != 1 else ""
        return f"{self.measure}{times}" if self.measure else "pooler"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Histograms of the cosines of similar and of dissimilar pairs, over the HISTOGRAM_EDGES of `geometry`."""

    similar: NDArray[np.int64]
    dissimilar: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layers:
    """A measure by layer and pooler.

    Attributes:
        measure: Name of the measure.
        poolers: Rows of the map.
        values: `[poolers, layers]`, layer 0 (the embeddings) first; nan where a value is undefined.
        decimals: Number of digits after the decimal point.
    """

    measure: str
    poolers: Sequence[str]
    values: NDArray[np.float64]
    decimals: int = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a row to one query, or its cosine of one sentence pair.

    Attributes:
        text: Text of the first hit, or a description of the cosine; empty if there are no hits.
        right: Whether the first hit is relevant; None if it was not judged.
        verdict: The same in words, with the grade.
        rank: Rank of the expected answer, from 1; None if it was not found.
        found: Number of hits.
        relevant: Ranks of the relevant hits among the first TOP; None where this does not apply.
    """

    text: str
    right: bool | None = None
    verdict: str = ""
    rank: int | None = None
    found: int = 0
    relevant: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Duel:
    """One query or sentence pair on which two rows differ.

    Attributes:
        text: The query, or both sentences.
        values: Value of each row, higher is better.
        answers: Answer of each row.
        wanted: The expected answer: a relevant document, or the human score; empty if there is none.
        verdict: Grade of the expected answer, in words.
    """

    text: str
    values: tuple[float, float]
    answers: tuple[Answer, Answer]
    wanted: str
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Duels:
    """Wins and losses of one row against another, the largest differences first.

    Attributes:
        rows: Labels of the first and the second row.
        measure: Name of the measure of `Duel.values`.
        unit: Plural noun for what is counted, such as queries.
        wanted: Name of the expected answer, such as the best judged document.
        n_wins, n_losses, n_ties: Counts for the first row, over all queries.
        wins, losses: The largest wins and losses of the first row.
    """

    rows: tuple[str, str]
    measure: str
    unit: str
    wanted: str
    n_wins: int
    n_losses: int
    n_ties: int
    wins: Sequence[Duel]
    losses: Sequence[Duel]


@dataclass(frozen=True, slots=True)
class Projection:
    """Texts projected onto their two strongest principal components.

    Attributes:
        row: Label of the row whose vectors are projected.
        points: Coordinates, `[n, 2]`.
        texts: Beginnings of the texts, `[n]`.
        fields: Metadata values by field name: one string per text, `[n]`, empty if the text lacks the field.
        share: Share of the variance that the two components explain, 0 to 1.
    """

    row: str
    points: NDArray[np.float64]
    texts: Sequence[str]
    fields: Mapping[str, Sequence[str]]
    share: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A value over the steps of a training run.

    Attributes:
        name: What the value is.
        steps: Steps at which it was measured.
        values: The value at each of them.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a comparison can show, in any format; parts that are None or empty are left out.

    Attributes:
        title: What was compared, and on which data.
        facts: Model, data, seeds, tests, versions and the command, by name.
        notes: Warnings and explanations, one sentence each, starting with the reasons in `refused`.
        tables: Comparison tables; the first one decides.
        column: Column of the first table that decides; empty for the last one.
        geometry: Geometry of the vectors, by row.
        histograms: Cosines of similar and of dissimilar pairs, by row.
        layers: The measure by layer and pooler.
        pairs: Explanation of which pairs the histograms count as similar and as dissimilar.
        recall_depths: The values of k at which `recall` is given.
        recall: Recall at each of `recall_depths`, by row.
        duels: Wins and losses of one row against another.
        projection: Map of the texts.
        curves: Values over the steps of a training run.
        refused: Poolers that the checkpoint does not support, with the reason.
        detail: Additional content of the JSON output, by key.
    """

    title: str
    facts: Mapping[str, str]
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    geometry: Mapping[str, Geometry] | None = None
    histograms: Mapping[str, Histogram] | None = None
    layers: Layers | None = None
    recall_depths: Sequence[int] = ()
    recall: Mapping[str, Sequence[float]] | None = None
    duels: Duels | None = None
    projection: Projection | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    column: str = ""
    pairs: str = ""
    curves: Sequence[Curve] = ()
