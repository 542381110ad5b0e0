"""Comparisons as tables: plain, Markdown, CSV, LaTeX, JSON."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semsearch.surfaces import render

if TYPE_CHECKING:
    from semsearch.evaluation.compare import Cell, Comparison
    from semsearch.evaluation.geometry import Geometry
    from semsearch.evaluation.report import Report, Table

BEST, TIED = "*", "~"

DASH = "–"

GEOMETRY = {
    "mean cosine": ("mean_cosine", "{:.3f}"),
    "sd": ("std_cosine", "{:.3f}"),
    "top 1": ("top1", "{:.3f}"),
    "top 10": ("top10", "{:.3f}"),
    "effective rank": ("effective_rank", "{:.1f}"),
    "uniformity": ("uniformity", "{:.3f}"),
    "alignment": ("alignment", "{:.3f}"),
    "hubness": ("hubness", "{:.2f}"),
    "dead": ("dead", "{:d}"),
    "dim": ("dim", "{:d}"),
}
"""Heading to a field of Geometry and how it is printed."""

LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)


def print_report(report: Report, form: str, *, intervals: bool) -> None:
    """The tables and the geometry of a report on standard output.

    Args:
        report: What to print.
        form: `text`, `markdown`, `csv` or `latex`.
        intervals: Whether to print them beside the numbers; CSV always has them.
    """
    if form == "csv":
        _print_csv(report)
        return
    for number, table in enumerate(report.tables):
        if number:
            _set_off(table.name, form)
        print_grid(form, *_grid(table, form, intervals))
    if report.geometry:
        _set_off("geometry", form)
        print_grid(form, ("pooler", *GEOMETRY), geometry_rows(report.geometry))


def _set_off(name: str, form: str) -> None:
    """A heading before a further table; without an empty line Markdown takes two tables for one."""
    if form == "text":
        render.heading(name)
    else:
        print()


def print_grid(form: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Cells as a table of a form; LaTeX and Markdown come as they are."""
    if form == "text":
        render.table(columns, rows)
    elif form == "markdown":
        for row in (columns, ["---"] * len(columns), *rows):
            print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
    else:
        print(rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", r"\toprule", sep="\n")
        print(" & ".join(name.translate(LATEX) for name in columns), r"\\ \midrule")
        for name, *cells in rows:
            print(" & ".join((name.translate(LATEX), *cells)), r"\\")
        print(r"\bottomrule", r"\end{tabular}", sep="\n")


def legend(comparison: Comparison) -> str:
    """What the marks mean."""
    return f"{BEST} best of its column, {TIED} not distinguishable from it (p >= 0.05): {comparison.test}"


def geometry_rows(geometry: Mapping[str, Geometry]) -> list[list[str]]:
    """A row of cells for each geometry, in the order of GEOMETRY."""
    return [
        [name, *(_number(getattr(one, field), form) for field, form in GEOMETRY.values())]
        for name, one in geometry.items()
    ]


def as_object(report: Report) -> dict[str, Any]:
    """The tables and the geometry of a report as JSON has them: numbers that were compared, not scaled."""
    tables = [
        {
            "name": table.name,
            "test": table.comparison.test,
            "rows": {
                label: {name: asdict(cell) for name, cell in zip(table.comparison.columns, cells, strict=True)}
                for label, cells in table.comparison.rows.items()
            },
        }
        for table in report.tables
    ]
    geometry = {"geometry": {name: asdict(one) for name, one in report.geometry.items()}} if report.geometry else {}
    return {**report.facts, "tables": tables, **geometry}


def _grid(table: Table, form: str, intervals: bool) -> tuple[list[str], list[list[str]]]:
    columns = ["pooler", *table.comparison.columns, *table.beside]
    rows = []
    for label, cells in table.comparison.rows.items():
        beside = [values.get(label, DASH) for values in table.beside.values()]
        rows.append([label, *(_cell(cell, table, form, intervals) for cell in cells), *beside])
    return columns, rows


def _cell(cell: Cell, table: Table, form: str, intervals: bool) -> str:
    if cell.value is None:
        return DASH

    def number(value: float) -> str:
        return f"{table.scale * value:.{table.decimals}f}"

    text = number(cell.value)
    if form == "text":
        text += BEST if cell.best else TIED if cell.tied else ""
    elif form == "markdown":
        text = f"**{text}**" if cell.best else f"{text} {TIED}" if cell.tied else text
    else:
        text = rf"\textbf{{{text}}}" if cell.best else rf"{text}$^\sim$" if cell.tied else text
    if intervals and cell.low is not None and cell.high is not None:
        text += f" [{number(cell.low)}, {number(cell.high)}]"
    return text


def _number(value: float | None, form: str) -> str:
    text = DASH if value is None else form.format(value)
    return text.removeprefix("-") if not text.strip("-0.") else text  # no minus in front of a rounded zero


def _print_csv(report: Report) -> None:
    """A line a number, so that it can be read by anything and put into any shape."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value", "low", "high", "p", "mark"))
    for table in report.tables:
        for label, cells in table.comparison.rows.items():
            for column, cell in zip(table.comparison.columns, cells, strict=True):
                mark = "best" if cell.best else "tied" if cell.tied else ""
                writer.writerow((table.name, label, column, cell.value, cell.low, cell.high, cell.p, mark))
            for column, values in table.beside.items():
                writer.writerow((table.name, label, column, values.get(label, ""), "", "", "", ""))
    for label, geometry in (report.geometry or {}).items():
        for heading, (field, _) in GEOMETRY.items():
            writer.writerow(("geometry", label, heading, getattr(geometry, field), "", "", "", ""))
