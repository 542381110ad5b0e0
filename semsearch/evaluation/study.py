"""What a comparison of poolers comes to: one value that holds all there is to tell, for every surface to show.

The numbers are there at once. What lies behind them (geometry, histograms, a map of the texts, wins and losses) is
computed when it is asked for, from vectors that are kept until then. See `studies.py` for how it comes about.
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
    """Ways to what lies behind the numbers; nothing is computed before they are taken.

    Attributes:
        evidence: Texts, vectors and pairs.
        duels: Wins and losses between two candidates.
        recall: R@k of each candidate; None where nothing is retrieved.
        notes: What is to be said where geometry is shown.
        scored: Told how many rows have their geometry, and of how many.
    """

    evidence: Callable[[], Evidence]
    duels: Callable[[Two], Duels]
    recall: Callable[[], Mapping[str, Sequence[float]]] | None = None
    notes: Sequence[str] = ()
    scored: Scored | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """A comparison of poolers with everything there is to tell of it.

    Attributes:
        kind: `sts`, `retrieval` or `corpus`.
        title: What was compared on what.
        facts: Name and value of what a reader must know to make the numbers again.
        tables: Comparisons; the first one decides.
        column: Of the first table, the column that decides.
        candidates: What was compared, in the order of the rows.
        best: The candidate to take, of those with a pooler; None where none has a number.
        refused: Poolers that the checkpoint cannot have, with the reason.
        notes: Warnings and explanations, a sentence each.
        detail: What JSON has besides.
        seed: Of samples.
        duel: The two candidates whose wins and losses a report shows; empty for the best dense one and `cls`.
        behind: Ways to what lies behind the numbers.
        layers: The measure by layer; None where no pooler of a layer was measured.
        runs: By candidate (its label), `{query_id: {doc_id: score}}`; empty where nothing is retrieved.
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
        """The candidates whose vectors alone are searched with: those that have geometry."""
        return [candidate for candidate in self.candidates if candidate.mode == "dense"]

    @cached_property
    def evidence(self) -> Evidence:
        """The texts, their vectors and pairs of them."""
        return self.behind.evidence()

    @cached_property
    def geometry(self) -> dict[str, Geometry]:
        """The shape of each dense candidate's cloud of vectors."""
        if not self.dense:
            return {}
        return gather.geometries(one_by_one(self.dense, self.behind.scored), self.evidence, self.seed)

    @cached_property
    def histograms(self) -> dict[str, Histogram]:
        """The cosines of similar and of dissimilar pairs, by dense candidate."""
        return gather.histograms(self.dense, self.evidence) if self.dense else {}

    @cached_property
    def projection(self) -> Projection | None:
        """The map of the texts, as the first of the two that are compared query by query sees them."""
        if not self.dense:
            return None
        seen = next((one for one in self._two or () if one.pooler), self.dense[0])
        return gather.projection(seen, self.evidence, self.seed)

    @cached_property
    def duels(self) -> Duels | None:
        """Wins and losses between two candidates; None where there are not two that have numbers."""
        return self.behind.duels(self._two) if self._two and self.dense else None

    @cached_property
    def _two(self) -> Two | None:
        if self.duel:
            return self.duel[0], self.duel[1]
        return wins.opponents(self.dense, self.tables[0].comparison, self.column) if self.dense else None

    def report(self, *, geometry: bool = False, drawings: bool = False) -> Report:
        """What is to be shown.

        Args:
            geometry: With the shape of each candidate's cloud of vectors.
            drawings: With everything that a page can draw, geometry included.
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
