"""The sections of `--help`: everyday options and commands first, the others grouped by purpose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

OPTIONS = {
    "Reading files": (
        *("id_field", "text_field", "title_field", "format", "per_line", "follow_links", "all_files", "include"),
        *("exclude", "skip_bad", "strict"),
    ),
    "Updating": ("replace", "delete_missing", "refit", "vectors"),
    "Ranking": ("fusion", "rerank", "rerank_depth", "min_confidence"),
    "Context for a prompt": ("context", "budget", "neighbors"),
    "Many queries": ("queries", "run"),
    "Encoder": (
        *("simcse_names", "similarity", "max_tokens", "dim", "transform", "query_prefix", "passage_prefix"),
        *("precision", "device", "runtime"),
    ),
    "Cluster": ("engine", "address", "cluster_workers", "gpus_per_worker", "shards"),
    "Passages": ("on_long", "chunk_tokens", "passage_tokens", "overlap", "title"),
    "Vector index": ("store_precision", "vector_index", "memory", "target_recall"),
    "Machines": ("cores", "tokens_per_second", "calibrate"),
    "Scoring": ("split", "measures", "style", "modes", "drop_same_id", "cache_mb"),
    "Report": ("geometry", "report", "duel", "intervals", "markdown", "csv", "latex", "run_dir"),
    "Pairs": ("from_corpus", "kinds", "max_pairs", "positive_share", "margin", "max_score", "cross_encoder"),
    "Loss": (
        *("scale", "temperature", "symmetric", "negative_weight", "mlp", "mlm_weight", "mask", "matryoshka"),
        *("teacher", "parts"),
    ),
    "Architecture": ("from_scratch", "layers", "hidden", "heads", "vocabulary", "lora"),
    "Schedule": (
        *("epochs", "steps", "batch_size", "accumulate", "cache_gradients", "learning_rate", "warmup", "decay"),
        *("weight_decay", "clip", "eval_every", "patience"),
    ),
    "Limits": ("max_body_mb", "max_seconds", "workers"),
    "Access": ("token", "cors", "allow_host", "public_url"),
    "Chatbot": ("llm_base_url", "llm_model"),
    "Completion in the shell": ("install_completion", "show_completion"),
}
"""Parameters by section, in the order in which the sections are shown; any other option is an everyday one."""

COMMANDS = {
    "Search": ("index", "query", "open", "list", "status", "delete", "demo"),
    "Serve": ("serve", "mcp", "doctor", "plan"),
    "Look after an index": (
        *("reencode", "tune", "verify", "rebuild", "compact", "backup", "restore", "export", "migrate", "copy"),
    ),
    "Compare and train": ("poolers", "eval", "data", "mine", "train"),
}
"""Commands by section; a group without any of them, such as `eval`, lists its own as before."""

SECTIONS = {name: section for section, names in OPTIONS.items() for name in names}


def _format_options(command: Any, context: Any, formatter: Any) -> None:
    """Write the arguments and options of a command section by section."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], **{name: [] for name in OPTIONS}}
    options = 0
    for one in command.get_params(context):
        if (shown := one.get_help_record(context)) is not None:
            argument = one.param_type_name == "argument"
            options += not argument
            sections["Arguments" if argument else SECTIONS.get(one.name, "Options")].append(shown)
    if options <= FEW:
        few = [shown for name, rows in sections.items() if name != "Arguments" for shown in rows]
        sections = {"Arguments": sections["Arguments"], "Options": few}
    _write(formatter, sections.items())


FEW = 9
"""Number of options up to which a command lists them in one section."""


def _write(formatter: Any, sections: Iterable[tuple[str, list[tuple[str, str]]]]) -> None:
    for name, rows in sections:
        if rows:
            with formatter.section(name):
                formatter.write_dl(rows)


class Command(TyperCommand):
    """A command whose help groups the options by purpose."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        _format_options(self, ctx, formatter)


class Group(TyperGroup):
    """A group of commands whose help groups them by purpose."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write options and commands."""
        _format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands section by section, with as much of their help as fits on a line."""
        place = {name: section for section, names in COMMANDS.items() for name in names}
        width = max(map(len, self.commands))
        sections: dict[str, list[tuple[str, str]]] = {section: [] for section in (*COMMANDS, "Commands")}
        for name, command in self.commands.items():
            if not command.hidden:
                section = place.get(name, "Commands") if ctx.parent is None else "Commands"
                row = (f"{name:{width}}", command.get_short_help_str(formatter.width - 6 - width))
                sections[section].append(row)
        order = {name: number for number, name in enumerate(place)}
        for rows in sections.values():
            rows.sort(key=lambda row: order.get(row[0].strip(), len(order)))
        _write(formatter, sections.items())


def group_help(app: typer.Typer) -> None:
    """Have an application, with everything below it, show its help in sections."""
    app.info.cls = Group
    for command in app.registered_commands:
        command.cls = Command
    for below in app.registered_groups:
        below.cls = Group
        if below.typer_instance:
            group_help(below.typer_instance)
