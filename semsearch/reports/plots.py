"""Plotly charts of a report, and the formatting of texts and numbers on its pages and charts.

Colors are defined in the style sheet: a chart refers to them as `--c0`, and the page's script looks them up for light
mode, dark mode and print.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import isfinite, log10
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semsearch.evaluation.geometry import HISTOGRAM_EDGES, Geometry
from semsearch.evaluation.report import Curve, Histogram, Layers, Projection
from semsearch.printable import UNSEEN

Trace: TypeAlias = dict[str, Any]

DASH = "–"
"""Placeholder for a missing number."""

COLORS = 8
"""Number of colors for lines and points, `--c0` to `--c7`; dashes and symbols distinguish more, even without color."""

FEW_POINTS = 50
"""Number of points of a curve up to which each is marked."""

BEST_FEW = 5
"""Number of lines that are shown initially if there are too many to tell apart."""

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down", "pentagon", "hourglass")
OTHERS = ("--muted", "circle-open")
"""Color and symbol of points without a category."""

CATEGORIES = 12
"""Maximum number of values of a metadata field that are shown; the rest are grouped as "other"."""

DEPTHS = tuple(mantissa * 10**power for power in range(7) for mantissa in (1, 2, 5))
"""Candidate ticks of the logarithmic depth axis."""

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters and halves of surrogate pairs, which UTF-8 cannot encode."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart for plotly.

    Attributes:
        label: Alternative text.
        views: Traces by name of the view; several views if the reader can choose.
        layout: Plotly's layout.
        height: Height in pixels.
        width: Minimum width in pixels; the chart scrolls below it.
        switches: Whether each trace is shown initially, by name of the row; empty if the reader cannot switch them.
    """

    label: str
    views: Mapping[str, list[Trace]]
    layout: Mapping[str, Any]
    height: int
    width: int = 0
    switches: Mapping[str, bool] = field(default_factory=dict)


def sparks(geometry: Mapping[str, Geometry]) -> dict[str, Any]:
    """Draw histograms of random pairs as SVG paths of height 1 and width 1 per bin, from the first bin in use."""
    if not geometry:
        return {}
    first = _first_bin([each.histogram for each in geometry.values()])
    paths = {}
    for name, each in geometry.items():
        most = max(each.histogram, default=0) or 1
        steps = "".join(f"V{1 - count / most:.3f}h1" for count in each.histogram[first:])
        paths[name] = f"M0,1{steps}V1Z"
    bins = len(HISTOGRAM_EDGES) - 1
    return {"from": float(HISTOGRAM_EDGES[first]), "bins": bins - first, "zero": bins / 2 - first, "paths": paths}


def _first_bin(histograms: Iterable[Sequence[int] | NDArray[np.int64]]) -> int:
    """Return the lowest nonempty bin of cosines, but at most the bin of -0.2."""
    return min([20, *(int(np.flatnonzero(counts)[0]) for counts in histograms if np.any(counts))])


def draw_histograms(histograms: Mapping[str, Histogram]) -> Drawing | None:
    """Draw two histograms for each row, from which the reader can choose; None if there is nothing to draw."""
    if not histograms:
        return None
    first = _first_bin(counts for each in histograms.values() for counts in (each.similar, each.dissimilar))
    layout = {
        "margin": {"l": 8, "r": 8, "t": 4, "b": 40},
        "showlegend": False,
        "hovermode": "x unified",
        "dragmode": False,
        "xaxis": {
            "range": [float(HISTOGRAM_EDGES[first]) - 0.02, 1.04],
            "title": {"text": "cosine"},
            "showgrid": False,
            "dtick": 0.2,
            "tickformat": ".1f",
        },
        "yaxis": {"tickformat": ".0%", "nticks": 5, "rangemode": "tozero"},
    }
    views = {name: _two_histograms(each) for name, each in histograms.items()}
    return Drawing("Cosines of similar and of dissimilar pairs", views, layout, 240)


def _two_histograms(histogram: Histogram) -> list[Trace]:
    kinds = (("dissimilar", histogram.dissimilar, "--c1", "dot"), ("similar", histogram.similar, "--c0", "solid"))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            **_outline(counts),
            "line": {"shape": "hvh", "width": 1.5, "color": color, "dash": dash},
            "fill": "tozeroy",
            "hovertemplate": "%{y:.1%}",
        }
        for name, counts, color, dash in kinds
    ]


