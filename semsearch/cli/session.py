"""Interactive query sessions: the index and its encoder stay loaded, and the prompt keeps a history.

On a terminal, lines that begin with a colon are commands. In a pipe every line is a query.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path

from semsearch.cli import open_document, terminal
from semsearch.cli.answers import Asking
from semsearch.cli.options import Mode
from semsearch.cli.state import state_folder
from semsearch.errors import SemsearchError, UsageError
from semsearch.printable import UNSEEN

PROMPT = "> "

HISTORY = "history"

DOTS = dict.fromkeys(UNSEEN, "·")


def run(asking: Asking) -> None:
    """Answer queries, one per line: from a prompt on a terminal until Ctrl-D, or else from piped standard input.

    The encoder is loaded before the first query is read. A query that cannot be answered does not end the session.
    """
    at_prompt = sys.stdin.isatty()
    asking.best_last = at_prompt
    if at_prompt:
        greet(asking)
    if asking.mode != Mode.keyword:
        _ = asking.index.encoder
    for line in _typed() if at_prompt else _piped():
        try:
            if at_prompt and line.startswith(":"):
                if not obey(asking, line):
                    return
            else:
                asking.answer(line)
        except SemsearchError as error:
            terminal.say(f"error: {error}")
        sys.stdout.flush()


def greet(asking: Asking) -> None:
    """Say what is searched, and how to get help."""
    spec = asking.index.spec
    documents = terminal.count(len(asking.index), "document")
    terminal.say(f"{asking.form.index}: {documents}, mode {asking.mode}")
    terminal.say(f"{spec.model} ({spec.pooler})")
    terminal.say("Type a query, or :help. Ctrl-D ends the session.")


def obey(asking: Asking, line: str) -> bool:
    """Execute a command line such as `:open 3`; returns whether the session goes on.

    Raises:
        UsageError: If there is no such command, or its argument is unusable.
    """
    name, _, argument = line[1:].strip().partition(" ")
    if name in QUIT:
        return False
    if name not in COMMANDS:
        raise UsageError(f"no command :{name}; type :help for the list, or a query without a colon")
    COMMANDS[name][0](asking, argument.strip())
    return True


def _open(asking: Asking, argument: str) -> None:
    rank = _number(argument or "1", ":open takes the rank of a hit, such as :open 2")
    if not 1 <= rank <= len(asking.places):
        raise UsageError(f"there is no hit {rank}; {terminal.count(len(asking.places), 'hit')} shown so far")
    place = asking.places[rank - 1]
    open_document.show(open_document.find(asking.index, asking.form.index, place, asking.query), whole=False)


def _more(asking: Asking, _: str) -> None:
    if not asking.query:
        raise UsageError("there is no query yet; type one first")
    if not asking.answer(asking.query, more=True):
        terminal.say("no more hits")


def _where(asking: Asking, argument: str) -> None:
    from semsearch.filters.read import read_filter

    if argument:
        read_filter(argument)
    asking.where = argument or None
    _changed(asking, f"filter: {argument or 'none'}")


def _mode(asking: Asking, argument: str) -> None:
    if argument not in list(Mode):
        raise UsageError(f":mode takes one of {', '.join(Mode)}")
    asking.mode = argument
    _changed(asking, f"mode: {argument}")


def _k(asking: Asking, argument: str) -> None:
    asking.k = _number(argument, ":k takes a number of hits, such as :k 20")
    _changed(asking, f"hits: {asking.k}")


def _explain(asking: Asking, _: str) -> None:
    asking.form = replace(asking.form, explain=not asking.form.explain)
    _changed(asking, f"explanations: {'on' if asking.form.explain else 'off'}")


def _order(asking: Asking, _: str) -> None:
    asking.best_last = not asking.best_last
    _changed(asking, f"order: the best hit {'last' if asking.best_last else 'first'}")


def _changed(asking: Asking, told: str) -> None:
    """Tell a change, and answer the last query again."""
    terminal.say(told)
    if asking.query:
        asking.answer(asking.query)


def _help(_: Asking, __: str) -> None:
    width = max(len(usage) for _, usage, _ in COMMANDS.values())
    for _command, usage, meaning in COMMANDS.values():
        terminal.say(f"  {usage:{width}}  {meaning}")
    terminal.say(f"  {':quit':{width}}  end the session, as Ctrl-D does")


COMMANDS: dict[str, tuple[Callable[[Asking, str], None], str, str]] = {
    "open": (_open, ":open RANK", "show a hit with the lines around it"),
    "more": (_more, ":more", "show the next hits"),
    "where": (_where, ":where FILTER", "search only what meets a filter; without one, everything"),
    "mode": (_mode, ":mode MODE", f"search by {', '.join(Mode)}"),
    "k": (_k, ":k N", "number of hits"),
    "explain": (_explain, ":explain", "show or hide why each hit was found"),
    "order": (_order, ":order", "show the best hit first or last"),
    "help": (_help, ":help", "show this list"),
}
"""Each command by name: function, usage, meaning."""

QUIT = ("quit", "q", "exit")


def _number(text: str, expected: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UsageError(expected)
    return int(text)


def _piped() -> Iterator[str]:
    """Yield the lines of standard input that are not blank."""
    if isinstance(sys.stdin, TextIOWrapper):  # a line that is not UTF-8 fails alone, without ending the session
        sys.stdin.reconfigure(errors="surrogateescape")
    yield from filter(None, map(str.strip, sys.stdin))


def _typed() -> Iterator[str]:
    """Yield the lines that are typed at the prompt and are not blank."""
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
