"""The library's messages name parameters, as in `id_field`; on the command line these become options."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

RENAMED = {"tokens": "chunk_tokens", "folder": "index", "location": "index"}
"""Parameters of the library to parameters of commands, where these have other names."""

_PARAMETER = re.compile(r"`([a-z][a-z_]*)`")

_process: dict[str, Any] = {}  # the command that this process runs; warnings come from any thread


def speak_for(command: Any) -> None:
    """From now on messages name the options of this click command and of those below it."""
    _process["command"] = command


def as_options(message: str) -> str:
    """A message with every parameter of a command replaced by its option: `id_field` by --id-field.

    The command that runs comes first; a parameter that it lacks may be an option of another one. Anything else in
    backticks stays as it is.
    """
    if "`" not in message or not _process:
        return message
    top = _process["command"]
    own = _options(_running(top, sys.argv[1:]))
    options = {name: option for command in _all(top) for name, option in _options(command).items()} | own
    options |= {name: options[renamed] for name, renamed in RENAMED.items() if name not in own and renamed in options}
    return _PARAMETER.sub(lambda found: options.get(found[1], found[0]), message)


def _options(command: Any) -> dict[str, str]:
    """Parameter to option, the long spelling where there is one; arguments have none."""
    return {one.name: one.opts[0] for one in command.params if one.opts[0].startswith("-")}


def _running(command: Any, words: list[str]) -> Any:
    """The innermost command that these words call."""
    for word in words:
        below = getattr(command, "commands", {})
        if word not in below:
            break
        command = below[word]
    return command


def _all(command: Any) -> Iterator[Any]:
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from _all(below)
