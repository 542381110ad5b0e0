"""The `semsearch open` command, which shows a document, or the passage of a hit with the lines around it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.locations import find_index
from semsearch.cli.recent import Place, last_hits
from semsearch.cli.terminal import MATCH
from semsearch.errors import SourceError, UsageError
from semsearch.printable import harmless, one_line
from semsearch.stores.addresses import is_url, parse_address

if TYPE_CHECKING:
    from semsearch.index import Index
    from semsearch.stores.base import StoredDocument
    from semsearch.stores.open import Location

LINES, CHARS = 4, 800
"""Maximum number of lines, and of characters, that are shown before a passage, and after it."""

MARGIN = "▌ "
"""Marks the lines of the passage."""

WIDTH = 120
"""Maximum width of a line, in columns: wider ones are hard to read, and narrower ones break code."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A document, and where the passage is that is shown; `start` and `end` are equal for the whole document."""

    document: StoredDocument
    file: str
    start: int = 0
    end: int = 0
    query: str = ""

    def parts(self, *, whole: bool) -> tuple[str, str, str]:
        """Return the text before the passage, the passage, and the text after it; shortened unless `whole`."""
        text = self.document.text
        if self.start == self.end:
            return "", text, ""
        before, behind = text[: self.start], text[self.end :]
        if not whole:
            near, far = before[-CHARS:].split("\n")[-LINES:], behind[:CHARS].split("\n")[:LINES]
            before = f"{'…' if len(before) > len(chr(10).join(near)) else ''}{chr(10).join(near)}"
            behind = f"{chr(10).join(far)}{'…' if len(behind) > len(chr(10).join(far)) else ''}"
        return before, text[self.start : self.end], behind


Which = Annotated[
    str, typer.Argument(metavar="RANK|ID", help="Rank of a hit of the last query, such as 2, or the id of a document.")
]
ById = Annotated[bool, typer.Option("--id", help="Take a number for the id of a document instead of a rank.")]
Whole = Annotated[bool, typer.Option("--all", help="Show the whole document, not only what is around the passage.")]
JustPath = Annotated[bool, typer.Option("--path", help="Print only the path of the file that the document is from.")]


def open_(
    which: Which,
    index: opt.WhichIndex = None,
    by_id: ById = False,
    whole: Whole = False,
    path: JustPath = False,
    as_json: opt.AsJson = False,
) -> None:
    """Show a hit of the last query, or a document.

    A hit is shown with the lines around its passage. On a terminal, what does not fit is shown in a pager ($PAGER).
    """
    from semsearch.index import Index

    query, found, place = _hit(int(which), index) if which.isdecimal() and not by_id else ("", None, None)
    where = found or find_index(index, newest=True)
    with Index.open(where) as opened:
        shown = find(opened, where, place or Place(which, 0, 0), query)
    if path:
        if not shown.file:
            raise SourceError(f"document {shown.document.doc_id!r} does not come from a file")
        terminal.print_json({"path": shown.file}) if as_json else terminal.line(shown.file)
    elif as_json:
        terminal.print_json(_as_object(shown, where))
    else:
        show(shown, whole=whole)


def _hit(rank: int, index: str | None) -> tuple[str, Location, Place]:
    """Return the last query, its index and a hit; the user learns which query that was.

    Raises:
        UsageError: If there is no such hit, or another index was given.
    """
    last = last_hits()
    if last is None:
        raise UsageError(f"there was no query yet, so there is no hit {rank}; to open a document by id, add --id")
    if not 1 <= rank <= len(last.places):
        n = terminal.count(len(last.places), "hit")
        raise UsageError(
            f"the last query, {last.query!r:.60}, has {n}, got {rank}; for the document of that id, add --id"
        )
    if index and _whole(index) != last.index:
        raise UsageError(f"the last query searched {last.index}; omit --index, or add --id to open a document")
    folder = last.index
    if is_url(folder):
        place: Location = parse_address(index or folder)  # the kept one has no password
    else:
        place = Path(os.path.relpath(folder)) if Path(folder).is_relative_to(Path.cwd()) else Path(folder)
    terminal.say(f"hit {rank} of {last.query!r:.60} in {place}")
    return last.query, place, last.places[rank - 1]


