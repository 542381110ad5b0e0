"""High-level evaluation API: `compare_poolers` finds out which pooler searches best.

The work is done in `evaluation/`; this module runs it in one call and presents the outcome as text, HTML or a file.
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
from semsearch.types import AUTO


def compare_poolers(
    data: str | Path,
    *,
    kind: str = "auto",
    poolers: Sequence[str] = ("all",),
    model: str | None = None,
    simcse_names: bool = False,
    similarity: str = AUTO,
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
    """Compare poolers, layers and transforms of a checkpoint on your data, all from one forward pass.

    Args:
        data: Judged queries: a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/). Or scored sentence pairs:
            a folder in SentEval's layout (STS/, SICK/), or a tsv, csv or jsonl file with `sentence1`, `sentence2` and
            `score`. Or labeled texts: a folder with SentEval's transfer tasks (MR/, CR/, SUBJ/, MPQA/, SST/, TREC/,
            MRPC/), or a tsv, csv or jsonl file with `text` and `label`. Or a corpus without judgments: anything that
            `semsearch index` accepts.
        kind: Kind of data: `retrieval`, `sts`, `transfer` or `corpus`, in the order above; `auto` detects it.
        poolers: Names of poolers; `all` for every registered one, `layer:*+NAME` for NAME on each layer.
        model: Hugging Face name or local directory of a checkpoint; None for the default.
        simcse_names: Read pooler names as SimCSE does; its `cls` is our `pooler-output`.
        similarity: Function that ranks the vectors of every pooler, as for `Encoder.load`; after a fitted transform it
            is cosine.
        transforms: Transforms to try on each pooler, as additional candidates: `center`, `whiten:K`,
            `all-but-the-top`, `truncate:K`; `all` for every kind that is fitted.
        max_tokens: Truncate inputs to this many tokens, special tokens included; None for the checkpoint's limit.
        precision: `float32`, `bfloat16` or `float16`; None to choose by device.
        device: `auto`, `cpu`, `cuda` or `mps`; `cuda:0,cuda:1` or `cuda:*` for several GPUs.
        runtime: `auto`, `openvino` or `torch`.
        cache_mb: Size limit in MiB of the on-disk vector cache, which later comparisons reuse; 0 for no cache.
        layers: Also measure `cls`, `mean` and `max` of every layer, for the layer map in the HTML report.
        duel: Labels of two candidates whose wins and losses the report shows; empty for the best dense one and `cls`.
        seed: Random seed of resampling and sampling; the same seed gives the same numbers.
        progress: Called with the number of texts just encoded.
        scored: Called with the number of rows scored so far and the total number of rows.
        tasks: For sts: which of STS12 to STS16, STS-B and SICK-R to evaluate; None for all tasks of the split. For
            transfer: which of MR, CR, SUBJ, MPQA, SST2, SST5, TREC, MRPC and your own files; None for all of them.
        split: For sts: `test`, or `dev` for STS-B and SICK-R. For retrieval: which qrels/SPLIT.tsv to read. None for
            `test`.
        measures: For retrieval: measures as ir-measures writes them; the first one decides which candidate is best.
        style: For retrieval: `trec` for trec_eval's conventions, `st` for those of sentence-transformers.
        modes: For retrieval: one or more of `dense`, `keyword` and `hybrid`; None for all.
        fusion: For retrieval: how `hybrid` fuses both scores, `convex` or `rrf`.
        chunking: For retrieval: how to cut documents into passages; None for the default of an index.
        drop_same_id: For retrieval: leave out hits with the query's own id, as BEIR does (ArguAna, Quora).
        sample: For corpus: maximum number of documents to make pseudo-queries from.
        check: For corpus: whether to compare with true judgments if the folder has some; None for yes.
        reading: For retrieval and corpus: how to read documents.
        skip_bad: For retrieval and corpus: skip bad records instead of stopping at the first one.

    Returns:
        The comparison, whose tables, best candidate, notes and reports can be shown or saved.

    Raises:
        UsageError: If an argument is invalid, or does not apply to this kind of data.
        SourceError: If the data is of no known kind, or cannot be read.
        RecordError: If the data contains a bad record.
        ModelError: If the checkpoint cannot be loaded, or supports none of the poolers.
    """
    request = Request(
        data=data,
        kind=kind,
        poolers=poolers,
        model=model,
        simcse_names=simcse_names,
        similarity=similarity,
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
    """The outcome of `compare_poolers`; printing it shows its tables and notes.

    Attributes:
        study: The complete outcome, as values.
    """

    study: Study

    @property
    def best(self) -> Candidate:
        """The best candidate with a pooler: the one with the highest value in the deciding column.

        On a corpus without judgments, this is the recommended candidate: the best one, or a simpler one that is not
        distinguishable from it.

        Raises:
            UsageError: If no candidate with a pooler has a value in that column.
        """
        if self.study.best is None:
            raise UsageError(f"there is no best pooler: none has a value in column {self.study.column!r}")
        return self.study.best

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The compared candidates, in the order of the rows."""
        return self.study.candidates

    @property
    def table(self) -> Comparison:
        """The deciding table, with a cell (value, interval, p-value) for each row and column."""
        return self.study.tables[0].comparison

    @property
    def rows(self) -> dict[str, dict[str, float | None]]:
        """The unscaled values of that table by row and column; None where a value is undefined."""
        return {
            label: {column: cell.value for column, cell in zip(self.table.columns, cells, strict=True)}
            for label, cells in self.table.rows.items()
        }

    @property
    def notes(self) -> Sequence[str]:
        """Warnings and explanations, one sentence each."""
        return self.report().notes

    def value(self, row: str, column: str | None = None) -> float | None:
        """Return one unscaled value (a correlation is at most 1), or None where it is undefined.

        Args:
            row: Label of a candidate, such as `mean` or `mean, hybrid`.
            column: Name of a measure or task; None for the deciding column.

        Raises:
            UsageError: If there is no such row or column.
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
        """Build a report that can be printed or drawn; see `Study.report`."""
        return self.study.report(geometry=geometry, drawings=drawings)

    def save(self, path: str | Path) -> None:
        """Write the comparison to a file, in the format that the path's extension names.

        Args:
            path: A path that ends in .html (one self-contained page with everything), .json, .csv, .md or .tex (the
                tables).

        Raises:
            UsageError: If the extension is a different one, or packages that the HTML page needs are not installed.
            SourceError: If the file cannot be written.
        """
        target = as_path(path)
        write = FORMS.get(target.suffix.lower())
        if write is None:
            raise UsageError(f"`path` is {str(path)!r}; expected a name that ends in one of {', '.join(FORMS)}")
        write(self, target)

    def __str__(self) -> str:
        """Return the tables, a legend of their marks, and the notes."""
        report = self.report()
        parts = [tables.as_text(report), "\n".join((tables.legend(self.table), *report.notes))]
        if self.study.next:
            parts.append(f"{self.best.label}: {self.study.why}\n{self.study.next}")
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        """Return the title and the best candidate."""
        best, column = self.study.best, self.study.column
        value = None if best is None else self.value(best.label)
        found = f", best in {column} {best.label!r} with {value:.4f}" if best and value is not None else ""
        return f"<PoolerComparison {self.study.kind}: {self.study.title}, {len(self.candidates)} candidates{found}>"

    def _repr_html_(self) -> str:
        """Return the same as `str` in HTML, for notebooks."""
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
    """Return a function that writes a comparison in one format, without geometry."""

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
"""Functions that write a comparison, by file extension."""
