"""Semantic search with the pooler made explicit: measured, stored with the index, never silently wrong.

    from semsearch import Index

    with Index.open("indexes/notes", create=True) as index:
        index.add([{"_id": "1", "text": "The heron waits."}])
        print(index.search("a patient bird", k=1))

This is the one public door: every name below is imported from its module when it is first used, so that
`import semsearch` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
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
    from semsearch.evaluation.geometry import Geometry, measure_geometry
    from semsearch.evaluation.label_free import evaluate_corpus
    from semsearch.evaluation.multi_pooler import MultiPooler
    from semsearch.evaluation.pseudo_queries import make_pseudo_tasks
    from semsearch.evaluation.retrieval import evaluate_retrieval
    from semsearch.evaluation.retrieval_data import load_retrieval
    from semsearch.evaluation.significance import Cell, Comparison
    from semsearch.evaluation.sts import evaluate_sts
    from semsearch.evaluation.sts_data import load_sts
    from semsearch.evaluation.vector_cache import VectorCache
    from semsearch.index import Index
    from semsearch.ingest import IngestResult
    from semsearch.types import Document, EncoderSpec, Hit, Passage, Query

_HOMES = {
    "encoder.cache": ("CacheWarning",),
    "encoder.encoder": ("Encoder", "PoolingWarning", "TextEncoder"),
    "encoder.word_hash": ("WordHashEncoder",),
    "evaluation.multi_pooler": ("MultiPooler",),
    "encoder.pooling": ("POOLERS", "Pooler", "TokenStates", "parse_pooler"),
    "encoder.runtimes.load": ("FallbackWarning",),
    "evaluation.vector_cache": ("VectorCache",),
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
    "evaluation.retrieval_data": ("load_retrieval",),
    "evaluation.significance": ("Cell", "Comparison"),
    "evaluation.label_free": ("evaluate_corpus",),
    "evaluation.geometry": ("Geometry", "measure_geometry"),
    "evaluation.pseudo_queries": ("make_pseudo_tasks",),
    "evaluation.retrieval": ("evaluate_retrieval",),
    "evaluation.sts": ("evaluate_sts",),
    "evaluation.sts_data": ("load_sts",),
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
    "Cell",
    "Chunking",
    "Comparison",
    "DiskFullError",
    "Document",
    "Encoder",
    "EncoderSpec",
    "FallbackWarning",
    "FilterError",
    "Geometry",
    "Hit",
    "Index",
    "IngestResult",
    "LockedError",
    "MismatchError",
    "ModelError",
    "MultiPooler",
    "NoIndexError",
    "Passage",
    "Pooler",
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
    "VectorCache",
    "WordHashEncoder",
    "evaluate_corpus",
    "evaluate_retrieval",
    "evaluate_sts",
    "load_retrieval",
    "load_sts",
    "make_pseudo_tasks",
    "measure_geometry",
    "parse_pooler",
    "read_corpus",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'semsearch' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
