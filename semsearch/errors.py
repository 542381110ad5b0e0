"""Every error that semsearch raises on purpose; the command line prints each as one line.

    SemsearchError                 anything below; the command line exits 1
    ├── UsageError                 the request itself makes no sense; the command line exits 2
    │   └── FilterError            a filter that cannot be read or names an unknown field
    ├── RecordError                one record of a corpus is unusable; carries file and line
    ├── SourceError                a whole file, folder or stream cannot be read as a corpus
    ├── ModelError                 a checkpoint cannot be loaded, or lacks what was requested
    │   └── UnsupportedError       a runtime cannot run it, or is not installed
    ├── ServingError               a server cannot answer a request
    │   ├── UnknownIndexError      no index of that name is served, or not with this key
    │   ├── UnknownDocumentError   the index has no document with that id
    │   ├── UnauthorizedError      no key, or a wrong one
    │   ├── ForbiddenError         the key does not allow it, or a wrong host or origin
    │   ├── TooLargeError          a request is over one of the server's limits
    │   ├── OverloadedError        too much is waiting already
    │   ├── NotReadyError          the model is not loaded yet
    │   ├── TimeLimitError         the answer took too long
    │   ├── LanguageModelError     the server of a language model is down, slow, or answers nonsense
    │   └── ClientGoneError        nobody waits for the answer anymore
    └── StoreError                 an index folder cannot be used
        ├── NoIndexError           it does not exist, or is not an index
        ├── DamagedError           something in it is not what was written
        ├── SchemaError            it was written by a newer semsearch, or an older one where nothing may be written
        ├── MismatchError          it was built with another encoder or other chunking settings
        ├── LockedError            another process is writing to it
        └── DiskFullError          the disk is full; committed batches are kept

Messages say what was given, what was expected, and what to do. They name parameters in backticks, such as `id_field`;
only the command line translates these into its options.
"""

from __future__ import annotations

from typing import Any


class SemsearchError(Exception):
    """Root of the tree drawn above; catches everything that semsearch raises on purpose."""


class UsageError(SemsearchError):
    """The request itself makes no sense: an unknown pooler, k below 1, an empty query."""


class FilterError(UsageError):
    """A filter that cannot be read, or names a field that no document has."""


class RecordError(SemsearchError):
    """One record of a corpus is unusable.

    Attributes:
        source: The file as the user named it.
        line: 1-based number of the line or record; None if the file is a single record.
        reason: The problem, and what to do about it.
        origin: The file as a `semsearch.types.Origin`; None for a record from memory.
    """

    origin: Any = None

    def __init__(self, source: str, line: int | None, reason: str) -> None:
        super().__init__(source, line, reason)  # so that the error can be copied and pickled
        self.source, self.line, self.reason = source, line, reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"

    @property
    def found(self) -> bool:
        """Whether the record is in a file that was found in a folder: such a file ends no run."""
        return self.origin is not None and self.origin.found

    @property
    def place(self) -> str:
        """The place as `file:line`, or the file alone."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


class SourceError(SemsearchError):
    """A whole file, folder or stream cannot be read as a corpus."""


class ModelError(SemsearchError):
    """A checkpoint cannot be loaded, or lacks what was requested."""


class UnsupportedError(ModelError):
    """A runtime cannot run a checkpoint, does not support the precision, or is not installed."""


class ServingError(SemsearchError):
    """A server cannot answer a request."""


class UnknownIndexError(ServingError):
    """No index of that name is served, or not with this key."""


class UnknownDocumentError(ServingError):
    """The index has no document with that id."""


class UnauthorizedError(ServingError):
    """The request has no key, or a wrong one."""


class ForbiddenError(ServingError):
    """The key does not allow it, or the request comes from a wrong host or origin."""


class TooLargeError(ServingError):
    """The request is over one of the server's limits."""


class OverloadedError(ServingError):
    """Too much is waiting already; the same request may be sent again later."""


class NotReadyError(ServingError):
    """The model is not loaded yet; the same request may be sent again later."""


class TimeLimitError(ServingError):
    """The answer took longer than the server's limit."""


class LanguageModelError(ServingError):
    """The language model that answers in the chat cannot be reached, says nothing, or makes no sense."""


class ClientGoneError(ServingError):
    """Nobody waits for the answer anymore."""


class StoreError(SemsearchError):
    """An index folder cannot be used."""


class NoIndexError(StoreError):
    """The folder does not exist, or holds no index."""


class DamagedError(StoreError):
    """Something in the index is not what was written; says what to do about it."""


class SchemaError(StoreError):
    """The index was written by a newer semsearch, or by an older one in a folder that cannot be written."""


class MismatchError(StoreError):
    """The index was built with another encoder or other chunking settings."""


class LockedError(StoreError):
    """Another process is writing to the index."""


class DiskFullError(StoreError):
    """The disk is full; committed batches are kept."""