def _outline(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return the shares at the centers of their bins, with an empty bin on either side of those in use."""
    used = np.flatnonzero(counts)
    bins = np.arange(used[0] - 1, used[-1] + 2) if len(used) else used
    width = 2 / len(counts)
    return {"x": known((bins + 0.5) * width - 1), "y": known(np.pad(counts, 1)[bins + 1] / max(int(counts.sum()), 1))}


def draw_curves(curves: Sequence[Curve]) -> Drawing:
    """Draw values over the steps of a training run, from which the reader can choose."""
    views: dict[str, list[Trace]] = {
        printable(curve.name): [
            {
                "type": "scatter",
                "mode": "lines+markers" if len(curve.steps) <= FEW_POINTS else "lines",
                "x": list(map(int, curve.steps)),
                "y": known(curve.values),
                "line": {"width": 2, "color": "--c0"},
                "hovertemplate": "step %{x:,d}: %{y:.4g}<extra></extra>",
            }
        ]
        for curve in curves
    }
    layout = {
        "margin": {"l": 56, "r": 12, "t": 8, "b": 44},
        "showlegend": False,
        "dragmode": False,
        "xaxis": {"title": {"text": "step"}, "rangemode": "tozero"},
        "yaxis": {"tickformat": ".4~g"},
    }
    return Drawing("Values over the steps of the training run", views, layout, 320)


def draw_layers(layers: Layers) -> Drawing:
    """Draw a heat map with numbers and a frame around the highest one."""
    names = [plotted(name) for name in layers.poolers]
    rows, columns = layers.values.shape
    form = f"z.{layers.decimals}f"
    values = [known(row) for row in layers.values]
    layout: dict[str, Any] = {
        "margin": {"l": 8, "r": 8, "t": 8, "b": 44},
        "dragmode": False,
        "xaxis": {"title": {"text": "layer (0: embeddings)"}, "dtick": 1, "showgrid": False, "zeroline": False},
        "yaxis": {"tickvals": list(range(rows)), "ticktext": names, "autorange": "reversed", "showgrid": False},
        "coloraxis": {"showscale": False, "colorscale": "--h"},
    }
    label = f"{layers.measure} by pooler and layer"
    if np.isfinite(layers.values).any():
        row, column = map(int, np.unravel_index(np.nanargmax(layers.values), layers.values.shape))
        label += f": {layers.poolers[row]} at layer {column} is highest with {layers.values[row, column]:{form}}"
        box = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
        layout["shapes"] = [{"type": "rect", **box, "line": {"color": "--best", "width": 3}}]
    trace: Trace = {
        "type": "heatmap",
        "z": values,
        "text": [[number(value, form) for value in row] for row in values],
        "customdata": [[name] * columns for name in names],
        "texttemplate": "%{text}",
        "textfont": {"color": "--ink"},
        "hovertemplate": "%{customdata}, layer %{x}: %{text}<extra></extra>",
        "hoverongaps": False,
        "coloraxis": "coloraxis",
        "xgap": 2,
        "ygap": 2,
    }
    return Drawing(label, {"": [trace]}, layout, 34 * rows + 60, 52 * columns + 150)


def draw_recall(depths: Sequence[int], recall: Mapping[str, Sequence[float]], also: Sequence[str]) -> Drawing | None:
    """Draw a line for each row over a logarithmic axis; None if there is nothing to draw.

    Args:
        depths: Depths of the axis.
        recall: Recall at each depth by row, the best row first.
        also: Rows that are shown initially in addition to the best ones.
    """
    if not (depths and recall):
        return None
    shown = [depth for depth in DEPTHS if min(depths) <= depth <= max(depths)]
    ticks = {"tickvals": shown, "ticktext": [f"{depth:,}" for depth in shown]}
    ends = [log10(max(min(depths), 1)) - 0.02, log10(max(depths)) + 0.02]
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": plotted(name),
            "x": list(map(int, depths)),
            "y": known(values),
            "line": {"width": 2},
            "hovertemplate": "%{y:.3f}",
        }
        for name, values in recall.items()
    ]
    layout = {
        "margin": {"l": 48, "r": 12, "t": 8, "b": 44},
        "showlegend": False,
        "hovermode": "x unified",
        "dragmode": False,
        "xaxis": {"type": "log", "title": {"text": "depth k"}, "range": ends, **ticks},
        "yaxis": {"title": {"text": "recall at k"}, "range": [0, 1.02], "tickformat": ".1f"},
    }
    few = len(recall) if len(recall) <= COLORS else BEST_FEW
    switches = {name: place < few or name in also for place, name in enumerate(recall)}
    label = f"Recall of {len(recall)} rows at depths {min(depths):,} to {max(depths):,}"
    return Drawing(label, {"": traces}, layout, 380, switches=switches)


def draw_projection(projection: Projection) -> Drawing:
    """Draw texts as points on a map, with a view for each field that can color them."""
    offered = {field: _colored(projection, values) for field, values in projection.fields.items()}
    views = {field: traces for field, traces in offered.items() if traces}
    bare = {"showticklabels": False, "showgrid": False}
    layout = {
        "margin": {"l": 28, "r": 12, "t": 8, "b": 28},
        "xaxis": {"title": {"text": "first component"}, **bare},
        "yaxis": {"title": {"text": "second component"}, **bare, "scaleanchor": "x"},
        "coloraxis": {"colorscale": "--s"},
    }
    label = f"{len(projection.points):,} texts by their first two principal components, encoded by {projection.row}"
    everything = range(len(projection.points))
    return Drawing(label, views or {"": [_points(projection, everything, "texts", "--c0")]}, layout, 640)


def _points(projection: Projection, which: Sequence[int], name: str, color: Any, symbol: str = "circle") -> Trace:
    x, y = (known(projection.points[list(which), axis]) for axis in (0, 1))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plotted(name, 28),
        "x": x,
        "y": y,
        "hovertext": [wrapped(projection.texts[one]) for one in which],
        "hoverinfo": "text+name",
        "marker": {"color": color, "symbol": symbol, "size": 8, "opacity": 0.85},
    }


def _colored(projection: Projection, values: Sequence[str]) -> list[Trace]:
    """Draw points colored by the values of a field; none if it is constant or nearly unique."""
    counts = Counter(value for value in values if value)
    distinct, having = len(counts), counts.total()
    if distinct > CATEGORIES and distinct < having and (numbers := _numbers(values)):
        return _by_number(projection, numbers)
    named = [value for value, _ in counts.most_common(CATEGORIES if distinct <= CATEGORIES else CATEGORIES - 1)]
    if 2 * sum(counts[value] for value in named) < having or distinct + (having < len(values)) < 2:
        return []
    styles = {value: (f"--c{i % COLORS}", SYMBOLS[i % len(SYMBOLS)]) for i, value in enumerate(named)}
    groups: dict[str, list[int]] = {value: [] for value in named}
    for one, value in enumerate(values):
        groups.setdefault(value if value in styles else "(other)" if value else "(none)", []).append(one)
    return [_points(projection, which, name, *styles.get(name, OTHERS)) for name, which in groups.items()]


def _numbers(values: Sequence[str]) -> dict[int, float]:
    """Return the values as numbers, by position; empty if any of them is not a finite number."""
    try:
        numbers = {one: float(value) for one, value in enumerate(values) if value}
    except ValueError:
        return {}
    return numbers if all(map(isfinite, numbers.values())) else {}


def _by_number(projection: Projection, numbers: Mapping[int, float]) -> list[Trace]:
    trace = _points(projection, list(numbers), "", known(numbers.values()))
    trace["marker"] |= {"coloraxis": "coloraxis", "opacity": 1}
    trace["showlegend"] = False
    without = [one for one in range(len(projection.points)) if one not in numbers]
    return [trace, *([_points(projection, without, "(none)", *OTHERS)] if without else [])]


def printable(text: str) -> str:
    """Replace characters that a page cannot contain, and remove those that reorder the text next to them."""
    return UNPRINTABLE.sub("\ufffd", text.translate(UNSEEN))


def cut(text: str, length: int) -> str:
    """Shorten a text to its first `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def plotted(text: str, length: int = 40) -> str:
    """Escape a text for plotly, which interprets a few HTML tags."""
    return escape(printable(cut(text, length)), quote=False)


def wrapped(text: str) -> str:
    """Shorten a text and break it into lines, for a hover label."""
    return "<br>".join(plotted(line, 60) for line in textwrap.wrap(cut(text, 300), 60))


def number(value: float | None, form: str) -> str:
    """Format a number; return a dash if it is missing or not finite."""
    return DASH if value is None or not isfinite(value) else format(value, form)


def known(values: Iterable[float]) -> list[float | None]:
    """Round values to six digits, more than a chart shows, and replace nan and infinity, which JSON lacks, by None."""
    return [float(f"{value:.6g}") if isfinite(value) else None for value in map(float, values)]
