"""What a report shows, as values: `study.py` makes them, and `reports/` prints and draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semsearch.evaluation.geometry import Geometry
from semsearch.evaluation.significance import Comparison

TOP = 10
"""Answers of which it is told which ones are relevant."""


@dataclass(frozen=True, slots=True)
class Table:
    """A comparison and how its numbers are printed.

    Attributes:
        name: Heading.
        scale: What numbers are multiplied with: 100 for correlations, as papers print them.
        decimals: Digits behind the point.
        beside: Columns that are not compared, such as times: by name and row, as printed.
        measure: What the numbers are, where columns name tasks and not measures.
    """

    name: str
    comparison: Comparison
    scale: float = 1.0
    decimals: int = 4
    beside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    measure: str = ""

    @property
    def corner(self) -> str:
        """What stands above the rows: what the numbers are, and times what they are printed."""
        times = f" x {self.scale:g}" if self.scale != 1 else ""
        return f"{self.measure}{times}" if self.measure else "pooler"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cosines of pairs that are similar and of pairs that are not, counted over geometry's HISTOGRAM_EDGES."""

    similar: NDArray[np.int64]
    dissimilar: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layers:
    """A measure by layer and pooler.

    Attributes:
        measure: Its name.
        poolers: Rows of the map.
        values: `[poolers, layers]`, layer 0 (the embeddings) first; nan where there is none.
        decimals: Digits behind the point.
    """

    measure: str
    poolers: Sequence[str]
    values: NDArray[np.float64]
    decimals: int = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row answered to one query, or said of one pair of sentences.

    Attributes:
        text: What it put first; empty where it found nothing.
        right: Whether that is relevant; None where it was not judged.
        verdict: The same in words, with the grade.
        rank: Rank of what was wanted, from 1; None where it was not found.
        found: Number of answers.
        relevant: Ranks of what is relevant among the first TOP; None where that does not apply.
    """

    text: str
    right: bool | None = None
    verdict: str = ""
    rank: int | None = None
    found: int = 0
    relevant: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Duel:
    """One query, or pair of sentences, on which two rows differ.

    Attributes:
        text: The query, or both sentences.
        values: What each of the two rows reached, higher is better.
        answers: What each answered.
        wanted: What was wanted: a relevant document, or what people said; empty where there is no such thing.
        verdict: The grade of what was wanted, in words.
    """

    text: str
    values: tuple[float, float]
    answers: tuple[Answer, Answer]
    wanted: str
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Duels:
    """Wins and losses between two rows, the largest differences first.

    Attributes:
        rows: First and second row.
        measure: What `values` are.
        unit: What is counted, in the plural, such as queries.
        wanted: What was wanted, such as the best judged document.
        n_wins, n_losses, n_ties: Of the first row, over all queries.
        wins, losses: The largest ones.
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
    """Texts on the plane of their two strongest principal components.

    Attributes:
        row: Whose vectors.
        points: `[n, 2]`.
        texts: Beginnings of the texts, `[n]`.
        fields: By name of a metadata field, its value for each text as text, `[n]`, empty where it has none.
        share: Of the variance that the two components hold.
    """

    row: str
    points: NDArray[np.float64]
    texts: Sequence[str]
    fields: Mapping[str, Sequence[str]]
    share: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is to be shown of a comparison, in whatever form; what is None or empty is left out.

    Attributes:
        title: What was compared on what.
        facts: Name and value: model, data, seeds, tests, versions, the command.
        notes: Warnings and explanations, a sentence each; first the reasons in `refused`.
        tables: Comparisons; the first one decides.
        column: Of the first table, the column that decides; empty for the last.
        geometry: By row.
        histograms: By row.
        pairs: Which pairs the histograms count as similar and as dissimilar.
        recall: By row, recall at each of `recall_depths`.
        refused: Poolers that the checkpoint cannot have, with the reason.
        detail: What JSON has besides, by key.
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
