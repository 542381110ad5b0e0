"""A picture of the frontier: recall against latency of several vector indexes, as a single HTML file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from semsearch.files import writing
from semsearch.reports.html import check_installed

if TYPE_CHECKING:
    from semsearch.stores.local.vectors.tuning import Tuned


def write_frontier(path: Path, measured: Iterable[Tuned], target: float) -> None:
    """Write the picture, with a line for each vector index and one for the target.

    Raises:
        UsageError: If plotly is not installed.
        SourceError: If the file cannot be written.
    """
    check_installed()
    from plotly.graph_objects import Figure

    figure = Figure()
    for tuned in measured:
        figure.add_scatter(
            name=f"{tuned.factory}, {tuned.n_bytes / 2**20:,.0f} MiB",
            x=[one.ms for one in tuned.curve],
            y=[one.recall for one in tuned.curve],
            text=[f"effort {one.effort}" if one.effort else "exact" for one in tuned.curve],
            mode="lines+markers",
            hovertemplate="%{text}: recall %{y:.3f}, %{x:.3f} ms",
        )
    figure.add_hline(target, line_dash="dot", annotation_text="target")
    figure.update_layout(
        title="Recall and latency of vector indexes",
        xaxis={"type": "log", "title": "milliseconds a query (median, one thread)"},
        yaxis={"title": "recall@10 against exact search", "tickformat": ".3f"},
        template="plotly_white",
        legend={"title": "vector index, memory"},
    )
    page = figure.to_html(include_plotlyjs=True, full_html=True, div_id="frontier")
    with writing(path) as file:
        file.write(page)
