"""The `semsearch eval` commands: which pooler searches best."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.errors import UsageError
from semsearch.surfaces import options as opt
from semsearch.surfaces import render

if TYPE_CHECKING:
    from semsearch.evaluation.sts import TaskResult
    from semsearch.evaluation.sts_data import Task

app = typer.Typer(help="Compare poolers: by how well they rank pairs of sentences.", rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Compare poolers on data."""


@app.command()
def sts(
    data: Annotated[Path, typer.Option(help="Folder with STS/ and SICK/ as SentEval has them, or a file of pairs.")],
    model: opt.Model = None,
    poolers: Annotated[str, typer.Option(help="Names joined by commas, or all.")] = "all",
    simcse_names: opt.SimcseNames = False,
    tasks: Annotated[str, typer.Option(help="Names joined by commas [default: all that there are]")] = "",
    mode: Annotated[str, typer.Option(help="test, or dev for STS-B and SICK-R.")] = "test",
    max_tokens: opt.MaxTokens = None,
    precision: opt.Precision = None,
    device: opt.Device = "auto",
    as_json: opt.AsJson = False,
) -> None:
    """Semantic textual similarity: Spearman x 100 of each pooler on each task, from one forward pass."""
    from semsearch.encoder.many import ManyPoolers
    from semsearch.evaluation.sts import average, evaluate_sts
    from semsearch.evaluation.sts_data import load_tasks

    loaded = load_tasks(data, _names(tasks), mode)
    if not _names(poolers):
        raise UsageError("no pooler is named; give names joined by commas, or all")
    encoder = ManyPoolers.load(
        model,
        _names(poolers),
        simcse_names=simcse_names,
        max_tokens=max_tokens,
        precision=precision or "auto",
        device=device,
    )
    with render.counting("encoding", "sentences") as tick:
        results = evaluate_sts(loaded, encoder, tick)
    if as_json:
        table = {name: {"average": average(row), "tasks": _tasks_json(row)} for name, row in results.items()}
        render.print_json({"model": encoder.model, "mode": mode, "poolers": table, "refused": encoder.refused})
        return
    render.table(
        ("pooler", *(task.name for task in loaded), "average"),
        [
            (name, *(_percent(one.all.spearman) for one in row.values()), _percent(average(row)))
            for name, row in results.items()
        ],
    )
    _say_what_is_missing(loaded, encoder.refused)


def _names(joined: str) -> list[str]:
    return [name.strip() for name in joined.split(",") if name.strip()]


def _percent(value: float | None) -> str:
    """As papers print it; a dash where one side is constant."""
    return "–" if value is None else f"{100 * value:.2f}"


def _tasks_json(row: dict[str, TaskResult]) -> dict[str, Any]:
    return {task: asdict(result) for task, result in row.items()}


def _say_what_is_missing(tasks: list[Task], refused: dict[str, str]) -> None:
    for reason in refused.values():
        render.say(f"warning: {reason}")
    dropped = {task.name: sum(subset.dropped for subset in task.subsets) for task in tasks}
    if any(dropped.values()):
        listed = ", ".join(f"{n:,} pairs of {name}" for name, n in dropped.items() if n)
        render.say(f"left out for want of a score: {listed}")
