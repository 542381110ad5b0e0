"""What a model is told when a call cannot be answered: what to do instead, and nothing of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import ToolError

from semsearch.errors import MismatchError, ModelError, NoIndexError, SemsearchError, UsageError

log = logging.getLogger(__name__)

MODEL = "cannot load its model; ask with mode 'keyword', which needs none"

ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (NoIndexError, "is not there any more; use another one of `list_indexes`, or ask its owner to build it again"),
    (MismatchError, "was built again, or its model has changed; ask once more, or with mode 'keyword'"),
    (ModelError, MODEL),
    (Exception, "cannot be used at the moment; try again later, its owner finds the reason in the server's log"),
)
"""The first class that an error belongs to decides what is said of the index."""


def advice(error: Exception) -> str:
    """What is said of an index that cannot be used."""
    return next(said for kind, said in ADVICE if isinstance(error, kind))


@contextmanager
def refusing(index: str) -> Iterator[None]:
    """Turn what an index refuses into an error that a model can act on.

    A wrong request is told as the library says it. Other errors name paths of this machine: they go to the log.
    """
    try:
        yield
    except UsageError as error:
        raise ToolError(str(error)) from None
    except (SemsearchError, OSError) as error:
        log.warning("the index %r: %s", index, error)
        raise ToolError(f"the index {index!r} {advice(error)}") from None
