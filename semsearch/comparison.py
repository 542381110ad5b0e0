"""Which pooler searches best: `compare_poolers`, the facade of evaluation.

Everything is decided below, in `evaluation/`; here it is asked for in one call and shown as text, as HTML or as a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from semsearch.corpus.chunking import Chunking
from semsearch.corpus.sources import ReadOptions
from semsearch.encoder.encoder import Progress
from semsearch.errors import UsageError
from semsearch.evaluation.candidates import Candidate, Scored
from semsearch.evaluation.kinds import study
from semsearch.evaluation.report import Report
from semsearch.evaluation.request import Request
from semsearch.evaluation.significance import Comparison
from semsearch.evaluation.study import Study
from semsearch.files import writing
from semsearch.paths import as_path
from semsearch.reports import tables


def compare_poolers(
    data: str | Path,
    *,
    kind: str = "auto",
    poolers: Sequence[str] = ("all",),
    model: str | None = None,
    simcse_names: bool = False,
    transforms: Sequence[str] = (),
    max_tokens: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    runtime: str = "auto",
    cache_mb: int = 2_048,
    layers: bool = False,
    duel: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
    scored: Scored | None = None,
    tasks: Sequence[str] | None = None,
    split: str | None = None,
    measures: Sequence[str] | None = None,
    style: str | None = None,
    modes: Sequence[str] | None = None,
    fusion: str | None = None,
    chunking: Chunking | None = None,
    drop_same_id: bool | None = None,
    sample: int | None = None,
    check: bool | None = None,
    reading: ReadOptions | None = None,
    skip_bad: bool | None = None,
) -> PoolerComparison:
    """Compare poolers, layers and transforms of a checkpoint on data, all from one forward pass.

    Args:
        data: A folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/); a folder in SentEval's (STS/, SICK/) or a
            tsv, csv or jsonl file with `sentence1`, `sentence2`, `score`; or a corpus without judgments, as
            `semsearch index` takes it.
        kind: `retrieval`, `sts` or `corpus`, in the same order; `auto` for what the data look like.
        poolers: Names, `all` for every registered one, `layer:*+NAME` for NAME on each layer.
        model: Hugging Face name or local directory of a checkpoint; None for the default.
        simcse_names: Read names of poolers as SimCSE does.
        transforms: More candidates, each pooler with each of these: `center`, `whiten:K`, `all-but-the-top`,
            `truncate:K`; `all` for every kind that is fitted.
        max_tokens: Cut what the encoder sees to this length; None for the checkpoint's own.
        precision: `float32`, `bfloat16` or `float16`; None for what suits the device.
        device: `auto`, `cpu`, `cuda`, `mps`; `cuda:0,cuda:1` or `cuda:*` for several.
        runtime: `auto`, `openvino` or `torch`.
        cache_mb: Bound in MiB on the vectors that are kept on disk for the next comparison; 0 keeps none.
        layers: Measure `cls`, `mean` and `max` of every layer as well, for the map of layers in the HTML report.
        duel: Labels of two candidates whose wins and losses the report shows; empty for the best dense one and `cls`.
        seed: Of resamples and samples; the same seed gives the same numbers.
        progress: Told the number of texts just encoded.
        scored: Told how many rows are scored, and of how many.
        tasks: For sts: some of STS12 to STS16, STS-B and SICK-R.
        split: For sts: `test`, or `dev` for STS-B and SICK-R. For retrieval: which qrels/SPLIT.tsv.
        measures: For retrieval: as ir-measures writes them; the first one decides which candidate is best.
        style: For retrieval: `trec` for trec_eval's conventions, `st` for sentence-transformers'.
        modes: For retrieval: some of `dense`, `keyword` and `hybrid`.
        fusion: For retrieval: how `hybrid` mixes, `convex` or `rrf`.
        chunking: For retrieval: how documents are cut; None for the default of an index.
        drop_same_id: For retrieval: leave out a hit with the query's own id, as BEIR does (ArguAna, Quora).
        sample: For corpus: the most documents to make pseudo-queries from.
        check: For corpus: compare with true judgments where the folder has some.
        reading: For retrieval and corpus: how documents are read.
        skip_bad: For retrieval and corpus: pass over bad records instead of stopping at the first.

    Raises:
        UsageError: Something is asked for that makes no sense, or that data of this kind do not have.
        SourceError: The data are of no known kind, or cannot be read.
        RecordError: A bad record.
        ModelError: The checkpoint cannot be loaded, or has none of the poolers.
    """
    request = Request(
        data=data,
        kind=kind,
        poolers=poolers,
        model=model,
        simcse_names=simcse_names,
        transforms=transforms,
        max_tokens=max_tokens,
        precision=precision,
        device=device,
        runtime=runtime,
        cache_mb=cache_mb,
        layers=layers,
        duel=duel,
        seed=seed,
        progress=progress,
        scored=scored,
        tasks=tasks,
        split=split,
        measures=measures,
        style=style,
        modes=modes,
        fusion=fusion,
        chunking=chunking,
        drop_same_id=drop_same_id,
        sample=sample,
        check=check,
        reading=reading,
        skip_bad=skip_bad,
    )
    return PoolerComparison(study(request))


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class PoolerComparison:
    """What `compare_poolers` found; printed, it is its tables.

    Attributes:
        study: All there is to tell, as values.
    """

    study: Study

    @property
    def best(self) -> Candidate:
        """The candidate to take: that with the highest number in the column that decides, of those with a pooler.

        On a corpus without judgments the recommended one, which is that or a simpler one that equals it.

        Raises:
            UsageError: No candidate with a pooler has a number there.
        """
        if self.study.best is None:
            raise UsageError(f"there is no best pooler: none has a number in column {self.study.column!r}")
        return self.study.best

    @property
    def candidates(self) -> Sequence[Candidate]:
        """What was compared, in the order of the rows."""
        return self.study.candidates

    @property
    def table(self) -> Comparison:
        """The table that decides: a cell with interval and p for each row and column."""
        return self.study.tables[0].comparison

    @property
    def rows(self) -> dict[str, dict[str, float | None]]:
        """The numbers of that table by row and column, not scaled; None where there is no such number."""
        return {
            label: {column: cell.value for column, cell in zip(self.table.columns, cells, strict=True)}
            for label, cells in self.table.rows.items()
        }

    @property
    def notes(self) -> Sequence[str]:
        """Warnings and explanations, a sentence each."""
        return self.report().notes

    def value(self, row: str, column: str | None = None) -> float | None:
        """One number, not scaled: a correlation is at most 1; None where there is no such number.

        Args:
            row: A candidate's label, such as `mean` or `mean, hybrid`.
            column: A measure or task; None for the column that decides.

        Raises:
            UsageError: There is no such row or column.
        """
        column = self.study.column if column is None else column
        for table in self.study.tables:
            comparison = table.comparison
            if column in comparison.columns:
                if row not in comparison.rows:
                    raise UsageError(f"unknown row {row!r}; expected one of: {'; '.join(comparison.rows)}")
                return comparison.rows[row][comparison.columns.index(column)].value
        known = "; ".join(name for table in self.study.tables for name in table.comparison.columns)
        raise UsageError(f"unknown column {column!r}; expected one of: {known}")

    def report(self, *, geometry: bool = False, drawings: bool = False) -> Report:
        """What is to be shown, as a value; see `Study.report`."""
        return self.study.report(geometry=geometry, drawings=drawings)

    def save(self, path: str | Path) -> None:
        """Write it to a file, in the form that the path's ending names.

        Args:
            path: Ends in .html (one self-contained page with everything), .json, .csv, .md or .tex (the tables).

        Raises:
            UsageError: Another ending, or what the page needs is not installed.
            SourceError: The file cannot be written.
        """
        target = as_path(path)
        write = FORMS.get(target.suffix.lower())
        if write is None:
            raise UsageError(f"`path` is {str(path)!r}; expected a name that ends in one of {', '.join(FORMS)}")
        write(self, target)

    def __str__(self) -> str:
        """The tables, what their marks mean, and the notes."""
        report = self.report()
        parts = [tables.as_text(report), "\n".join((tables.legend(self.table), *report.notes))]
        if self.study.next:
            parts.append(f"{self.best.label}: {self.study.why}\n{self.study.next}")
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        """The title, and which candidate is the best."""
        best, column = self.study.best, self.study.column
        value = None if best is None else self.value(best.label)
        found = f", best in {column} {best.label!r} with {value:.4f}" if best and value is not None else ""
        return f"<PoolerComparison {self.study.kind}: {self.study.title}, {len(self.candidates)} candidates{found}>"

    def _repr_html_(self) -> str:
        """The same as `str`, as a notebook shows it."""
        report = self.report()
        said = [tables.legend(self.table), *report.notes]
        said += [f"{self.best.label}: {self.study.why}", self.study.next] if self.study.next else []
        return f"{tables.as_html(report)}\n<p>{'<br>'.join(map(escape, said))}</p>"


def _write_html(comparison: PoolerComparison, path: Path) -> None:
    from semsearch.reports.html import check_installed, write_report

    check_installed()  # before anything is drawn
    write_report(comparison.report(drawings=True), path)


def _as_json(report: Report) -> str:
    return json.dumps(tables.as_object(report), ensure_ascii=False, indent=2, default=list)


def _writer(form: Callable[[Report], str]) -> Callable[[PoolerComparison, Path], None]:
    """What writes a comparison in a form, without geometry."""

    def write(comparison: PoolerComparison, path: Path) -> None:
        text = form(comparison.report()).encode("utf-8", "backslashreplace").decode()
        with writing(path) as file:
            file.write(f"{text}\n")

    return write


FORMS: Mapping[str, Callable[[PoolerComparison, Path], None]] = {
    ".html": _write_html,
    ".json": _writer(_as_json),
    ".csv": _writer(tables.as_csv),
    ".md": _writer(tables.as_markdown),
    ".tex": _writer(tables.as_latex),
}
"""By ending, what writes a comparison."""
