"""Semantic search with the pooler made explicit: measured, stored with the index, never silently wrong.

    from semsearch import Index

    with Index.open("indexes/notes", create=True) as index:
        index.add([{"_id": "1", "text": "The heron waits."}])
        print(index.search("a patient bird", k=1))

This is the main module of the public API. Each name is imported on first use, so `import semsearch` itself costs almost
nothing. The rest of the API is in `semsearch.errors`, `semsearch.poolers` and `semsearch.evaluation`.
"""

from __future__ import annotations

from importlib import import_module

from semsearch.version import __version__ as __version__

TYPE_CHECKING = False  # instead of typing's: importing typing would take longer than the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from semsearch.comparison import PoolerComparison, compare_poolers
    from semsearch.context import Context, Excerpt
    from semsearch.corpus.chunking import Chunking
    from semsearch.corpus.readers import read_corpus
    from semsearch.corpus.sources import ReadOptions
    from semsearch.encoder.cache import CacheWarning
    from semsearch.encoder.checkpoints.record import CheckpointWarning
    from semsearch.encoder.cross_encoder import CrossEncoder
    from semsearch.encoder.encoder import Encoder, PoolingWarning, TextEncoder
    from semsearch.encoder.languages import UnknownLanguageWarning
    from semsearch.encoder.runtimes.load import FallbackWarning
    from semsearch.encoder.word_hash import WordHashEncoder
    from semsearch.errors import SemsearchError
    from semsearch.index import Index
    from semsearch.ingest import IngestResult
    from semsearch.reencode import ReencodeResult
    from semsearch.types import Document, EncoderSpec, Hit, Passage, Query

_HOMES = {
    "comparison": ("PoolerComparison", "compare_poolers"),
    "context": ("Context", "Excerpt"),
    "encoder.cache": ("CacheWarning",),
    "encoder.checkpoints.record": ("CheckpointWarning",),
    "encoder.cross_encoder": ("CrossEncoder",),
    "encoder.encoder": ("Encoder", "PoolingWarning", "TextEncoder"),
    "encoder.languages": ("UnknownLanguageWarning",),
    "encoder.word_hash": ("WordHashEncoder",),
    "encoder.runtimes.load": ("FallbackWarning",),
    "errors": ("SemsearchError",),
    "index": ("Index",),
    "ingest": ("IngestResult",),
    "reencode": ("ReencodeResult",),
    "types": ("Document", "EncoderSpec", "Hit", "Passage", "Query"),
    "corpus.chunking": ("Chunking",),
    "corpus.readers": ("read_corpus",),
    "corpus.sources": ("ReadOptions",),
}
_MODULES = {name: f"semsearch.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "CacheWarning",
    "CheckpointWarning",
    "Chunking",
    "Context",
    "CrossEncoder",
    "Document",
    "Encoder",
    "EncoderSpec",
    "Excerpt",
    "FallbackWarning",
    "Hit",
    "Index",
    "IngestResult",
    "Passage",
    "PoolerComparison",
    "PoolingWarning",
    "Query",
    "ReadOptions",
    "ReencodeResult",
    "SemsearchError",
    "TextEncoder",
    "UnknownLanguageWarning",
    "WordHashEncoder",
    "compare_poolers",
    "read_corpus",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'semsearch' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
