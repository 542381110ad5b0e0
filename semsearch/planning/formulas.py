"""The formulas of a plan, one function each; docs/explanation/planning.md derives them and compares them with runs.

Sizes are in bytes, times in milliseconds or seconds as their names say. The constants in this module belong to the
formats on disk and to the growth of times with the number of passages; those of machines are in `constants.py`.
"""

from __future__ import annotations

from math import ceil

from semsearch.errors import UsageError
from semsearch.planning.constants import DOCUMENTED, Constants
from semsearch.stores.codecs import CODECS
from semsearch.stores.local.vectors.ann.kinds import EXACT, bytes_needed, choose, exact_rows, kind_of

SPECIALS = 2
"""Special tokens of a passage, such as [CLS] and [SEP]; they take up room, but hold no text."""

TEXT_BYTES = 4.5
"""Bytes of UTF-8 per token: 3.9 in windows of documentation, 5.2 in Cranfield's abstracts."""

WORD_BYTES = 3.5
"""Bytes per token in the inverted index: 243 for windows of 68.5 tokens, among 10,000."""

DOCUMENT_BYTES = 130
"""Bytes of a document beside its text: id, hash, origin and a small field of metadata, with their indexes."""

PASSAGE_BYTES, ROW_BYTES = 38, 18
"""Bytes of a passage in its table and that table's index, and of its row in a segment, beside the vector."""

PAGE, PAGE_ROOM, MOST_LOCAL, LEAST_LOCAL, OVERFLOW = 4_096, 4_088, 4_061, 489, 4_092
"""SQLite's pages: their size, the room in a leaf, the most and the least of a row that stays in it, and the room in an
overflow page (see "Database File Format" in SQLite's documentation)."""

VECTOR_ROW, CELL = 11, 6
"""Bytes of a row beside its blob, which are its header and checksum, and of a cell beside its row."""

PROCESS_BYTES = 7 * 2**20
"""Memory of an open index beside its vectors: 3 MiB with 10,000 passages, 10 MiB with 100,000."""

INDEX_GROWTH = 1.08
"""Exponent of the time to index: 3 s for 10,000 passages and 36 s for 100,000."""

DENSE_GROWTH = 0.12
"""Exponent of the time of a search in a graph: 0.16 ms in 100,000 passages, 0.21 ms in a million."""

EXACT_MS = 0.27
"""Milliseconds of exact search in 10,000 vectors of 384 dimensions; it is proportional to both."""

LISTS_FACTOR, LISTS_GROWTH, LISTS_PASSAGES = 4, 0.5, 300_000
"""An inverted file takes four times as long as a graph, measured with so many; it compares a number of rows that grows
with the square root of all, like the number of its lists."""

KEYWORD_FIXED, KEYWORD_EACH = 1.4, 3.0e-6
HYBRID_FIXED, HYBRID_EACH = 4.3, 6.2e-6
"""Milliseconds of a search by words, and of a hybrid one: fixed, and for each passage, since a search reads the
postings of its words once. Lines through 100,000 and a million passages; at 10,000 they are 20% and 9% too high."""

RECALL_GROWTH = 0.8
"""Time of a search in a graph by the share of neighbors it may miss, as an exponent: 0.110 ms with recall .987, 0.147
ms with .991 (hnswlib, a million windows)."""

MEASURED_RECALL = 0.98
"""Target recall of the measured times."""

OVERHEAD_MS = 1.3
"""Processor time of a request beside encoding and searching, in milliseconds."""

BUSY = 0.7
"""Share of its time that a core may be busy; beyond, requests wait for one another for long."""

HALFVEC_ROW = 304
"""Bytes of a row of pgvector's HNSW index with its default of 16 neighbors, beside its halfvec: 32 places of 6 bytes on
the lowest level and 3% more above, and the headers of two tuples. Derived from the format, not measured here."""


