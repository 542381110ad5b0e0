"""Formatting comparisons as tables: plain text, Markdown, CSV, LaTeX, HTML and JSON."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from semsearch.printable import one_line

if TYPE_CHECKING:
    from semsearch.evaluation.geometry import Geometry
    from semsearch.evaluation.report import Report, Table
    from semsearch.evaluation.significance import Cell, Comparison

BEST, TIED = "*", "~"

MARKS = {
    "text": ("{}" + BEST, "{}" + TIED),
    "markdown": ("**{}**", "{} " + TIED),
    "latex": (r"\textbf{{{}}}", r"{}$^\sim$"),
    "html": ("<b>{}</b>", "{} " + TIED),
}
"""Marks of the best number of a column and of those tied with it, by output format."""

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
"""Column headings, each with a field of Geometry and its format."""

_LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
    | {"|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}"}
    | {mark: f"{{{mark}}}" for mark in "[]*"}  # at the start of a row, the preceding line break would take them
)

_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|~&#$"})
"""Escapes of characters that begin markup within a cell; a cell cannot contain a line break."""

ESCAPES: dict[str, Callable[[str], str]] = {
    "text": one_line,
    "markdown": lambda name: one_line(name).translate(_MARKDOWN),
    "latex": lambda name: one_line(name).translate(_LATEX),
    "html": lambda name: escape(one_line(name)),
}
"""Functions that escape untrusted names, by output format."""

FORMULA = "=+-@\t\r\n＝＋－＠"
"""First characters of a cell that spreadsheets interpret as a formula (OWASP, CSV Injection)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of formatted cells.

    Attributes:
        name: Heading.
        columns: Column headings; the first column names the rows.
        rows: Rows with one cell per column.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def grids(report: Report, form: str = "text", *, intervals: bool = False) -> list[Grid]:
    """Return the tables of a report, followed by its geometry.

    Args:
        report: The report to format.
        form: The output format, a key of MARKS.
        intervals: Whether to print intervals next to the numbers.
    """
    plain = ESCAPES[form]
    found = [Grid(plain(table.name), *_grid(table, form, intervals)) for table in report.tables]
    if report.geometry:
        rows = [[plain(name), *cells] for name, *cells in geometry_rows(report.geometry)]
        found.append(Grid("geometry", ("pooler", *GEOMETRY), rows))
    return found


def as_text(report: Report, *, intervals: bool = False) -> str:
    """Format the tables as text with aligned columns."""
    return "\n\n".join(f"{grid.name}\n{_aligned(grid)}" for grid in grids(report, "text", intervals=intervals))


def as_markdown(report: Report, *, intervals: bool = False) -> str:
    """Format the tables as Markdown, separated by blank lines, without which they would merge."""
    return "\n\n".join(map(_markdown, grids(report, "markdown", intervals=intervals)))


def as_latex(report: Report, *, intervals: bool = False) -> str:
    """Format the tables as LaTeX, with the rules of booktabs."""
    return "\n\n".join(map(_latex, grids(report, "latex", intervals=intervals)))


def as_html(report: Report) -> str:
    """Format the tables as HTML without styles or scripts, for notebooks; every name is escaped."""
    return "\n".join(map(_html, grids(report, "html")))


def as_csv(report: Report) -> str:
    """Format the numbers as CSV in long form: one per line, with its interval and p-value."""
    out = StringIO()
    _write_csv(report, csv.writer(out, lineterminator="\n"))
    return out.getvalue().removesuffix("\n")


def _aligned(grid: Grid) -> str:
    """Join cells with two spaces, padded to the width of their columns."""
    lines = [grid.columns, *grid.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _markdown(grid: Grid) -> str:
    lines = (grid.columns, ["---"] * len(grid.columns), *grid.rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex(grid: Grid) -> str:
    return "\n".join(
        (
            rf"\begin{{tabular}}{{l{'r' * (len(grid.columns) - 1)}}}",
            r"\toprule",
            " & ".join(grid.columns) + r" \\ \midrule",
            *(" & ".join(row) + r" \\" for row in grid.rows),
            r"\bottomrule",
            r"\end{tabular}",
        )
    )


def _html(grid: Grid) -> str:
    head = "".join(f"<th>{name}</th>" for name in grid.columns)
    rows = (f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, *cells in grid.rows)
    body = "\n".join(rows)
    return f"<table>\n<caption>{grid.name}</caption>\n<tr>{head}</tr>\n{body}\n</table>"


def legend(comparison: Comparison) -> str:
    """Return a line that explains the marks."""
    return f"{BEST} best in its column, {TIED} not distinguishable from it (p >= 0.05): {comparison.test}"


def geometry_rows(geometry: Mapping[str, Geometry]) -> list[list[str]]:
    """Format a row of cells for each geometry, in the order of GEOMETRY."""
    return [
        [name, *(_number(getattr(one, field), form) for field, form in GEOMETRY.values())]
        for name, one in geometry.items()
    ]


def as_object(report: Report) -> dict[str, Any]:
    """Return a report as a JSON object: facts, tables with unscaled numbers, geometry, details and notes."""
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
    said = {"notes": list(report.notes), "refused": dict(report.refused)}
    return {**report.facts, "tables": tables, **geometry, **report.detail, **said}


def _grid(table: Table, form: str, intervals: bool) -> tuple[list[str], list[list[str]]]:
    plain = ESCAPES[form]
    columns = [plain(table.corner), *map(plain, (*table.comparison.columns, *table.beside))]
    rows = []
    for label, cells in table.comparison.rows.items():
        beside = [plain(values.get(label, DASH)) for values in table.beside.values()]
        rows.append([plain(label), *(_cell(cell, table, form, intervals) for cell in cells), *beside])
    return columns, rows


def _cell(cell: Cell, table: Table, form: str, intervals: bool) -> str:
    if cell.value is None:
        return DASH

    def number(value: float) -> str:
        return f"{table.scale * value:.{table.decimals}f}"

    best, tied = MARKS[form]
    text = (best if cell.best else tied if cell.tied else "{}").format(number(cell.value))
    if intervals and cell.low is not None and cell.high is not None:
        text += f" [{number(cell.low)}, {number(cell.high)}]"
    return text


def _number(value: float | None, form: str) -> str:
    text = DASH if value is None else form.format(value)
    return text.removeprefix("-") if not text.strip("-0.") else text  # no minus sign on a rounded zero


def _write_csv(report: Report, writer: Any) -> None:
    def write(*row: object) -> None:
        writer.writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in row])

    writer.writerow(("table", "row", "column", "value", "low", "high", "p", "mark"))
    for table in report.tables:
        for label, cells in table.comparison.rows.items():
            for column, cell in zip(table.comparison.columns, cells, strict=True):
                mark = "best" if cell.best else "tied" if cell.tied else ""
                write(table.name, label, column, cell.value, cell.low, cell.high, cell.p, mark)
            for column, values in table.beside.items():
                write(table.name, label, column, values.get(label, ""), "", "", "", "")
    for label, geometry in (report.geometry or {}).items():
        for heading, (field, _) in GEOMETRY.items():
            write("geometry", label, heading, getattr(geometry, field), "", "", "", "")


def _harmless(cell: str) -> str:
    """Return a cell with an apostrophe in front if spreadsheets would compute it; numbers remain numbers."""
    plain = one_line(cell)
    if not {cell[:1], plain[:1]} & {*FORMULA}:
        return plain
    try:
        float(plain)
    except ValueError:
        return f"'{plain}"
    return plain
