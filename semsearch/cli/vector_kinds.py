"""The command `tune`, and how commands describe the form in which vectors are searched."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.locations import find_index

if TYPE_CHECKING:
    from semsearch.stores.local.vectors.tuning import Tuned

SHOWN = 5
"""Maximum number of efforts of a vector index in the table: the last ones before and after the target."""


def describe(segment: dict[str, Any]) -> str:
    """Return a line about a segment: its vector index with what was measured."""
    line = f"{segment['rows']:,} vectors, {segment['kind']}"
    if "recall" not in segment:
        return (
            f"{line} (exact)"
            if segment["kind"] in ("", "Flat")
            else f"{line}: recall not measured; see semsearch compact"
        )
    recall = f"recall@10 {segment['recall']:.3f} ± {segment['error']:.3f}"
    measured = f"{recall} at effort {segment['effort']}, {segment['ms']:.2f} ms a query"
    size = f", {segment['bytes'] / 2**20:,.0f} MiB" if "bytes" in segment else ""
    return f"{line}: {measured}{size}"


def tune(
    vector_indexes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FACTORY]...",
            help="Vector indexes in FAISS's notation, such as HNSW32,SQ8 [default: those that auto chooses from]",
        ),
    ] = None,
    index: opt.OnlyIndex = None,
    target_recall: opt.TargetRecall = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write an HTML report with a picture of the frontier.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Measure vector indexes on the vectors of an index: recall, latency and memory, also under filters.

    Each is built in a temporary file, which takes about a minute for 300,000 vectors; the index stays as it is.
    """
    from semsearch.index import Index

    if report:
        from semsearch.reports.html import check_installed

        check_installed()  # before minutes are spent on measuring
    measured: list[Tuned] = []
    with Index.open(find_index(index)) as opened:
        options = opened.status()["vectors"]
        target = target_recall or options["target_recall"]
        for tuned in opened.tune(vector_indexes or (), target_recall=target_recall):
            terminal.say(f"{tuned.factory}: built in {tuned.seconds:.1f} s")
            measured.append(tuned)
    if report:
        from semsearch.reports.frontier import write_frontier

        write_frontier(report, measured, target)
    if as_json:
        terminal.print_json([_json(tuned) for tuned in measured])
        return
    columns = ("vector index", "build s", "MiB", "effort", "recall@10", "ms", *_filter_columns(measured))
    terminal.table(columns, [row for tuned in measured for row in _rows(tuned, target)])


def _filter_columns(measured: list[Tuned]) -> list[str]:
    return [f"{share:.1%} of passages: recall, ms" for share in measured[0].filtered if share < 1] if measured else []


def _rows(tuned: Tuned, target: float) -> list[tuple[object, ...]]:
    """Return the rows of a vector index: the efforts around the one that reaches the target, which has the filters."""
    from semsearch.stores.local.curves import choose_effort

    chosen = choose_effort(tuned.curve, target)
    place = list(tuned.curve).index(chosen)
    rows: list[tuple[object, ...]] = []
    for one in tuned.curve[max(0, place - SHOWN + 2) : place + 2]:
        first = (tuned.factory, f"{tuned.seconds:.1f}", f"{tuned.n_bytes / 2**20:,.0f}") if not rows else ("", "", "")
        filters = [f"{recall:.3f}, {ms:.2f}" for share, (recall, ms) in tuned.filtered.items() if share < 1]
        effort = str(one.effort) if one.effort else "exact"
        rows.append((*first, effort, f"{one.recall:.3f}", f"{one.ms:.2f}", *(filters if one == chosen else ())))
    return [(*row, *[""] * (6 + len(tuned.filtered) - 1 - len(row))) for row in rows]


def _json(tuned: Tuned) -> dict[str, Any]:
    return {
        "vector_index": tuned.factory,
        "seconds": round(tuned.seconds, 3),
        "bytes": tuned.n_bytes,
        "curve": [asdict(one) for one in tuned.curve],
        "filtered": [{"share": share, "recall": recall, "ms": ms} for share, (recall, ms) in tuned.filtered.items()],
    }
