"""A session of queries: the index and its encoder stay open, and a prompt remembers what was asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_state_path

from semsearch.printable import UNSEEN

if TYPE_CHECKING:
    from semsearch.index import Index

PROMPT = "> "

HISTORY = "history"

DOTS = dict.fromkeys(UNSEEN, "·")


def questions(index: Index, mode: str) -> Iterator[str]:
    """What is asked, a line each: at a prompt on a terminal, until Ctrl-D; from standard input where that is piped.

    The encoder is loaded before the first is asked for.
    """
    if mode != "keyword":
        _ = index.encoder
    if not sys.stdin.isatty():
        if isinstance(
            sys.stdin, TextIOWrapper
        ):  # what is not UTF-8 is refused as one query, and does not end the others
            sys.stdin.reconfigure(errors="surrogateescape")
        yield from filter(None, map(str.strip, sys.stdin))
        return
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

    class Visible(Processor):
        """Shows a dot for what would rearrange the line; all other controls are shown by the prompt itself."""

        def apply_transformation(self, given: TransformationInput) -> Transformation:
            return Transformation([(part[0], part[1].translate(DOTS)) for part in given.fragments])

    path = _history_file()
    history: History = FileHistory(str(path)) if path else InMemoryHistory()
    session: PromptSession[str] = PromptSession(history=history, input_processors=[Visible()])
    while True:
        try:
            line = session.prompt(PROMPT).strip()
        except KeyboardInterrupt:  # forgets the line, as a shell does
            continue
        except EOFError:
            return
        if line:
            yield line


def _history_file() -> Path | None:
    """The user's own file, readable by nobody else; None where there can be none."""
    path = user_state_path("semsearch") / HISTORY
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        return path
    return None
