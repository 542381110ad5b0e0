"""Output of `semsearch index --watch`: one line for each update."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from semsearch.cli import terminal

if TYPE_CHECKING:
    from semsearch.watching import Update


def follow(updates: Iterator[Update], folder: str, *, as_json: bool) -> None:
    """Print each update when it is done: a line on standard error, or an object of JSON on standard output."""
    sys.stdout.flush()
    for update in updates:
        result, now = update.result, datetime.now().astimezone()
        if as_json:
            fields = terminal.result_json(result, folder, update.seconds)
            terminal.print_json({"time": now.isoformat(timespec="milliseconds"), **fields})
            sys.stdout.flush()
            continue
        for error in result.errors:
            terminal.say(f"skipped: {error}")
        counts = {"updated": result.encoded + result.described, "deleted": result.deleted, "skipped": result.bad}
        done = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)
        terminal.say(f"{now:%H:%M:%S} {done} ({update.seconds:.1f} s)")
