"""Writing a report as one HTML page that needs no network, with tables in HTML and charts by plotly.

Plotly and Jinja2 are optional. Names and texts come from corpora, so they are hostile: autoescaping, JSON without angle
brackets, and a content security policy that runs two scripts, known by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from semsearch.errors import UsageError
from semsearch.evaluation.report import Report, Table
from semsearch.evaluation.significance import LEVEL, Cell
from semsearch.files import writing
from semsearch.paths import as_path
from semsearch.reports.plots import (
    DASH,
    cut,
    draw_histograms,
    draw_layers,
    draw_projection,
    draw_recall,
    number,
    printable,
    sparks,
)


def write_report(report: Report, path: str | Path) -> None:
    """Write a report as one HTML file, which appears once it is complete; the same report gives the same bytes.

    Raises:
        UsageError: Plotly or Jinja2 is not installed, or what was given is not a path.
        SourceError: The file cannot be written.
    """
    path = as_path(path)
    page = _page(report)
    with writing(path) as file:
        file.write(page)


def check_installed() -> None:
    """Raise UsageError if plotly or Jinja2 is missing, before hours are spent on computing the contents of a report."""
    try:
        import jinja2  # noqa: F401
        import plotly.offline  # noqa: F401
    except ImportError:
        raise UsageError(
            "the report needs plotly and jinja2, which are not installed; pip install 'semsearch[report]'"
        ) from None


def _page(report: Report) -> str:
    check_installed()
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    pages = Environment(
        loader=PackageLoader("semsearch", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    pages.policies["json.dumps_kwargs"] = {"allow_nan": False}
    pages.filters.update(cut=cut, number=number, sha256=_sha256)
    return pages.get_template("report.html.jinja").render(
        report=report,
        plotly=Markup(get_plotlyjs()),
        tables=[(table, _rows(table), _verdict(table)) for table in report.tables],
        level=LEVEL,
        pairs=sparks(report.geometry or {}),
        histograms=draw_histograms(report.histograms or {}),
        layers=draw_layers(report.layers) if report.layers and report.layers.values.size else None,
        recall=draw_recall(report.recall_depths, report.recall or {}),
        projection=draw_projection(report.projection) if report.projection and len(report.projection.points) else None,
    )


def _sha256(script: str) -> str:
    """Hash a script for a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@dataclass(frozen=True, slots=True)
class Shown:
    """A formatted cell.

    Attributes:
        value: The number, or a dash.
        interval: Interval such as `0.31–0.39`; empty if there is none.
        title: Tooltip.
        order: Sort key; empty to sort last.
        mark: `best`, `tied` or empty.
        bar: Position of the interval in the range of its column, as CSS.
    """

    value: str
    interval: str
    title: str
    order: str
    mark: str
    bar: str


def _rows(table: Table) -> dict[str, list[Shown]]:
    """Format the cells of each row."""
    comparison = table.comparison
    columns = [[row[number] for row in comparison.rows.values()] for number in range(len(comparison.columns))]
    ranges = [_range(column) for column in columns]
    return {
        name: [_shown(cell, table, *each) for cell, each in zip(row, ranges, strict=True)]
        for name, row in comparison.rows.items()
    }


def _range(column: Sequence[Cell]) -> tuple[float, float]:
    ends = [end for cell in column for end in (cell.low, cell.high) if end is not None and isfinite(end)]
    return min(ends, default=0), max(ends, default=0)


def _shown(cell: Cell, table: Table, least: float, most: float) -> Shown:
    def printed(value: float | None) -> str:
        return number(None if value is None else table.scale * value, f"z.{table.decimals}f")

    value, low, high = map(printed, (cell.value, cell.low, cell.high))
    known = value != DASH
    bar = ""
    if known and cell.low is not None and cell.high is not None and DASH not in (low, high) and most > least:
        left, right = ((end - least) / (most - least) for end in (cell.low, cell.high))
        bar = f"left:{left:.1%};width:{right - left:.1%}"
    return Shown(
        value=value,
        interval=f"{low}–{high}" if known and DASH not in (low, high) else "",
        title=_title(cell) if known else "no such number",
        order=f"{cell.value:.9g}" if known else "",
        mark=("best" if cell.best else "tied" if cell.tied else "") if known else "",
        bar=bar,
    )


def _title(cell: Cell) -> str:
    if cell.best:
        return "the highest of this column"
    if cell.p is None or not isfinite(cell.p):
        return "not tested"
    p = f"p = {cell.p:.4f}" if cell.p >= 0.0001 else "p < 0.0001"
    verdict = "not distinguishable from it" if cell.tied else "lower than it"
    return f"{p} against the best of this column: {verdict}"


def _verdict(table: Table) -> str:
    """Summarize the average column, or else the first one, in words."""
    columns, rows = table.comparison.columns, table.comparison.rows
    column = columns.index("average") if "average" in columns else 0
    cells = {name: row[column] for name, row in rows.items() if columns}
    known = {name: cell.value for name, cell in cells.items() if cell.value is not None and isfinite(cell.value)}
    if not known:
        return ""

    def said(name: str) -> str:
        return f"{name} with {_shown(cells[name], table, 0, 0).value}"

    ranked = sorted(known, key=lambda name: (cells[name].best, known[name]))
    tied = sum(cell.tied for cell in cells.values())
    others = f"; {tied} other{'s' * (tied > 1)} cannot be told apart from it" if tied else ""
    lowest = f" Lowest: {said(ranked[0])}." if len(ranked) > 1 else ""
    return f"Highest {columns[column]}: {said(ranked[-1])}{others}.{lowest}"
