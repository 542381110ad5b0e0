"""Tables of an HTML report, formatted and sorted: numbers, intervals, tooltips, and a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from semsearch.evaluation.report import Table
from semsearch.evaluation.significance import Cell
from semsearch.reports.plots import DASH, number


@dataclass(frozen=True, slots=True)
class Shown:
    """A formatted cell.

    Attributes:
        value: The number, or a dash.
        interval: Interval such as `0.31–0.39`; empty if there is none.
        title: Tooltip.
        order: Sort key; empty to sort last.
        mark: `best`, `tied` or empty.
        bar: Position of the interval within the range of its column, as CSS.
    """

    value: str
    interval: str
    title: str
    order: str
    mark: str
    bar: str


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A formatted row.

    Attributes:
        number: 1-based position of the row in the comparison.
        name: Name of the row.
        cells: One cell for each column.
    """

    number: int
    name: str
    cells: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A summary of the deciding column in words.

    Attributes:
        column: Name of the column.
        best: Name of the best row.
        value: Its value as printed.
        tied: Names of the rows that are not distinguishable from the best, the highest first.
        lowest: Name and value of the lowest row; None if there is no other row.
    """

    column: str
    best: str
    value: str
    tied: Sequence[str]
    lowest: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A formatted table.

    Attributes:
        measured: Heading: the measure and its scale.
        columns: Names of the compared columns.
        column: Index of the deciding column.
        rows: Rows, the best in the deciding column first.
        beside: Columns that are not compared, by column name and row name.
        test: How differences were tested.
        verdict: Summary of the deciding column; None if it has no numbers.
    """

    measured: str
    columns: Sequence[str]
    column: int
    rows: Sequence[ShownRow]
    beside: Mapping[str, Mapping[str, str]]
    test: str
    verdict: Verdict | None


def shown(table: Table, column: str = "") -> ShownTable:
    """Format a table and sort it by a column, or by the last one if none is named."""
    comparison = table.comparison
    columns = comparison.columns
    deciding = columns.index(column) if column in columns else len(columns) - 1
    ranges = [_range([row[place] for row in comparison.rows.values()]) for place in range(len(columns))]
    rows = [
        ShownRow(place, name, [_shown(cell, table, *each) for cell, each in zip(row, ranges, strict=True)])
        for place, (name, row) in enumerate(comparison.rows.items(), 1)
    ]
    decided = {name: row[deciding] for name, row in comparison.rows.items() if columns}
    rows.sort(key=lambda row: _rank(decided.get(row.name, Cell(None))), reverse=True)
    scale = f"{table.scale:g}"
    measured = table.name if table.scale == 1 or scale in table.name else f"{table.name} × {scale}"
    verdict = _verdict(decided, columns[deciding], table) if columns else None
    return ShownTable(measured, columns, deciding, rows, table.beside, comparison.test, verdict)


def _known(cell: Cell) -> bool:
    return cell.value is not None and isfinite(cell.value)


def _rank(cell: Cell) -> tuple[bool, float]:
    """Return a key that sorts the best cell last and cells without a number first."""
    return cell.best, cell.value if cell.value is not None and isfinite(cell.value) else -inf


def _range(column: Sequence[Cell]) -> tuple[float, float]:
    ends = [end for cell in column for end in (cell.low, cell.high) if end is not None and isfinite(end)]
    return min(ends, default=0), max(ends, default=0)


def _shown(cell: Cell, table: Table, least: float, most: float) -> Shown:
    value, low, high = (_printed(each, table) for each in (cell.value, cell.low, cell.high))
    known = value != DASH
    bar = ""
    if known and cell.low is not None and cell.high is not None and DASH not in (low, high) and most > least:
        left, right = ((end - least) / (most - least) for end in (cell.low, cell.high))
        bar = f"left:{left:.1%};width:{right - left:.1%}"
    return Shown(
        value=value,
        interval=f"{low}–{high}" if known and DASH not in (low, high) else "",
        title=_title(cell) if known else "no value",
        order=f"{cell.value:.9g}" if known else "",
        mark=("best" if cell.best else "tied" if cell.tied else "") if known else "",
        bar=bar,
    )


def _printed(value: float | None, table: Table) -> str:
    return number(None if value is None else table.scale * value, f"z.{table.decimals}f")


def _title(cell: Cell) -> str:
    if cell.best:
        return "the highest in this column"
    if cell.p is None or not isfinite(cell.p):
        return "not tested"
    p = f"p = {cell.p:.4f}" if cell.p >= 0.0001 else "p < 0.0001"
    verdict = "not distinguishable" if cell.tied else "significantly lower"
    return f"{p} against the best in this column: {verdict}"


def _verdict(cells: Mapping[str, Cell], column: str, table: Table) -> Verdict | None:
    """Summarize a column in words."""
    ranked = sorted((name for name in cells if _known(cells[name])), key=lambda name: _rank(cells[name]), reverse=True)
    if not ranked:
        return None
    printed = {name: _printed(cells[name].value, table) for name in ranked}
    best, lowest = ranked[0], ranked[-1]
    return Verdict(
        column,
        best,
        printed[best],
        [name for name in ranked if cells[name].tied],
        (lowest, printed[lowest]) if len(ranked) > 1 else None,
    )
