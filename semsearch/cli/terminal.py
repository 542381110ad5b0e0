"""Output of the commands: tables and progress bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semsearch.cli import streams
from semsearch.cli.parameters import as_options
from semsearch.printable import escape_json, one_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from semsearch.encoder.encoder import Progress
    from semsearch.ingest import IngestResult, Watch
    from semsearch.reencode import ReencodeResult
    from semsearch.types import Quantization, Storage


MATCH = "bold magenta"
"""Style of the words of a query: a color that can be read on a light and on a dark background."""


def print_json(value: Any) -> None:
    """Print one line of JSON on standard output, in ASCII if the encoding of the output is not UTF-8."""
    plain = codecs.lookup(sys.stdout.encoding).name == "utf-8"
    print(escape_json(json.dumps(value, ensure_ascii=not plain, default=list)))


def line(text: str) -> None:
    """Print a line on standard output, with control characters replaced."""
    print(one_line(text))


def block(text: str) -> None:
    """Print a text of several lines on standard output as it is; untrusted parts of it must be escaped already."""
    print(text)


def say(message: str) -> None:
    """Print a line on standard error, with options for the parameters that it names; never fails."""
    try:
        print(one_line(as_options(message)), file=sys.stderr)
    except OSError:
        streams.abandon("stderr")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on a terminal, or tab-separated lines with a header in a pipe."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            print("\t".join(one_line(str(value)) for value in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        grid.add_column(Text(_cell(column)), no_wrap=number == 0, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(_cell(value)) for value in row))
    Console().print(grid)


def heading(text: str) -> None:
    """Print a heading on standard output."""
    text = one_line(text)
    if not sys.stdout.isatty():
        print(f"\n{text}")
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(f"\n{text}", style="bold"))


def _cell(value: object) -> str:
    """Format a value for people to read."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else one_line(str(value))


def quantization(loss: Quantization | None) -> None:
    """Report the cost of int8 on standard error, if an encoder was calibrated."""
    if loss:
        say(
            f"int8 against float32: mean cosine {loss.mean_cosine:.4f}, {loss.overlap:.1%} of the ten nearest neighbors"
            f" in common, {loss.speed:.1f} times as fast on this machine"
        )


def summary(result: IngestResult, folder: str, seconds: float) -> None:
    """Print what an ingest did on standard output, and what went wrong on standard error."""
    done = [f"{result.taken:,} with their vectors"] if result.taken else []
    done += [
        f"{result.encoded - result.taken:,} encoded"
        + (f" ({count(result.passages, 'passage')})" if result.passages else "")
    ]
    done += [
        f"{n:,} {what}" for n, what in ((result.described, "with new metadata"), (result.unchanged, "unchanged")) if n
    ]
    done += [f"{result.deleted:,} deleted"] if result.deleted else []
    line(f"{count(result.documents, 'document')} in {seconds:.1f} s: {', '.join(done)}")
    if result.shards:
        earlier = f", {result.shards_found:,} of them by an earlier run" if result.shards_found else ""
        line(f"{count(result.shards, 'shard')} encoded on the cluster{earlier}")
    truncation(result)
    storage(result.storage)
    line(f"index: {folder}")
    if result.empty:
        documents = count(result.empty, "empty document")
        say(f"warning: {documents} (no text, no title) cannot be found: {_some(result.empty_ids, result.empty)}")
    unknown(result)
    if result.bad:
        for error in result.errors:
            say(f"skipped: {error}")
        whole_files = all(error.found and error.line is None for error in result.errors)
        say(f"warning: skipped {count(result.bad, 'bad file' if whole_files else 'bad record')}")
    if result.textless:
        files = count(result.textless, "PDF")
        say(f"warning: skipped {files} without text (logos or scans), such as {result.textless_files[0]}")
    if result.vanished:
        documents = count(result.vanished, "document")
        some = _some(result.vanished_ids, result.vanished)
        say(f"warning: {documents} no longer in the corpus; --delete-missing removes them: {some}")
    if result.not_deleted:
        documents, them = count(result.not_deleted, "document"), "it is" if result.not_deleted == 1 else "they are"
        say(f"warning: kept {documents} that may be missing: could not check whether {them} gone")


def storage(stored: Storage) -> None:
    """Print what the precision of stored vectors costs, unless it is float32."""
    if stored.mean_cosine is not None and stored.overlap is not None:
        line(
            f"vectors are stored as {stored.store_precision}: mean cosine {stored.mean_cosine:.6f} to float32, "
            f"{stored.overlap:.1%} of the ten nearest neighbors in common among {count(stored.measured, 'passage')}"
        )


def truncation(result: IngestResult | ReencodeResult) -> None:
    """Print how much of the encoded passages was truncated."""
    if result.truncated:
        share = 100 * result.tokens_lost / result.tokens
        line(
            f"{result.truncated:,} of {count(result.passages, 'passage')} truncated: {result.tokens_lost:,} of "
            f"{result.tokens:,} tokens lost ({share:.1f}%); --on-long chunk keeps them all"
        )
    elif result.passages:
        line(f"no passage was truncated ({count(result.tokens, 'token')})")


