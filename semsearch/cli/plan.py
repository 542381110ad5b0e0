"""The `semsearch plan` command, and the calibrations that it keeps on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import semsearch
from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.parameters import as_options
from semsearch.cli.state import keep, kept, state_folder
from semsearch.errors import SourceError, UsageError

if TYPE_CHECKING:
    from semsearch.planning.constants import Constants
    from semsearch.planning.plan import Plan

NAME = "calibration.json"
"""File in the state folder with the constants that were measured here, by model."""

AGAIN = "run semsearch plan --calibrate again, or delete the file to plan with the constants of the documentation"

OTHER_WORKER = "other worker"
"""Name of a kind of worker whose speed is given without a name."""

Documents = Annotated[float | None, typer.Option(help="Number of documents, such as 1e9.", show_default=False)]
Tokens = Annotated[
    float | None, typer.Option(help="Mean length of a document in the model's tokens.", show_default=False)
]
Recall = Annotated[float, typer.Option(help="Share of the ten nearest vectors that a search should find.")]
Qps = Annotated[float, typer.Option(help="Searches per second at the peak.")]
SearchMode = Annotated[
    opt.Mode, typer.Option("--mode", help="Search by meaning (dense), by words (keyword), or both (hybrid).")
]
PassageTokens = Annotated[
    int | None, typer.Option(help="Maximum length of a passage in tokens [default: the model's limit, at most 512]")
]
Memory = Annotated[str | None, typer.Option(help="Memory for the vector index of a node, such as 16GB [default: 2GB]")]
Cores = Annotated[
    int | None, typer.Option(help="Number of cores of a node [default: as many as the constants were measured with]")
]
Rates = Annotated[
    list[str] | None,
    typer.Option(
        "--tokens-per-second",
        metavar="[NAME=]RATE",
        help="Tokens that another kind of worker encodes in a second, such as gpu=250000; repeatable.",
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate", help="Measure this machine first, which takes about a minute; later plans use the result."
    ),
]


def plan(
    documents: Documents = None,
    tokens: Tokens = None,
    model: opt.Model = None,
    recall: Recall = 0.98,
    qps: Qps = 1.0,
    mode: SearchMode = opt.Mode.hybrid,
    dim: opt.Dim = None,
    store_precision: opt.StorePrecision = None,
    memory: Memory = None,
    passage_tokens: PassageTokens = None,
    overlap: opt.Overlap = None,
    cores: Cores = None,
    tokens_per_second: Rates = None,
    calibrate: Calibrate = False,
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
    as_json: opt.AsJson = False,
) -> None:
    """Predict the storage, memory, encoder hours and machines that a corpus takes.

    Also recommends an engine and a vector index. Constants are those of the documentation unless this machine has been
    measured with --calibrate.
    """
    rates = _rates(tokens_per_second or ())
    if not calibrate and (documents is None or tokens is None):
        missing = "documents" if documents is None else "tokens"
        raise UsageError(f"`{missing}` is missing; expected both `documents` and `tokens`, or `calibrate`")
    measured = _calibrate(model, device, runtime) if calibrate else None
    if documents is None or tokens is None:
        assert measured
        _show_constants(measured, as_json)
        return
    from semsearch.planning.plan import plan as make

    made = make(
        documents,
        tokens,
        model=model,
        dim=dim,
        store_precision=store_precision.value if store_precision else "float32",
        passage_tokens=passage_tokens,
        overlap=overlap,
        recall=recall,
        qps=qps,
        mode=mode.value,
        memory=memory,
        cores=cores,
        tokens_per_second=rates,
        constants=measured or constants_for(model),
    )
    if as_json:
        terminal.print_json(made.to_json())
    else:
        _show(made)


def constants_for(model: str | None) -> Constants:
    """Return the constants of this machine for a model, or those for another model, or those of the documentation.

    Raises:
        SourceError: If the file with the calibrations is broken, or another version of semsearch made them.
    """
    from semsearch.encoder.checkpoints.locate import canonical_name, model_name
    from semsearch.planning.constants import DOCUMENTED
    from semsearch.planning.machine import cores, processor

    measured = read_calibrations(state_folder() / NAME)
    other = next(reversed(measured.values()), DOCUMENTED)
    chosen = measured.get(canonical_name(model_name(model)), other)
    if chosen.is_calibrated and (chosen.machine, chosen.cores) != (processor(), cores()):
        terminal.say(
            f"warning: the constants were measured on {chosen.cores} cores of {chosen.machine}, and this machine has "
            f"{cores()} of {processor()}; measure it with semsearch plan --calibrate"
        )
    return chosen


def read_calibrations(path: Path) -> dict[str, Constants]:
    """Return the constants in a file by model, the last measured ones last; none if there is no file.

    Raises:
        SourceError: If the file is broken, or another version of semsearch wrote it.
    """
    from semsearch.planning.constants import Constants

    if not path.exists():
        return {}
    try:
        found = json.loads(kept(path))
        records = [Constants.from_json(one) for one in found["measured"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | TypeError) else str(error)
        raise SourceError(f"the calibration in {str(path)!r} is broken ({why:.120}); {AGAIN}") from None
    for one in records:
        if one.version != semsearch.__version__:
            raise SourceError(
                f"the calibration in {str(path)!r} was made by semsearch {one.version:.20}, and this is "
                f"{semsearch.__version__}; {AGAIN}"
            )
    return {one.model: one for one in records}


def _calibrate(model: str | None, device: str, runtime: str) -> Constants:
    """Measure this machine, and keep the result with those for other models; a broken file is replaced."""
    from semsearch.planning.calibrate import calibrate
    from semsearch.planning.machine import cores

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > cores() / 2:
        terminal.say(
            f"warning: other programs are using this machine (load {load:.1f} on {cores()} cores), so it will seem "
            "slower than it is"
        )
    measured = calibrate(model, device=device, runtime=runtime, say=terminal.say)
    path = state_folder() / NAME
    try:
        others = [one for name, one in read_calibrations(path).items() if name != measured.model]
    except SourceError:
        others = []
    text = json.dumps({"measured": [one.to_json() for one in [*others, measured]]}, indent=1)
    keep(path, text)
    if kept(path) != text:
        terminal.say(f"warning: the calibration cannot be kept in {str(path)!r}")
    return measured


def _rates(given: Sequence[str]) -> dict[str, float]:
    """Return the speeds of other kinds of workers by name."""
    rates = {}
    for text in given:
        name, _, rate = text.rpartition("=")
        try:
            rates[name or OTHER_WORKER] = float(rate)
        except ValueError:
            raise UsageError(
                f"`tokens_per_second` is {text!r:.60}; expected a number, or a name with it, such as gpu=250000"
            ) from None
    return rates


def _show_constants(measured: Constants, as_json: bool) -> None:
    if as_json:
        terminal.print_json(measured.to_json())
        return
    terminal.table(("constant", "value"), list(measured.to_json().items()))
    terminal.line(f"kept in {state_folder() / NAME}; semsearch plan uses it from now on")


def _show(made: Plan) -> None:
    terminal.table(("", "value"), [*_corpus_rows(made), *_serving_rows(made)])
    for reason in made.reasons:
        terminal.line(as_options(f"{made.engine}: {reason}"))
    terminal.line(f"constants: {made.constants}")
    for warning in made.warnings:
        terminal.line(as_options(f"note: {warning}"))


def _corpus_rows(made: Plan) -> list[tuple[str, str]]:
    parts = ", ".join(f"{name} {size(n)}" for name, n in made.disk.items())
    return [
        ("passages", f"{made.passages:,} of up to {made.passage_tokens} tokens; {made.tokens_encoded:,} tokens in all"),
        ("vectors", f"{made.dim} dimensions in {made.store_precision}"),
        ("disk, one copy", f"{size(made.disk_bytes)}: {parts}"),
        *((f"encoder hours, {name}", _hours(hours)) for name, hours in made.encoder_hours.items()),
        ("indexing, per node", f"{_hours(made.index_hours)} h, without encoding"),
    ]


def _serving_rows(made: Plan) -> list[tuple[str, str]]:
    divided = f"{terminal.count(made.shards, 'shard')} × {terminal.count(made.replicas, 'replica')}"
    return [
        ("engine", made.engine),
        ("vector index", f"{made.vector_index}, recall@10 {made.recall:g}"),
        ("nodes", f"{made.nodes:,} ({divided}) of {terminal.count(made.cores, 'core')}"),
        ("memory, per node", f"{size(made.memory)} without a model; {size(made.build_memory)} to build"),
        (f"a {made.mode} search", f"{made.search_ms:,.2f} ms on a node, without encoding the query"),
        ("searches per second", f"{made.qps:g} wanted; {made.qps_per_core:,.2g} per core"),
    ]


def _hours(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def size(n: float) -> str:
    """Return a number of bytes as text, such as 1.5 GiB."""
    for unit in ("KiB", "MiB", "GiB"):
        n /= 1_024
        if n < 1_024:
            return f"{n:,.1f} {unit}"
    return f"{n / 1_024:,.1f} TiB"
