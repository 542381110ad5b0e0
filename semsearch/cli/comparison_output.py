"""Output of the `semsearch eval` commands: tables, progress bars and the HTML report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from semsearch.cli import terminal
from semsearch.cli.parameters import as_options
from semsearch.errors import SourceError, UsageError

if TYPE_CHECKING:
    from semsearch.comparison import PoolerComparison
    from semsearch.encoder.encoder import Progress
    from semsearch.evaluation.candidates import Scored
    from semsearch.evaluation.report import Report


@dataclass(frozen=True, slots=True)
class Output:
    """The output that the options of an `eval` command ask for.

    Attributes:
        form: `text`, `markdown`, `csv`, `latex` or `json`.
        intervals: Whether tables show confidence intervals.
        geometry: Whether to print a table of the vectors' geometry.
        report: Path of the HTML report; None for no report.
        duel: Labels of the two rows that the report compares query by query; may be empty.
    """

    form: str
    intervals: bool
    geometry: bool
    report: Path | None
    duel: Sequence[str]

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
    ) -> Self:
        """Check the options of a command and combine them.

        Raises:
            UsageError: If the options cannot be combined, or a package that the report needs is not installed.
            SourceError: If the report cannot be written to its path.
        """
        asked = {"markdown": markdown, "csv": csv, "latex": latex, "json": as_json}
        forms = [name for name, wish in asked.items() if wish]
        if len(forms) > 1:
            raise UsageError(f"--{' and --'.join(forms)} cannot be combined; choose one")
        if duel and (report is None or len(duel) != 2):
            raise UsageError("--duel names a row of the report; pass it twice, together with --report FILE")
        if report is not None:
            check_report(report)
        return cls(forms[0] if forms else "text", intervals, geometry, report, duel or ())


@contextmanager
def progress(unit: str) -> Iterator[tuple[Progress, Scored]]:
    """Show one progress bar at a time: either for encoding, counted in `unit`, or for scoring, counted in rows.

    The bar for scoring closes after its last row, so that tables can be printed.
    """
    with ExitStack() as shown:
        name, done = "", 0
        move: Callable[[float], None] | None = None

        def show(what: str, counted: str, total: int | None) -> None:
            nonlocal name, done, move
            if what != name:
                shown.close()
                name, done, move = what, 0, shown.enter_context(terminal.bar(what, counted, total))

        def encoded(n: int) -> None:
            nonlocal done
            show("encoding", unit, None)
            done += n
            if move:
                move(done)

        def scored(n: int, total: int) -> None:
            nonlocal name
            show("scoring", "rows", total)
            if move:
                move(n)
            if n == total:
                shown.close()
                name = ""

        yield encoded, scored


def check_report(path: Path) -> None:
    """Raise an error if a report cannot be created or written, before hours are spent on its contents."""
    from semsearch.reports.html import check_installed

    if path.is_dir():
        raise SourceError(f"cannot write {str(path)!r}: it is a folder")
    if not path.parent.is_dir():
        raise SourceError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")
    check_installed()


def show(output: Output, comparison: PoolerComparison) -> None:
    """Print a comparison, with its notes on standard error, and then write the HTML report.

    This order keeps the printed numbers if the report cannot be written.
    """
    report = _told(comparison.report(geometry=output.geometry, drawings=output.report is not None))
    _print(output, report if output.geometry else replace(report, geometry=None))
    if output.form == "text" and comparison.study.next:
        terminal.line("")
        terminal.line(f"{comparison.best.label}: {comparison.study.why}")
        terminal.line(comparison.study.next)
    if output.report:
        from semsearch.reports.html import write_report

        write_report(report, output.report)
        if output.form != "json":
            terminal.say(f"report: {output.report}")


def names(joined: str) -> list[str]:
    """Split comma-separated names."""
    return [name.strip() for name in joined.split(",") if name.strip()]


def _told(report: Report) -> Report:
    """Return a report with the command among its facts and with options in place of parameters in its notes."""
    facts = {**report.facts, "command": shlex.join(["semsearch", *sys.argv[1:]])}
    refused = {name: as_options(reason) for name, reason in report.refused.items()}
    return replace(report, facts=facts, notes=[*map(as_options, report.notes)], refused=refused)


def _print(output: Output, report: Report) -> None:
    from semsearch.reports import tables

    if output.form == "json":
        written = {"report": str(output.report)} if output.report else {}
        terminal.print_json(tables.as_object(report) | written)
        return
    if output.form == "text":
        for number, grid in enumerate(tables.grids(report, intervals=output.intervals)):
            if number:
                terminal.heading(grid.name)
            terminal.table(grid.columns, grid.rows)
    elif output.form == "csv":
        terminal.block(tables.as_csv(report))
    else:
        write = {"markdown": tables.as_markdown, "latex": tables.as_latex}[output.form]
        terminal.block(write(report, intervals=output.intervals))
    terminal.say(tables.legend(report.tables[0].comparison))
    for number, note in enumerate(report.notes):
        terminal.say(f"warning: {note}" if number < len(report.refused) else note)
