"""What the `semsearch eval` commands share: loading poolers, and everything that happens behind the numbers."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import semsearch
from semsearch.cli import terminal
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.reports import tables

if TYPE_CHECKING:
    from semsearch.cli.options import OnLong
    from semsearch.corpus.chunking import Chunking
    from semsearch.corpus.readers import ReadOptions, Record
    from semsearch.encoder.encoder import Progress
    from semsearch.evaluation.candidates import Candidate
    from semsearch.evaluation.evidence import Evidence
    from semsearch.evaluation.multi_pooler import MultiPooler
    from semsearch.evaluation.pseudo_queries import PseudoQuerySummary
    from semsearch.evaluation.report import Duels, Layers, Report
    from semsearch.evaluation.retrieval import RetrievalResult
    from semsearch.evaluation.retrieval_data import RetrievalTask
    from semsearch.evaluation.sts import StsResult
    from semsearch.types import Document

AUTO = "auto"

PROXY = (
    "this is a proxy: pseudo-queries are parts of the documents and share words with them, as real questions need not; "
    "the order of the poolers is what to look at"
)


@dataclass(frozen=True, slots=True)
class Output:
    """What a comparison is to print and write.

    Attributes:
        form: `text`, `markdown`, `csv`, `latex` or `json`.
        duel: Labels of two rows, or none.
    """

    form: str
    intervals: bool
    geometry: bool
    report: Path | None
    duel: Sequence[str]
    seed: int

    @classmethod
    def of(
        cls,
        markdown: bool,
        csv: bool,
        latex: bool,
        as_json: bool,
        intervals: bool,
        geometry: bool,
        report: Path | None,
        duel: list[str] | None,
        seed: int,
    ) -> Self:
        """From the options of a command.

        Raises:
            UsageError: They do not go together.
            SourceError: The report has no place to go.
        """
        asked = {"markdown": markdown, "csv": csv, "latex": latex, "json": as_json}
        forms = [name for name, wish in asked.items() if wish]
        if len(forms) > 1:
            raise UsageError(f"--{' and --'.join(forms)} were given; choose one")
        if duel and (report is None or len(duel) != 2):
            raise UsageError("--duel names a row of the report; give it twice, and --report FILE")
        if seed < 0:
            raise UsageError(f"--seed is {seed}; expected 0 or more")
        if report is not None and report.is_dir():
            raise SourceError(f"cannot write {str(report)!r}: it is a folder")
        if report is not None and not report.parent.is_dir():
            raise SourceError(f"cannot write {str(report)!r}: there is no folder {str(report.parent)!r}")
        return cls(forms[0] if forms else "text", intervals, geometry, report, duel or (), seed)


@contextmanager
def loaded(
    output: Output,
    cache_mb: int,
    model: str | None,
    poolers: str,
    simcse_names: bool,
    max_tokens: int | None,
    precision: str | None,
    device: str,
    runtime: str,
) -> Iterator[MultiPooler]:
    """The poolers, with every layer of some where there is a report to be written, and the cache of vectors."""
    from semsearch.evaluation.evidence import layer_names
    from semsearch.evaluation.multi_pooler import MultiPooler
    from semsearch.evaluation.vector_cache import VectorCache
    from semsearch.reports.html import check_installed

    if output.report:
        check_installed()
    if not names(poolers):
        raise UsageError("no pooler is named; give names joined by commas, or all")
    if cache_mb < 0:
        raise UsageError(f"--cache-mb is {cache_mb}; expected 0 for no cache, or a number of MiB")
    if AUTO in names(poolers):
        from semsearch.encoder.checkpoint import open_checkpoint

        own = open_checkpoint(model).pooler
        declared = f"which this checkpoint says is {own}" if own else "but this checkpoint declares none"
        raise UsageError(f"--poolers {AUTO} is the pooler that a checkpoint declares, {declared}; name some, or all")
    with ExitStack() as stack:
        yield MultiPooler.load(
            model,
            names(poolers),
            simcse_names=simcse_names,
            max_tokens=max_tokens,
            precision=precision or "auto",
            device=device,
            runtime=runtime,
            also=layer_names() if output.report else (),
            cache=stack.enter_context(VectorCache(max_mb=cache_mb)) if cache_mb else None,
        )


def with_evidence(
    output: Output,
    page: Report,
    rows: Sequence[Candidate],
    evidence: Callable[[], Evidence],
    column: str,
    layers: Layers,
    duels: Callable[[tuple[Candidate, Candidate]], Duels],
) -> Report:
    """The page with what lies behind its first table, as far as it is asked for.

    Args:
        output: The wishes.
        page: With the tables.
        rows: What was compared.
        evidence: Makes the texts and pairs.
        column: Of the first table, the one that decides.
        layers: The map of layers.
        duels: Makes the wins and losses of two rows.
    """
    from semsearch.evaluation import evidence as gather

    dense = [row for row in rows if row.mode == "dense"]
    if not dense or not (output.geometry or output.report):
        return page
    behind = evidence()
    geometry = gather.geometries(dense, behind, output.seed)
    n = len({*behind.texts})
    flat = [
        f"{label}: no geometry, for {_whitened(n)}"
        for label, one in geometry.items()
        if n > 1 and one.mean_cosine is None
    ]
    page = replace(page, geometry=geometry, notes=[*page.notes, *flat])
    if not output.report:
        return page
    pair = named(output.duel, rows) or gather.opponents(dense, page.tables[0].comparison, column)
    return replace(
        page,
        layers=layers,
        histograms=gather.histograms(dense, behind),
        projection=gather.projection(pair[0] if pair else dense[0], behind, output.seed),
        duels=duels(pair) if pair else None,
    )


def named(duel: Sequence[str], rows: Sequence[Candidate]) -> tuple[Candidate, Candidate] | None:
    """The rows of a duel; raises UsageError where there is no such row."""
    by_label = {row.label: row for row in rows}
    for label in duel:
        if label not in by_label:
            raise UsageError(f"--duel {label!r} is no row; expected one of: {'; '.join(by_label)}")
    return (by_label[duel[0]], by_label[duel[1]]) if duel else None


def show(output: Output, page: Report, encoder: MultiPooler, detail: Mapping[str, Any]) -> None:
    """Print the page as asked, with its notes on standard error."""
    page = _with_refused(page, encoder)
    page = page if output.geometry else replace(page, geometry=None)
    if output.form == "json":
        shown = {**tables.as_object(page), **detail, "notes": page.notes, "refused": encoder.refused}
        terminal.print_json(shown | ({"report": str(output.report)} if output.report else {}))
        return
    if output.form == "text":
        for number, grid in enumerate(tables.grids(page, intervals=output.intervals)):
            if number:
                terminal.heading(grid.name)
            terminal.table(grid.columns, grid.rows)
    elif output.form == "csv":
        print(tables.as_csv(page))
    else:
        print({"markdown": tables.as_markdown, "latex": tables.as_latex}[output.form](page, intervals=output.intervals))
    for table in page.tables[:1]:
        terminal.say(tables.legend(table.comparison))
    for reason in encoder.refused.values():
        terminal.say(f"warning: {reason}")
    for note in page.notes[len(encoder.refused) :]:
        terminal.say(note)


def write(output: Output, page: Report, encoder: MultiPooler) -> None:
    """Write the report, if there is to be one; after `show`, so that no number is lost where it cannot be written."""
    if not output.report:
        return
    from semsearch.reports.html import write_report

    write_report(_with_refused(page, encoder), output.report)
    if output.form != "json":
        terminal.say(f"report: {output.report}")


def _with_refused(page: Report, encoder: MultiPooler) -> Report:
    """With the reasons for which poolers were refused in front of the notes."""
    return replace(page, notes=[*encoder.refused.values(), *page.notes])


def facts(encoder: MultiPooler, **more: object) -> dict[str, str]:
    """What a reader must know to make the numbers again."""
    return {
        "model": encoder.spec.model,
        "declared pooler": encoder.declared or "none",
        "max tokens": str(encoder.spec.max_tokens),
        "precision": encoder.spec.precision,
        **{name: str(value) for name, value in more.items()},
        "semsearch": semsearch.__version__,
        "command": shlex.join(["semsearch", *sys.argv[1:]]),
    }


def names(joined: str) -> list[str]:
    """Names joined by commas."""
    return [name.strip() for name in joined.split(",") if name.strip()]


def notes_of_sts(found: StsResult, output: Output) -> list[str]:
    """What was left out, why a dash stands where there is one, and what transforms were fitted on."""
    notes = [f"{task.name}: pairs without a score, left out: {task.dropped:,}" for task in found.tasks if task.dropped]
    flat = {task.name: len(task.similarity) for task in found.tasks if len({*task.similarity.tolist()}) < 2}
    notes += [f"{task}: no correlation, for its {n:,} pairs do not differ in score" for task, n in flat.items()]
    for row in found.rows:
        same = [
            task
            for task, cosines in found.cosines[row.label].items()
            if task not in flat and len({*cosines.tolist()}) < 2
        ]
        if same and row.transform.startswith("whiten"):
            sizes = {task: len({place for side in found.sides[task] for place in side}) for task in same}
            notes += [f"{row.label}: no correlation on {task}, for {_whitened(n)}" for task, n in sizes.items()]
        elif same:
            notes.append(f"{row.label}: no correlation on {', '.join(same)}, for it gives every pair the same cosine")
    if len(found.tasks) > 1 and (output.geometry or output.report) and any(row.transform for row in found.rows):
        notes.append(
            "transforms are fitted on each task's own sentences for the table, and on those of all tasks together for "
            "geometry, histograms and map"
        )
    return notes


def _whitened(n: int) -> str:
    return f"whitening on {n:,} texts makes all cosines equal; name whiten:K with K well below {n:,}"


def notes_of(found: RetrievalResult, encoder: MultiPooler) -> list[str]:
    """What was left out, and what it took."""
    task, (passages, queries) = found.task, found.encoding_seconds
    notes = []
    if n := len(task.unknown_queries):
        some = ", ".join(task.unknown_queries[:3])
        notes.append(f"warning: queries of the qrels without a text, left out: {n:,} ({some}{', …' * (n > 3)})")
    if found.unknown_documents:
        notes.append(
            f"warning: {found.unknown_documents:,} documents of the qrels are not in the corpus; where they are "
            "relevant they count as not found"
        )
    if task.unjudged:
        notes.append(f"queries without judgments, not asked: {task.unjudged:,}")
    if dropped := len(task.queries) - len(found.queries):
        notes.append(f"queries without a relevant document, not counted: {dropped:,}")
    if found.corpus.truncated:
        notes.append(f"{found.corpus.truncated:,} of {len(found.corpus.texts):,} passages were truncated")
    if found.own_hits:
        notes.append(
            f"queries that found the document with their own id and text: {found.own_hits:,}; BEIR leaves such hits "
            "out: --drop-same-id"
        )
    if not found.corpus.vectors:
        return notes
    spared = f" ({encoder.spared:,} texts came from the cache)" if encoder.spared else ""
    notes.append(
        f"encoded {len(found.corpus.texts):,} passages in {passages:.1f} s and {len(task.queries):,} queries in "
        f"{queries:.1f} s, all poolers together{spared}"
    )
    return notes


def seconds_of(found: RetrievalResult) -> dict[str, Any]:
    """The times of a retrieval, in seconds, as JSON has them."""
    passages, queries = found.encoding_seconds
    return {"passages": passages, "queries": queries, "search": dict(found.search_seconds)}


def good(records: Iterable[Record], skip_bad: bool) -> Iterator[Document]:
    """The documents among records; the first bad record is raised, or all are counted."""
    bad = 0
    for record in records:
        if not isinstance(record, RecordError):
            yield record
        elif skip_bad:
            bad += 1
        else:
            raise record
    if bad:
        terminal.say(f"warning: bad records skipped: {bad:,}")


def judgments_of(path: str, options: ReadOptions, skip_bad: bool, notes: list[str]) -> RetrievalTask | None:
    """The judgments of a folder that has some; a note where they cannot be used, for they are an extra."""
    from semsearch.evaluation.retrieval_data import load_retrieval

    splits = sorted(file.stem for file in Path(path).glob("qrels/*.tsv"))
    if not splits or not (Path(path) / "queries.jsonl").is_file():
        return None
    with _tolerant(notes):
        return load_retrieval(Path(path), "test" if "test" in splits else splits[0], options, skip_bad=skip_bad)


def judged_of(
    task: RetrievalTask,
    encoder: MultiPooler,
    transforms: Sequence[str],
    progress: Progress | None,
    notes: list[str],
) -> RetrievalResult | None:
    """The same poolers on true judgments; a note where that cannot be."""
    from semsearch.evaluation.label_free import MEASURE
    from semsearch.evaluation.retrieval import evaluate_retrieval

    with _tolerant(notes):
        return evaluate_retrieval(
            task, encoder, transforms=transforms, modes=["dense"], measures=[MEASURE], progress=progress
        )


@contextmanager
def _tolerant(notes: list[str]) -> Iterator[None]:
    """Turn an error of the data into a note."""
    try:
        yield
    except (SourceError, RecordError) as error:
        notes.append(f"warning: no agreement with the true judgments: {error}")


def made_of(made: PseudoQuerySummary) -> str:
    """What the pseudo-queries were made from."""
    tasks = ", ".join(f"{counts.queries:,} {name}" for name, counts in made.tasks.items())
    dropped = sum(counts.repeated + counts.ambiguous for counts in made.tasks.values())
    return (
        f"pseudo-queries from {made.sampled:,} of {made.documents:,} documents: {tasks}; {dropped:,} more were "
        "dropped, for their text or their like stands elsewhere too"
    )


def agreement_of(tau: float | None, name: str) -> str:
    """How far the proxy ranks the rows as the true judgments do."""
    if tau is None:
        return f"agreement with the true judgments of {name}: none to be had, for there are too few different rows"
    return (
        f"agreement with the true judgments of {name}: Kendall's tau {tau:.2f} (1 the same order, 0 none, -1 reversed)"
    )


def chunking_of(on_long: OnLong | None, tokens: int | None, overlap: int | None, title: bool | None) -> Chunking:
    """The default chunking with what was asked for."""
    from semsearch.corpus.chunking import Chunking

    asked: dict[str, Any] = {"on_long": on_long and on_long.value, "tokens": tokens, "overlap": overlap, "title": title}
    return replace(Chunking(), **{name: value for name, value in asked.items() if value is not None})


def index_command(path: str, options: Mapping[str, str | int | bool | None]) -> str:
    """The command that indexes a corpus, with those options, by names such as `text_field`, that have a value."""
    words = ["semsearch", "index", path]
    for name, value in options.items():
        if value:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)
