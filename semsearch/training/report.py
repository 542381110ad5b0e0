"""The report of a training run: its facts, its scores and its curves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from semsearch.evaluation.report import Curve, Report, Table
from semsearch.training.loop import METRICS
from semsearch.training.run import Trained

CURVES = {
    "loss": "loss",
    "score": "score on the dev set",
    "learning_rate": "learning rate",
    "gradient_norm": "norm of the gradient",
}
"""Fields of the metrics that are drawn, with their names."""


def report_of(trained: Trained) -> Report:
    """Return the report of a finished run, which `semsearch.reports` can draw."""
    lines = (trained.folder / METRICS).read_text(encoding="utf-8").splitlines()
    tables = [Table(trained.dev, trained.comparison, scale=100, decimals=2)] if trained.comparison else []
    return Report(
        title=f"Training of {trained.folder.name}",
        facts=trained.facts,
        notes=trained.notes,
        tables=tables,
        curves=curves_of(map(json.loads, lines)),
    )


def curves_of(metrics: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """Return a curve for each field of the metrics that has values."""
    moments = list(metrics)
    found = []
    for field, name in CURVES.items():
        known = [(moment["step"], moment[field]) for moment in moments if field in moment]
        if known:
            found.append(Curve(name, *zip(*known, strict=True)))
    return found
