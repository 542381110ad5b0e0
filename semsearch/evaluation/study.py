"""The outcome of a comparison of poolers, as one value that the library, the command line and reports all show.

The numbers are available at once. The evidence behind them (geometry, histograms, a map of the texts, wins and losses)
is computed on demand, from vectors that are kept until then. The functions in `studies.py` create these values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from semsearch.evaluation import duels as wins
from semsearch.evaluation import evidence as gather
from semsearch.evaluation import notes as said
from semsearch.evaluation.candidates import Candidate, Scored, one_by_one
from semsearch.evaluation.duels import Two
from semsearch.evaluation.evidence import Evidence
from semsearch.evaluation.geometry import Geometry
from semsearch.evaluation.report import Duels, Histogram, Layers, Projection, Report, Table
from semsearch.types import Run


@dataclass(frozen=True, slots=True)
class Behind:
    """Functions that compute the evidence behind the numbers; nothing is computed before they are called.

    Attributes:
        evidence: Returns the texts, their vectors and pairs of them.
        duels: Returns the wins and losses between two candidates.
        recall: Returns R@k of each candidate; None if nothing is retrieved.
        notes: Notes to add where geometry is shown.
        scored: Called with the number of rows whose geometry has been measured and the total number of rows.
    """

    evidence: Callable[[], Evidence]
    duels: Callable[[Two], Duels]
    recall: Callable[[], Mapping[str, Sequence[float]]] | None = None
    notes: Sequence[str] = ()
    scored: Scored | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """The outcome of a comparison of poolers.

    Attributes:
        kind: `sts`, `retrieval`, `transfer` or `corpus`.
        title: What was compared, and on which data.
        facts: Names and values of everything needed to reproduce the numbers.
        tables: Comparison tables; the first one decides.
        column: Column of the first table that decides.
        candidates: The compared candidates, in the order of the rows.
        best: The recommended candidate among those with a pooler; None if none of them has a value.
        refused: Poolers that the checkpoint does not support, with the reason.
        notes: Warnings and explanations, one sentence each.
        detail: Additional content of the JSON output.
        seed: Random seed of sampling.
        duel: The two candidates whose wins and losses a report shows; empty for the best dense one and `cls`.
        behind: Functions that compute the evidence behind the numbers.
        layers: The measure by layer; None if no pooler of a layer was measured.
        runs: By candidate label, `{query_id: {doc_id: score}}`; empty if nothing is retrieved.
        why: For a corpus without judgments, why `best` is recommended.
        next: For a corpus without judgments, the command that indexes it with `best`.
    """

    kind: str
    title: str
    facts: Mapping[str, str]
    tables: Sequence[Table]
    column: str
    candidates: Sequence[Candidate]
    best: Candidate | None
    refused: Mapping[str, str]
    notes: Sequence[str]
    detail: Mapping[str, Any]
    seed: int
    duel: tuple[Candidate, ...]
    behind: Behind
    layers: Layers | None = None
    runs: Mapping[str, Run] = field(default_factory=dict)
    why: str = ""
    next: str = ""

    @cached_property
    def dense(self) -> list[Candidate]:
        """The candidates that search by vectors alone; only these have a geometry."""
        return [candidate for candidate in self.candidates if candidate.mode == "dense"]

    @cached_property
    def evidence(self) -> Evidence:
        """The texts, their vectors, and pairs of similar and of dissimilar texts."""
        return self.behind.evidence()

    @cached_property
    def geometry(self) -> dict[str, Geometry]:
        """The geometry of each dense candidate's vectors, by label."""
        if not self.dense:
            return {}
        return gather.geometries(one_by_one(self.dense, self.behind.scored), self.evidence, self.seed)

    @cached_property
    def histograms(self) -> dict[str, Histogram]:
        """The cosines of similar and of dissimilar pairs, by dense candidate."""
        return gather.histograms(self.dense, self.evidence) if self.dense else {}

    @cached_property
    def projection(self) -> Projection | None:
        """The map of the texts, by the vectors of the first of the two candidates that `duels` compares."""
        if not self.dense:
            return None
        seen = next((one for one in self._two or () if one.pooler), self.dense[0])
        return gather.projection(seen, self.evidence, self.seed)

    @cached_property
    def duels(self) -> Duels | None:
        """Wins and losses between two candidates; None if fewer than two have values."""
        return self.behind.duels(self._two) if self._two and self.dense else None

    @cached_property
    def _two(self) -> Two | None:
        if self.duel:
            return self.duel[0], self.duel[1]
        return wins.opponents(self.dense, self.tables[0].comparison, self.column) if self.dense else None

    def report(self, *, geometry: bool = False, drawings: bool = False) -> Report:
        """Build a report, which `semsearch.reports` can print or draw.

        Args:
            geometry: Include the geometry of each candidate's vectors.
            drawings: Include everything that a page can draw, including geometry.
        """
        notes = [*self.refused.values(), *self.notes]
        shape = self.geometry if geometry or drawings else {}
        if shape:
            notes += self.behind.notes
            notes += said.notes_of_geometry(shape, len({*self.evidence.texts}))
        recall = self.behind.recall if drawings else None
        drawn = drawings and bool(self.dense)
        return Report(
            self.title,
            self.facts,
            notes,
            self.tables,
            shape or None,
            self.histograms if drawn else None,
            self.layers if drawn else None,
            gather.RECALL_DEPTHS if recall else (),
            recall() if recall else None,
            self.duels if drawn else None,
            self.projection if drawn else None,
            self.refused,
            self.detail,
            self.column,
            self.evidence.pairs if drawn else "",
        )
