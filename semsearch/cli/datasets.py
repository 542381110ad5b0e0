"""The `semsearch data` commands, which fetch and verify public evaluation sets."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal

if TYPE_CHECKING:
    from semsearch.datasets.fetch import Fetched
    from semsearch.datasets.registry import DataSet

app = typer.Typer(help="Fetch public evaluation sets: STS, SICK-R and retrieval.", rich_markup_mode=None)

Folder = Annotated[
    Path | None,
    typer.Option("--to", help="Folder for evaluation sets [default: $SEMSEARCH_DATA_CACHE, or else the user's cache]"),
]


@app.callback()
def root() -> None:
    """Fetch public evaluation sets."""


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(help="Names from `semsearch data list`.")],
    to: Folder = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Fetch the current version from the hub and pin it.")
    ] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Fetch evaluation sets from the Hugging Face hub.

    The files are written in the layouts that `semsearch eval` reads.
    """
    from semsearch.datasets.fetch import default_folder, fetch
    from semsearch.datasets.registry import find_set

    for name in names:
        find_set(name)
    _silence_hub()
    for name in dict.fromkeys(names):
        fetched = fetch(name, to or default_folder(), refresh=refresh)
        if as_json:
            terminal.print_json(_as_object(fetched))
        else:
            _print(fetched)


@app.command("list")
def list_(to: Folder = None, as_json: opt.AsJson = False) -> None:
    """List the evaluation sets that can be fetched.

    Shows which of them are already on this machine.
    """
    from semsearch.datasets.fetch import default_folder
    from semsearch.datasets.registry import SETS

    rows = [_row(dataset, (to or default_folder()) / dataset.name) for dataset in SETS.values()]
    if as_json:
        terminal.print_json(rows)
    else:
        terminal.table(
            ("name", "what", "from", "here"),
            [(row["name"], row["about"], _joined(row["repositories"]), row["folder"] or "–") for row in rows],
        )


def _row(dataset: DataSet, folder: Path) -> dict[str, Any]:
    from semsearch.datasets.fetch import read_lock

    lock = read_lock(folder)
    return {
        "name": dataset.name,
        "about": dataset.about,
        "repositories": dict((lock or dataset).revisions),
        "folder": str(folder) if lock else None,
    }


def _silence_hub() -> None:
    """Silence the hub's client, which logs every retry; failures are raised as errors anyway."""
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity(logging.ERROR)


def _print(fetched: Fetched) -> None:
    files = f"{len(fetched.lock.files)} files in {fetched.folder}"
    if fetched.new:
        terminal.line(f"{fetched.dataset.name}: {files}, from {_joined(fetched.lock.revisions)}")
    else:
        terminal.line(f"{fetched.dataset.name}: already complete, {files}, checksums verified")
    if fetched.dataset.note:
        terminal.line(f"note: {fetched.dataset.note}")
    terminal.line(f"next: {shlex.join(fetched.command)}")


def _joined(revisions: Mapping[str, str]) -> str:
    return ", ".join(f"{repo}@{revision:.7}" for repo, revision in revisions.items())


def _as_object(fetched: Fetched) -> dict[str, Any]:
    return {
        "name": fetched.dataset.name,
        "folder": str(fetched.folder),
        "new": fetched.new,
        "repositories": dict(fetched.lock.revisions),
        "files": dict(fetched.lock.files),
        "note": fetched.dataset.note,
        "next": shlex.join(fetched.command),
    }
