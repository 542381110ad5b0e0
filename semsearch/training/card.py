"""The model card of a trained checkpoint: data, settings, scores with intervals, and the command that made it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from semsearch.evaluation.significance import Cell, Comparison
from semsearch.training.dev import AFTER, BEFORE
from semsearch.training.recipe import Recipe, Scratch
from semsearch.version import __version__


def write_card(
    recipe: Recipe,
    *,
    name: str,
    out: str,
    facts: Mapping[str, str],
    dev: str = "",
    comparison: Comparison | None = None,
    encoder: bool = True,
) -> str:
    """Return the text of a README.md, with metadata as the Hugging Face Hub reads them.

    Args:
        recipe: The recipe of the run.
        name: Name of the checkpoint.
        out: Folder that was requested.
        facts: Facts about the run, in order.
        dev: What was measured on which data; empty without a dev set.
        comparison: Scores before and after training.
        encoder: Whether the checkpoint is an encoder with a pooler.
    """
    task = "sentence-similarity" if encoder else "fill-mask"
    tags = ["semsearch", *(["sentence-transformers"] if encoder else [])]
    head = {"library_name": "sentence-transformers" if encoder else "transformers", "pipeline_tag": task, "tags": tags}
    base = facts.get("base model", "")
    if base and recipe.from_scratch is None and not Path(base).is_absolute():  # a name on the hub, not a folder
        head["base_model"] = base
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", "", f"# {name}", ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in facts.items()), ""]
    if comparison:
        lines += ["## Scores", "", f"{dev}, x 100, with 95% intervals. Test: {comparison.test}.", ""]
        lines += ["| | before | after | p |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in changes(comparison)] + [""]
    lines += ["## Command", "", "```sh", command_of(recipe, out), "```", ""]
    if encoder:
        lines += ["## Use", "", "```sh", f"semsearch index CORPUS --model {shlex.quote(out)}", "```", ""]
    lines += [f"Trained with semsearch {__version__}.", ""]
    return "\n".join(lines)


def changes(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """Return for each task or measure its name, its value before and after with intervals, and the p-value."""
    rows = []
    for name, before, after in zip(comparison.columns, *(comparison.rows[one] for one in (BEFORE, AFTER)), strict=True):
        p = before.p if after.p is None else after.p
        rows.append((name, _with_interval(before), _with_interval(after), "" if p is None else _p_value(p)))
    return rows


def _with_interval(cell: Cell) -> str:
    if cell.value is None or cell.low is None or cell.high is None:
        return "undefined"
    return f"{100 * cell.value:.2f} ({100 * cell.low:.2f} to {100 * cell.high:.2f})"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def command_of(recipe: Recipe, out: str) -> str:
    """Return the command line of a recipe: every setting that is not the default."""
    words = ["semsearch", "train"]
    for one in fields(recipe):
        value = getattr(recipe, one.name)
        if value != one.default:
            words += _option(one.name, value)
    return shlex.join([*words, "--out", out])


def _option(name: str, value: Any) -> Sequence[str]:
    if isinstance(value, Scratch):
        own = [_option(one.name, getattr(value, one.name)) for one in fields(value)]
        return ["--from-scratch", *(word for words in own for word in words)]
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option]
    if isinstance(value, tuple):
        return [option, ",".join(map(_plain, value))]
    return [option, _plain(value)]


def _plain(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
