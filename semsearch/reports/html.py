"""Writing a report as a single HTML page that needs no network, with HTML tables and plotly charts.

Plotly and Jinja2 are optional. Names and texts come from corpora and are untrusted, so the page uses autoescaping, JSON
without angle brackets, and a content security policy that allows only its two scripts, identified by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from semsearch.errors import UsageError
from semsearch.evaluation.report import TOP, Report
from semsearch.evaluation.significance import LEVEL
from semsearch.files import writing
from semsearch.paths import as_path
from semsearch.reports.cells import shown
from semsearch.reports.plots import (
    cut,
    draw_curves,
    draw_histograms,
    draw_layers,
    draw_projection,
    draw_recall,
    number,
    printable,
    sparks,
)

MOST_ROWS = 12
"""Number of table rows that are shown initially; report.css contains the same number."""

STYLE_AND_SCRIPT = ("report.css", "report.js")

FEW_NAMES = 8
"""Maximum number of names that a sentence lists."""


def write_report(report: Report, path: str | Path) -> None:
    """Write a report as a single HTML file, which appears once it is complete; equal reports give identical bytes.

    Raises:
        UsageError: If plotly or Jinja2 is not installed, or `path` is not a path.
        SourceError: If the file cannot be written.
    """
    path = as_path(path)
    page = _page(report)
    with writing(path) as file:
        file.write(page)


def check_installed() -> None:
    """Raise UsageError if plotly or Jinja2 is missing, before hours are spent on computing a report."""
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
    style, script = (
        Markup(files("semsearch.reports").joinpath(f"report.{name}").read_text()) for name in ("css", "js")
    )
    tables = [shown(table, report.column if number == 0 else "") for number, table in enumerate(report.tables)]
    order = [row.name for row in tables[0].rows] if tables else []
    geometry, histograms, recall = (
        _sorted(each or {}, order) for each in (report.geometry, report.histograms, report.recall)
    )
    two = report.duels.rows if report.duels else ()
    return pages.get_template("report.html.jinja").render(
        report=report,
        plotly=Markup(get_plotlyjs()),
        style=style,
        script=script,
        tables=tables,
        most=MOST_ROWS,
        few=FEW_NAMES,
        top=TOP,
        level=LEVEL,
        geometry=geometry,
        pairs=sparks(geometry),
        histograms=draw_histograms(histograms),
        facing=_facing([*histograms], two),
        layers=draw_layers(report.layers) if report.layers and report.layers.values.size else None,
        curves=draw_curves(report.curves) if report.curves else None,
        recall=draw_recall(report.recall_depths, recall, two),
        projection=draw_projection(report.projection) if report.projection and len(report.projection.points) else None,
    )


def _sha256(script: str) -> str:
    """Hash a script for a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _sorted(by_row: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Sort rows in the order of the first table; rows that it does not contain come last."""
    place = {name: number for number, name in enumerate(order)}
    return {name: by_row[name] for name in sorted(by_row, key=lambda name: place.get(name, len(place)))}


def _facing(names: Sequence[str], two: Sequence[str]) -> list[int]:
    """Return the positions of the two rows shown side by side: `two`, completed with the first and the last row."""
    named = [names.index(name) for name in two if name in names]
    return [*dict.fromkeys([*named, 0, len(names) - 1])][: min(2, len(names))]
