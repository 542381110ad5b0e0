"""Semantic search with the pooler made explicit: measured, stored with the index, never silently wrong.

    from semsearch import Encoder, Searcher, index_corpus

    index_corpus("indexes/notes", [{"_id": "1", "text": "The heron waits."}], Encoder.load())
    print(Searcher.open("indexes/notes").search("a patient bird", k=1))

This is the one public door: every name below is imported from its module when it is first used, so that
`import semsearch` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from semsearch.encoder.encode import Encoder, PoolingWarning, TextEncoder
    from semsearch.encoder.hashing import HashEncoder
    from semsearch.encoder.pooling import POOLERS, Pooler, TokenStates, parse_pooler
    from semsearch.errors import (
        DiskFullError,
        FilterError,
        LockedError,
        MismatchError,
        ModelError,
        NoIndexError,
        RecordError,
        SchemaError,
        SemsearchError,
        SourceError,
        StoreError,
        UsageError,
    )
    from semsearch.index.store import Index
    from semsearch.ingest import IngestReport, delete_documents, index_corpus
    from semsearch.records import Document, EncoderSpec, Hit, Passage, Query
    from semsearch.search import Searcher
    from semsearch.text.chunking import Chunking
    from semsearch.text.readers import read_corpus
    from semsearch.text.sources import ReadOptions

_HOMES = {
    "encoder.encode": ("Encoder", "PoolingWarning", "TextEncoder"),
    "encoder.hashing": ("HashEncoder",),
    "encoder.pooling": ("POOLERS", "Pooler", "TokenStates", "parse_pooler"),
    "errors": (
        "DiskFullError",
        "FilterError",
        "LockedError",
        "MismatchError",
        "ModelError",
        "NoIndexError",
        "RecordError",
        "SchemaError",
        "SemsearchError",
        "SourceError",
        "StoreError",
        "UsageError",
    ),
    "index.store": ("Index",),
    "ingest": ("IngestReport", "delete_documents", "index_corpus"),
    "records": ("Document", "EncoderSpec", "Hit", "Passage", "Query"),
    "search": ("Searcher",),
    "text.chunking": ("Chunking",),
    "text.readers": ("read_corpus",),
    "text.sources": ("ReadOptions",),
}
_MODULES = {name: f"semsearch.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "POOLERS",
    "Chunking",
    "DiskFullError",
    "Document",
    "Encoder",
    "EncoderSpec",
    "FilterError",
    "HashEncoder",
    "Hit",
    "Index",
    "IngestReport",
    "LockedError",
    "MismatchError",
    "ModelError",
    "NoIndexError",
    "Passage",
    "Pooler",
    "PoolingWarning",
    "Query",
    "ReadOptions",
    "RecordError",
    "SchemaError",
    "Searcher",
    "SemsearchError",
    "SourceError",
    "StoreError",
    "TextEncoder",
    "TokenStates",
    "UsageError",
    "delete_documents",
    "index_corpus",
    "parse_pooler",
    "read_corpus",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'semsearch' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
