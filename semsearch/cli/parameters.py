"""Translation of the parameters that the library's messages name, such as `id_field`, into command-line options."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

RENAMED = {"tokens": "chunk_tokens", "folder": "index", "location": "index", "workers": "cluster_workers"}
"""Parameters of the commands by parameters of the library, where their names differ."""

_PARAMETER = re.compile(r"`([a-z][a-z_]*)`")

_process: dict[str, Any] = {}  # global because warnings come from any thread


def speak_for(command: Any) -> None:
    """Make messages name the options of this click command and its subcommands."""
    _process["command"] = command


def as_options(message: str) -> str:
    """Return a message with every parameter replaced by its option, such as `id_field` by --id-field.

    Options of the running command take precedence; a parameter that it lacks may be an option of another command.
    Anything else in backticks stays as it is.
    """
    if "`" not in message or not _process:
        return message
    top = _process["command"]
    own = _options(_running(top, sys.argv[1:]))
    options = {name: option for command in _all(top) for name, option in _options(command).items()} | own
    options |= {name: options[renamed] for name, renamed in RENAMED.items() if name not in own and renamed in options}
    return _PARAMETER.sub(lambda found: options.get(found[1], found[0]), message)


def _options(command: Any) -> dict[str, str]:
    """Map each parameter to its option, in the long spelling if there is one; arguments have no option."""
    return {one.name: one.opts[0] for one in command.params if one.opts[0].startswith("-")}


def _running(command: Any, words: list[str]) -> Any:
    """Return the innermost command that these words call."""
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
