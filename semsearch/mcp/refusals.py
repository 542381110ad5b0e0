"""Error messages for the model that called a tool, which say what to do and reveal nothing about this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import ToolError

from semsearch.errors import MismatchError, ModelError, NoIndexError, SemsearchError, UsageError

log = logging.getLogger(__name__)

MODEL = "cannot load its model; use mode 'keyword', which needs none"

ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (NoIndexError, "no longer exists; use another one from `list_indexes`, or ask its owner to rebuild it"),
    (MismatchError, "was rebuilt, or its model has changed; try again, or use mode 'keyword'"),
    (ModelError, MODEL),
    (Exception, "is unavailable at the moment; try again later (the reason is in the server's log)"),
)
"""What to say about an index, by class of error; the first matching class decides."""


def advice(error: Exception) -> str:
    """Return what to say about an index that cannot be used."""
    return next(said for kind, said in ADVICE if isinstance(error, kind))


@contextmanager
def refusing(index: str) -> Iterator[None]:
    """Turn an error from an index into a ToolError that a model can act on.

    The message of a UsageError is passed on. Other errors may name paths on this machine, so they are only logged.
    """
    try:
        yield
    except UsageError as error:
        raise ToolError(str(error)) from None
    except (SemsearchError, OSError) as error:
        log.warning("the index %r: %s", index, error)
        raise ToolError(f"the index {index!r} {advice(error)}") from None
