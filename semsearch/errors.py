"""All errors that semsearch raises deliberately; the command line prints each as one line.

    SemsearchError                 any of the errors below; the command line exits 1
    ├── UsageError                 the request itself is invalid; the command line exits 2
    │   └── FilterError            a filter does not parse or names an unknown field
    ├── RecordError                one record of a corpus is unusable; carries file and line
    ├── SourceError                a whole file, folder or stream cannot be read as a corpus
    ├── ModelError                 a checkpoint cannot be loaded, or lacks what was requested
    │   └── UnsupportedError       a runtime cannot run the checkpoint, or is not installed
    ├── ClusterError               a cluster cannot be reached, or its workers cannot encode
    ├── TrainingError              training cannot go on, for example because the loss is not a number
    ├── ServingError               the server cannot answer a request
    │   ├── UnknownIndexError      no index of that name is served, or the key gives no access to it
    │   ├── UnknownDocumentError   the index has no document with that id
    │   ├── UnauthorizedError      the key is missing or wrong
    │   ├── ForbiddenError         the key does not permit the request, or its host or origin is not allowed
    │   ├── TooLargeError          the request exceeds one of the server's limits
    │   ├── OverloadedError        too many requests are waiting already
    │   ├── NotReadyError          the model is still loading
    │   ├── TimeLimitError         the answer took too long
    │   ├── LanguageModelError     the language model's server is down, slow, or returns an invalid answer
    │   └── ClientGoneError        the client disconnected before the answer was ready
    └── StoreError                 an index folder cannot be used
        ├── NoIndexError           the folder does not exist, or is not an index
        ├── DamagedError           the index is damaged: its content is not what was written
        ├── SchemaError            a newer semsearch wrote the index, or an older one in a folder that is read-only now
        ├── MismatchError          the index was built with another encoder or other chunking settings
        ├── LockedError            another process is writing to the index
        └── DiskFullError          the disk is full; committed batches are kept

Each message says what was given, what was expected, and what to do. Messages name parameters in backticks, such as
`id_field`; only the command line translates these into its options.
"""

from __future__ import annotations

from typing import Any


class SemsearchError(Exception):
    """Base class of all errors that semsearch raises deliberately."""


class UsageError(SemsearchError):
    """The request itself is invalid: for example an unknown pooler, k below 1, or an empty query."""


class FilterError(UsageError):
    """A filter does not parse, or names a field that no document has."""


class RecordError(SemsearchError):
    """One record of a corpus is unusable.

    Attributes:
        source: The file, as the user named it.
        line: 1-based number of the line or record; None if the file is a single record.
        reason: The problem, and what to do about it.
        origin: The file as a `semsearch.types.Origin`; None for a record from memory.
        textless: Whether it is a file without any text, such as a logo or a scan, which runs only count.
    """

    origin: Any = None
    textless: bool = False

    def __init__(self, source: str, line: int | None, reason: str) -> None:
        super().__init__(source, line, reason)  # so that the error can be copied and pickled
        self.source, self.line, self.reason = source, line, reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"

    @property
    def found(self) -> bool:
        """Whether the record is in a file that was found in a folder; such a file does not stop a run."""
        return self.origin is not None and self.origin.found

    @property
    def place(self) -> str:
        """The location as `file:line`, or the file alone if there is no line number."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


class SourceError(SemsearchError):
    """A whole file, folder or stream cannot be read as a corpus."""


class ModelError(SemsearchError):
    """A checkpoint cannot be loaded, or lacks what was requested."""


class UnsupportedError(ModelError):
    """A runtime cannot run a checkpoint, does not support the precision, or is not installed."""


class ClusterError(SemsearchError):
    """A cluster cannot be reached, or its workers cannot encode; says which node, and what differs there."""


class TrainingError(SemsearchError):
    """Training cannot go on, for example because the loss is not a number; the last good checkpoint is kept."""


class ServingError(SemsearchError):
    """The server cannot answer a request."""


class UnknownIndexError(ServingError):
    """No index of that name is served, or the key gives no access to it."""


class UnknownDocumentError(ServingError):
    """The index has no document with that id."""


class UnauthorizedError(ServingError):
    """The request's key is missing or wrong."""


class ForbiddenError(ServingError):
    """The key does not permit the request, or the request's host or origin is not allowed."""


class TooLargeError(ServingError):
    """The request exceeds one of the server's limits."""


class OverloadedError(ServingError):
    """Too many requests are waiting already; retry later."""


class NotReadyError(ServingError):
    """The model is still loading; retry later."""


class TimeLimitError(ServingError):
    """The answer took longer than the server's time limit."""


class LanguageModelError(ServingError):
    """The language model behind the chat cannot be reached, or its answer is empty or invalid."""


class ClientGoneError(ServingError):
    """The client disconnected before the answer was ready."""


class StoreError(SemsearchError):
    """An index folder cannot be used."""


class NoIndexError(StoreError):
    """The folder does not exist, or does not contain an index."""


class DamagedError(StoreError):
    """The index is damaged: its content is not what was written. The message says what to do."""


class SchemaError(StoreError):
    """A newer semsearch wrote the index, or an older one did and the folder is read-only, so it cannot be upgraded."""


class MismatchError(StoreError):
    """The index was built with another encoder or other chunking settings."""


class LockedError(StoreError):
    """Another process is writing to the index."""


class DiskFullError(StoreError):
    """The disk is full; committed batches are kept."""