def _whole(index: str) -> str:
    """Return a given index as it is kept."""
    return str(parse_address(index) if is_url(index) else Path(index).resolve())


def find(index: Index, folder: Location, place: Place, query: str = "") -> Shown:
    """Return what to show of a document.

    Args:
        index: The index that contains it.
        folder: The place of this index.
        place: The document, and the passage; the whole document if the passage is empty.
        query: Query whose words are highlighted.

    Raises:
        SourceError: If there is no such document, or the passage is no longer in it.
    """
    from semsearch.stores.open import open_store

    document = index.documents([place.doc_id]).get(place.doc_id)
    if document is None:
        raise SourceError(f"no document {place.doc_id!r} in {str(folder)!r}; find its id with: semsearch query")
    if place.end > len(document.text):
        raise SourceError(f"document {place.doc_id!r} has changed since the query; search again, or add --id")
    with closing(open_store(folder)) as store:
        return Shown(document, store.file_of(place.doc_id), place.start, place.end, query)


def _as_object(shown: Shown, folder: Location) -> dict[str, Any]:
    document = shown.document
    fields = {"index": str(folder), "doc_id": document.doc_id, "title": document.title, "text": document.text}
    return {**fields, "start": shown.start, "end": shown.end, "path": shown.file, "metadata": document.metadata}


def show(shown: Shown, *, whole: bool) -> None:
    """Print a document or a part of it: styled and in a pager on a terminal, otherwise as it is."""
    parts = shown.parts(whole=whole)
    if not sys.stdout.isatty():
        terminal.block(harmless("".join(parts)))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    document = shown.document
    head = Text(one_line(document.title or document.doc_id), style="bold")
    head.append(f"  {one_line(document.doc_id)}", style="not bold dim")
    lines = [head, Text(one_line(shown.file), style="dim")] if shown.file else [head]
    with console.capture() as captured:
        for line in (*lines, Text()):
            console.print(line)
        first = _print_parts(console, parts, shown)
    _page(captured.get(), first + len(lines) + 1)


def _print_parts(console: Any, parts: tuple[str, str, str], shown: Shown) -> int:
    """Print the text around a passage dimmed and the passage behind a margin; returns the number of lines before it."""
    from rich.text import Text

    from semsearch.stores.words.matches import find_matches

    before, passage, behind = (harmless(part).expandtabs(4).strip("\n") for part in parts)
    width = min(console.width, WIDTH)
    body = Text(passage)
    for start, end in find_matches(shown.query, [passage])[0] if shown.query else ():
        body.stylize(MATCH, start, end)
    rows = [(Text(before, "dim"), "  ")] if before else []
    rows += [(body, "" if shown.start == shown.end else MARGIN)]
    rows += [(Text(behind, "dim"), "  ")] if behind else []
    printed = passage_at = 0
    for text, margin in rows:
        passage_at = printed if text is body else passage_at
        for line in text.wrap(console, max(width - len(margin), 1)):
            line.rstrip()
            console.print(Text.assemble((margin, "cyan"), line))
            printed += 1
    return passage_at


def _page(text: str, line: int) -> None:
    """Show a text in the user's pager, beginning at a line if the pager is `less`, or print it if there is none."""
    command = shlex.split(os.environ.get("PAGER", "")) or ["less"]
    program = shutil.which(command[0])
    if program is None or text.count("\n") < shutil.get_terminal_size().lines:
        terminal.block(text.removesuffix("\n"))
        return
    if Path(program).name == "less":
        command += ["-R", f"+{max(line - LINES, 1)}"]
    sys.stdout.flush()
    with _undisturbed(), suppress(OSError):
        subprocess.run(command, input=text.encode(), check=False)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave Ctrl-C to the pager."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
