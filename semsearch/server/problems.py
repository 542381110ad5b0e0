"""Errors as HTTP answers: one table from the tree of semsearch.errors to status and code.

The message is the error's one line, unless that names places of this machine: then the log has it, and whoever asked is
told what to do. Each contract gives the body its own shape.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from semsearch import errors

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request has no answer.

    Attributes:
        status: HTTP's.
        code: A word that programs can compare, such as `unknown_index`.
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
"""Error to status, code and seconds to wait; an error that is not here has what its nearest ancestor has."""

SEE_LOG = "the reason is in the server's log"

TOLD: Mapping[type[Exception], str] = {
    errors.NoIndexError: "the index is not there any more; have it built again, or ask another one",
    errors.LockedError: "another process is writing to the index; try again",
    errors.MismatchError: f"the index was built again, or its model has changed; ask once more ({SEE_LOG})",
    errors.DiskFullError: "the server's disk is full; what was acknowledged is kept",
    errors.StoreError: f"the index cannot be used; {SEE_LOG}",
    errors.ModelError: f"a model cannot be used; {SEE_LOG}",
}
"""What is told in place of errors whose line names places of this machine; the nearest ancestor decides."""

BUG = Problem(500, "internal_error", "the server met an error that it did not expect; its log tells more")


def problem_of(error: BaseException) -> Problem:
    """What an error means to whoever asked; one that was not raised on purpose tells nothing.

    Where that is not the error's own line, the line goes to the log.
    """
    for kind in type(error).__mro__:
        if kind in TABLE:
            status, code, retry_after = TABLE[kind]
            if told(error) != line_of(error):
                log.warning("%s: %s", code, line_of(error))
            return Problem(status, code, told(error), retry_after)
    return BUG


def told(error: BaseException) -> str:
    """What whoever asked is told of an error."""
    return next((TOLD[kind] for kind in type(error).__mro__ if kind in TOLD), line_of(error))


def line_of(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
