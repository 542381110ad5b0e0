"""Interactive query sessions: the index and its encoder stay loaded, and the prompt keeps a history."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from semsearch.cli.state import state_folder
from semsearch.printable import UNSEEN

if TYPE_CHECKING:
    from semsearch.index import Index

PROMPT = "> "

HISTORY = "history"

DOTS = dict.fromkeys(UNSEEN, "·")


def questions(index: Index, mode: str) -> Iterator[str]:
    """Yield queries, one per line: from a prompt on a terminal until Ctrl-D, or else from piped standard input.

    The encoder is loaded before the first query is read.
    """
    if mode != "keyword":
        _ = index.encoder
    if not sys.stdin.isatty():
        if isinstance(sys.stdin, TextIOWrapper):  # a line that is not UTF-8 fails alone, without ending the session
            sys.stdin.reconfigure(errors="surrogateescape")
        yield from filter(None, map(str.strip, sys.stdin))
        return
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

    class Visible(Processor):
        """Shows characters that would reorder the line as dots; the prompt itself takes care of other controls."""

        def apply_transformation(self, given: TransformationInput) -> Transformation:
            return Transformation([(part[0], part[1].translate(DOTS)) for part in given.fragments])

    path = _history_file()
    history: History = FileHistory(str(path)) if path else InMemoryHistory()
    session: PromptSession[str] = PromptSession(history=history, input_processors=[Visible()])
    while True:
        try:
            line = session.prompt(PROMPT).strip()
        except KeyboardInterrupt:  # discards the line, as a shell does
            continue
        except EOFError:
            return
        if line:
            yield line


def _history_file() -> Path | None:
    """Return the path of the history, readable only by the user, or None if it cannot be created."""
    path = state_folder() / HISTORY
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        return path
    return None