def unknown(result: IngestResult | ReencodeResult) -> None:
    """Report the documents that the encoder cannot tell apart on standard error."""
    if result.unknown:
        documents = count(result.unknown, "document")
        names = _some(result.unknown_ids, result.unknown)
        say(f"warning: {documents} without any token that the model knows cannot be found by meaning: {names}")


def count(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _some(ids: Sequence[str], n: int) -> str:
    """Return the first ids and the number of further ones."""
    return ", ".join(ids) + (f" and {n - len(ids):,} more" if n > len(ids) else "")


def result_json(result: IngestResult, folder: str, seconds: float) -> dict[str, Any]:
    """Return the summary of an ingest as the object that `--json` prints."""
    left_out = ("errors", "in_flight", "passages_in_flight", "bytes_read", "share_done", "quantization")
    fields = {name: value for name, value in asdict(result).items() if name not in left_out}
    loss = asdict(result.quantization) if result.quantization else {}
    errors = [as_options(str(error)) for error in result.errors]
    return {"index": folder, "seconds": round(seconds, 3), **fields, "errors": errors, **loss}


@contextmanager
def ingesting(total: int | None) -> Iterator[Watch | None]:
    """Show a progress bar for adding files; yields its callback, or None if standard error is not a terminal.

    What is done is measured in bytes of the files: those read so far, less what is still to be encoded of them.

    Args:
        total: Number of bytes to read; None if unknown.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with _bars("{task.fields[documents]}, {task.fields[rate]}", share=True) as shown:
        task = shown.add_task("indexing", total=total or None, documents=count(0, "doc"), rate="–")
        most = 0.0

        def move(result: IngestResult) -> None:
            nonlocal most
            most = max(most, result.bytes_read * result.share_done)
            passages = result.passages + result.passages_in_flight
            rate = passages / (shown.tasks[0].elapsed or 1e-9)
            documents = count(int(result.documents + result.in_flight), "doc")
            done = total is not None and most >= total
            shown.update(
                task,
                description="finishing" if done else "indexing",
                completed=most - done,  # a finished task's clock stands still
                documents=documents,
                rate=f"{rate:,.0f} passages/s",
            )

        yield move


@contextmanager
def progress(total: int | None, what: str) -> Iterator[Watch | None]:
    """Show a progress bar for an ingest; yields its callback, or None if standard error is not a terminal.

    Args:
        total: Number of records to read; None if unknown.
        what: Name of the work.
    """
    with bar(what, "docs", total) as move:
        yield None if move is None else lambda result: move(result.documents + result.in_flight)


@contextmanager
def counting(what: str, unit: str, total: int | None = None) -> Iterator[Progress | None]:
    """Show a progress bar for work that reports how much it has just done, such as an encoder.

    Yields a function to call with that number, or None if standard error is not a terminal.

    Args:
        what: Name of the work.
        unit: Plural noun for what is counted.
        total: How much there is to do; None if unknown.
    """
    with bar(what, unit, total) as move:
        done = 0

        def tick(n: int) -> None:
            nonlocal done
            done += n
            if move:
                move(done)

        yield tick if move else None


@contextmanager
def bar(what: str, unit: str, total: int | None) -> Iterator[Callable[[float], None] | None]:
    """Show a progress bar with rate and remaining time on standard error.

    Yields a function that sets the amount of work done, or None if standard error is not a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    with _bars(f"{{task.fields[rate]}} {unit}/s") as shown:
        task = shown.add_task(what, total=total, rate="–")

        def move(done: float) -> None:
            elapsed = shown.tasks[0].elapsed or 1e-9
            shown.update(task, completed=int(done), rate=f"{done / elapsed:,.0f}")

        yield move


@contextmanager
def stages(what: str) -> Iterator[Callable[[str], None] | None]:
    """Show which part of some work is being done on standard error.

    Yields a function that receives the name of each part, or None if standard error is not a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as shown:
        yield lambda part: shown.update(f"{what}: {part}")


@contextmanager
def steps() -> Iterator[Callable[[int, int, float | None, float | None], None]]:
    """Show a progress bar with loss, score and remaining time for a training run on standard error.

    Yields a function that sets the step, the number of steps, and the loss or the score if there is a new one.
    """
    with _bars("loss {task.fields[loss]}, score {task.fields[score]}") as shown:
        task = shown.add_task("training", total=None, loss="–", score="–")

        def move(step: int, of: int, loss: float | None, score: float | None) -> None:
            fields = shown.tasks[0].fields
            fields |= {name: f"{value:.4f}" for name, value in (("loss", loss), ("score", score)) if value is not None}
            shown.update(task, completed=step, total=of)

        yield move


def _bars(state: str, *, share: bool = False) -> Bars:
    """Return progress bars on standard error: the work, how much of it is done, a state, and the time taken and left.

    Args:
        state: Template of the state.
        share: Whether to show how much is done in percent, rather than as a number.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn() if share else MofNCompleteColumn(),
        TextColumn(state),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, speed_estimate_period=ESTIMATED_FROM)


ESTIMATED_FROM = 120.0
"""Seconds of work from which the time left is estimated: enough for some batches, so that it does not jump."""
