"""Errors as HTTP responses: one table that maps the exceptions of semsearch.errors to status and code.

The response has the error's one-line message, unless that names locations on this machine: then the message goes to
the log, and the client is told what to do instead. Each contract formats the body in its own way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from semsearch import errors

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request failed.

    Attributes:
        status: HTTP status.
        code: Machine-readable code, such as `unknown_index`.
        message: One line: what was given, what was expected, what to do.
        retry_after: Seconds after which the same request may succeed; None for never.
    """

    status: int
    code: str
    message: str
    retry_after: int | None = None


TABLE: dict[type[Exception], tuple[int, str, int | None]] = {
    errors.FilterError: (400, "bad_filter", None),
    errors.UsageError: (400, "bad_request", None),
    errors.RecordError: (400, "bad_document", None),
    errors.SourceError: (400, "bad_document", None),
    errors.UnauthorizedError: (401, "unauthorized", None),
    errors.ForbiddenError: (403, "forbidden", None),
    errors.UnknownIndexError: (404, "unknown_index", None),
    errors.UnknownDocumentError: (404, "unknown_document", None),
    errors.NoIndexError: (404, "index_gone", None),
    errors.LockedError: (409, "locked", 2),
    errors.MismatchError: (409, "mismatch", None),
    errors.SchemaError: (409, "schema", None),
    errors.TooLargeError: (413, "too_large", None),
    errors.OverloadedError: (429, "overloaded", 1),
    errors.ClientGoneError: (499, "client_gone", None),
    errors.DamagedError: (500, "damaged", None),
    errors.StoreError: (500, "index_unusable", None),
    errors.LanguageModelError: (502, "language_model", None),
    errors.NotReadyError: (503, "not_ready", 2),
    errors.ModelError: (503, "model_unusable", None),
    errors.TimeLimitError: (504, "time_limit", None),
    errors.DiskFullError: (507, "disk_full", None),
    errors.SemsearchError: (500, "error", None),
}
"""Maps an error to status, code and seconds before a retry; unlisted errors use those of their nearest ancestor."""

SEE_LOG = "see the server's log for the reason"

TOLD: Mapping[type[Exception], str] = {
    errors.NoIndexError: "the index no longer exists; have it rebuilt, or use another one",
    errors.LockedError: "another process is writing to the index; try again",
    errors.MismatchError: f"the index was rebuilt, or its model has changed; try again ({SEE_LOG})",
    errors.DiskFullError: "the server's disk is full; everything acknowledged so far is kept",
    errors.StoreError: f"the index cannot be used; {SEE_LOG}",
    errors.ModelError: f"a model cannot be used; {SEE_LOG}",
}
"""Messages in place of those that name locations on this machine; the nearest ancestor of the error decides."""

BUG = Problem(500, "internal_error", "unexpected error in the server; see its log for details")


def problem_of(error: BaseException) -> Problem:
    """Return an error as a client sees it; one that was not raised on purpose reveals nothing.

    If the client gets another message than the error's own, the latter goes to the log.
    """
    for kind in type(error).__mro__:
        if kind in TABLE:
            status, code, retry_after = TABLE[kind]
            if told(error) != line_of(error):
                log.warning("%s: %s", code, line_of(error))
            return Problem(status, code, told(error), retry_after)
    return BUG


def told(error: BaseException) -> str:
    """Return the message that a client gets for an error."""
    return next((TOLD[kind] for kind in type(error).__mro__ if kind in TOLD), line_of(error))


def line_of(error: BaseException) -> str:
    """Return the message of an error as one line."""
    return " ".join(str(error).split())