def passages_per_document(tokens: float, passage_tokens: int, overlap: int) -> int:
    """Return the number of passages of a document of this many tokens; see `Chunking` for the other two."""
    window = passage_tokens - SPECIALS
    shared = min(overlap, window // 2)
    return 1 if tokens <= window else ceil((tokens - shared) / (window - shared))


def tokens_per_passage(tokens: float, passage_tokens: int, overlap: int) -> float:
    """Return the mean length of the passages of such a document in tokens, special tokens included."""
    n, shared = passages_per_document(tokens, passage_tokens, overlap), min(overlap, (passage_tokens - SPECIALS) // 2)
    return min(passage_tokens, (tokens + (n - 1) * shared) / n + SPECIALS)


def row_bytes(payload: int) -> float:
    """Return the bytes that a row of this length takes in a table of SQLite whose rows all have it."""
    if payload <= MOST_LOCAL:
        return PAGE / (PAGE_ROOM // (payload + CELL))
    local = LEAST_LOCAL + (payload - LEAST_LOCAL) % OVERFLOW
    local = local if local <= MOST_LOCAL else LEAST_LOCAL
    return PAGE / (PAGE_ROOM // (local + CELL + 4)) + PAGE * ceil((payload - local) / OVERFLOW)


def text_bytes(tokens: float) -> float:
    """Return the bytes of a document of this many tokens; in each page, half a row of varying length stays empty."""
    n = tokens * TEXT_BYTES + DOCUMENT_BYTES
    return n * PAGE / (PAGE_ROOM - n / 2) if n <= MOST_LOCAL else n + PAGE / 2


def vectors_bytes(dim: int, store_precision: str) -> float:
    """Return the bytes of a vector on disk: in the database, and in a segment."""
    stored = CODECS[store_precision].n_bytes(dim)
    return row_bytes(stored + VECTOR_ROW) + stored + ROW_BYTES


def vector_index_bytes(factory: str, dim: int) -> float:
    """Return the bytes of a vector index for each passage, on disk and in memory."""
    return 0.0 if factory == EXACT else float(kind_of(factory).bytes_per_row(factory, dim))


def resident_bytes(n: float, dim: int, factory: str) -> float:
    """Return the memory that n passages take while they are searched; those of exact search are read as float32."""
    each = 4.0 * dim if factory == EXACT else vector_index_bytes(factory, dim)
    return PROCESS_BYTES + n * each


def building_bytes(n: int, dim: int, factory: str) -> float:
    """Return the memory that it takes to build the vector index of n passages."""
    return PROCESS_BYTES + (4.0 * dim * n if factory == EXACT else bytes_needed(factory, n, dim))


def halfvec_bytes(n: float, dim: int) -> float:
    """Return the size of pgvector's HNSW index over n halfvecs, which should fit into memory."""
    return n * (2 * dim + HALFVEC_ROW)


def index_seconds(n: float, dim: int, measured: Constants) -> float:
    """Return the seconds that one machine takes to index n passages whose vectors are known."""
    return measured.index_seconds * _power(n / measured.passages, INDEX_GROWTH) * dim / measured.dim


def dense_ms(n: float, dim: int, factory: str, recall: float, measured: Constants) -> float:
    """Return the milliseconds of a search of n passages by meaning, without encoding."""
    theirs = choose(measured.passages, measured.dim, roomy(measured.passages, measured.dim))
    machine = measured.dense_ms / _documented_ms(measured.passages, measured.dim, theirs)
    width = 1.0 if factory == EXACT else _power((1 - MEASURED_RECALL) / (1 - recall), RECALL_GROWTH)
    return machine * width * _documented_ms(n, dim, factory)


def _documented_ms(n: float, dim: int, factory: str) -> float:
    """Return the milliseconds of a search by meaning on the machine of the documentation, at the default recall."""
    if factory == EXACT:
        return EXACT_MS * n / 10_000 * dim / DOCUMENTED.dim
    if factory.startswith("IVF"):
        return LISTS_FACTOR * _graph_ms(LISTS_PASSAGES) * _power(n / LISTS_PASSAGES, LISTS_GROWTH)
    return _graph_ms(n)


def _graph_ms(n: float) -> float:
    return DOCUMENTED.dense_ms * _power(n / DOCUMENTED.passages, DENSE_GROWTH)


def _power(base: float, exponent: float) -> float:
    return float(base**exponent)


def keyword_ms(n: float, measured: Constants) -> float:
    """Return the milliseconds of a search of n passages by words."""
    machine = measured.keyword_ms / (KEYWORD_FIXED + KEYWORD_EACH * measured.passages)
    return machine * (KEYWORD_FIXED + KEYWORD_EACH * n)


def hybrid_ms(n: float, dense: float, measured: Constants) -> float:
    """Return the milliseconds of a hybrid search of n passages, of which `dense` is the part by meaning."""
    machine = measured.hybrid_ms / (HYBRID_FIXED + HYBRID_EACH * measured.passages)
    return machine * (HYBRID_FIXED + HYBRID_EACH * n) + max(0.0, dense - measured.dense_ms)


def search_ms(mode: str, n: float, dim: int, factory: str, recall: float, measured: Constants) -> float:
    """Return the milliseconds of a search of n passages in a mode, without encoding."""
    dense = dense_ms(n, dim, factory, recall, measured)
    if mode == "dense":
        return dense
    return keyword_ms(n, measured) if mode == "keyword" else hybrid_ms(n, dense, measured)


def request_ms(mode: str, measured: Constants) -> float:
    """Return the processor time of a request beside the search, in milliseconds."""
    return OVERHEAD_MS + (0.0 if mode == "keyword" else measured.query_ms)


def shards_needed(n: int, dim: int, memory: int) -> int:
    """Return the least number of equal parts of n passages whose vector indexes fit into this memory each.

    Raises:
        UsageError: If the memory is too little even for a hundred thousand passages.
    """
    choose(min(n, 100_000), dim, memory)
    few, many = 0, ceil(n / exact_rows(dim))
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if _fits(ceil(n / middle), dim, memory) else (middle, many)
    return many


def _fits(n: int, dim: int, memory: int) -> bool:
    try:
        choose(n, dim, memory)
    except UsageError:
        return False
    return True


def replicas_needed(qps: float, ms: float, cores: int) -> int:
    """Return the number of machines that answer so many queries a second, each with this processor time."""
    return max(1, ceil(qps * ms / 1e3 / (cores * BUSY)))


def roomy(n: int, dim: int) -> int:
    """Return a memory in bytes in which the fastest vector index over n passages fits."""
    return ceil(bytes_needed("HNSW32,SQ8", n, dim)) + 1
