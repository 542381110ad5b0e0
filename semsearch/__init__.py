"""Semantic search with the pooler made explicit: measured, stored with the index, never silently wrong.

    from semsearch import Index

    with Index.open("indexes/notes", create=True) as index:
        index.add([{"_id": "1", "text": "The heron waits."}])
        print(index.search("a patient bird", k=1))

This is the one public door: every name below is imported from its module when it is first used, so that
`import semsearch` costs nothing. What a comparison is made of is had from `semsearch.evaluation`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semsearch.version import __version__ as __version__

if TYPE_CHECKING:
    from semsearch.comparison import PoolerComparison, compare_poolers
    from semsearch.corpus.chunking import Chunking
    from semsearch.corpus.readers import read_corpus
    from semsearch.corpus.sources import ReadOptions
    from semsearch.encoder.cache import CacheWarning
    from semsearch.encoder.encoder import Encoder, PoolingWarning, TextEncoder
    from semsearch.encoder.pooling import POOLERS, Pooler, TokenStates, parse_pooler
    from semsearch.encoder.runtimes.load import FallbackWarning
    from semsearch.encoder.word_hash import WordHashEncoder
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
        UnsupportedError,
        UsageError,
    )
    from semsearch.index import Index
    from semsearch.ingest import IngestResult
    from semsearch.types import Document, EncoderSpec, Hit, Passage, Query

_HOMES = {
    "comparison": ("PoolerComparison", "compare_poolers"),
    "encoder.cache": ("CacheWarning",),
    "encoder.encoder": ("Encoder", "PoolingWarning", "TextEncoder"),
    "encoder.word_hash": ("WordHashEncoder",),
    "encoder.pooling": ("POOLERS", "Pooler", "TokenStates", "parse_pooler"),
    "encoder.runtimes.load": ("FallbackWarning",),
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
        "UnsupportedError",
        "UsageError",
    ),
    "index": ("Index",),
    "ingest": ("IngestResult",),
    "types": ("Document", "EncoderSpec", "Hit", "Passage", "Query"),
    "corpus.chunking": ("Chunking",),
    "corpus.readers": ("read_corpus",),
    "corpus.sources": ("ReadOptions",),
}
_MODULES = {name: f"semsearch.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "POOLERS",
    "CacheWarning",
    "Chunking",
    "DiskFullError",
    "Document",
    "Encoder",
    "EncoderSpec",
    "FallbackWarning",
    "FilterError",
    "Hit",
    "Index",
    "IngestResult",
    "LockedError",
    "MismatchError",
    "ModelError",
    "NoIndexError",
    "Passage",
    "Pooler",
    "PoolerComparison",
    "PoolingWarning",
    "Query",
    "ReadOptions",
    "RecordError",
    "SchemaError",
    "SemsearchError",
    "SourceError",
    "StoreError",
    "TextEncoder",
    "TokenStates",
    "UnsupportedError",
    "UsageError",
    "WordHashEncoder",
    "compare_poolers",
    "parse_pooler",
    "read_corpus",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'semsearch' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
