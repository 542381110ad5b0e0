"""A plan for a corpus: its size on disk and in memory, the time to encode it, and the machines that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import Any

from semsearch.checks import NUMBER, TEXT, check_types, is_whole
from semsearch.corpus.chunking import LEAST_ROOM, MAX_CHUNK_TOKENS, Chunking
from semsearch.encoder.checkpoints.locate import canonical_name, model_name
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.load import HASH
from semsearch.encoder.pooling import parse_pooler
from semsearch.encoder.word_hash import WordHashEncoder
from semsearch.errors import UsageError
from semsearch.planning import formulas
from semsearch.planning.constants import DOCUMENTED, Constants
from semsearch.stores.local.vectors.ann.kinds import choose
from semsearch.types import STORE_PRECISIONS, VectorOptions
from semsearch.vector_options import changed_options

MODES = ("dense", "keyword", "hybrid")

LOCAL, POSTGRESQL, MILVUS = ENGINES = ("local", "postgresql", "milvus")

MOST_LOCAL, MOST_POSTGRESQL = 10_000_000, 100_000_000
"""Most passages for which each of these engines is recommended. The local store was measured with a million; the
formulas are followed to ten times as many. PostgreSQL holds them all on one machine, and its HNSW index in memory."""

MEASURED = 1_000_000
"""Most passages with which the times and sizes behind the formulas were measured."""

MOST = 1e15
"""Bound on numbers of documents, tokens and queries."""

PGVECTOR = "HNSW over halfvec"

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a corpus takes, as far as measured constants tell.

    Attributes:
        documents, tokens: The corpus as it was described: number of documents, and mean tokens of each.
        model, dim, store_precision: The model, and the form in which its vectors are stored.
        passage_tokens, overlap: Maximum length of a passage, and what neighbors share, in tokens.
        mode, recall, qps: Kind of the searches, target recall@10 of the vector index, and searches per second.
        passages: Number of passages.
        tokens_encoded: Number of tokens to encode, special tokens and overlaps included.
        disk: Bytes on disk of one copy of the index, by part: `vectors`, `vector index`, `texts`, `words`, `rows`.
        encoder_hours: Hours to encode the corpus, by kind of worker, for one worker; None if its speed is unknown.
        index_hours: Hours to index all passages of one node, without encoding.
        engine: The recommended engine: `local`, `postgresql` or `milvus`.
        vector_index: The vector index of each node: for the passages of a node, and the memory for it, the one that
            the local store would choose. On PostgreSQL, pgvector's HNSW.
        shards, replicas: Number of parts of the corpus, and of copies of each, with a node each.
        cores: Number of cores of a node.
        memory: Resident memory of a node in bytes, without that of a model.
        build_memory: Memory in bytes that a node takes to build its vector index.
        search_ms: Time of a search on a node in milliseconds, without encoding the query.
        qps_per_core: Searches per second for each core of all shards together.
        constants: Where the constants come from, in words.
        reasons: Why this engine, and what its numbers rest on.
        warnings: Where the formulas are followed beyond what was measured.
    """

    documents: int
    tokens: float
    model: str
    dim: int
    store_precision: str
    passage_tokens: int
    overlap: int
    mode: str
    recall: float
    qps: float
    passages: int
    tokens_encoded: int
    disk: Mapping[str, int]
    encoder_hours: Mapping[str, float | None]
    index_hours: float
    engine: str
    vector_index: str
    shards: int
    replicas: int
    cores: int
    memory: int
    build_memory: int
    search_ms: float
    qps_per_core: float
    constants: str
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """The number of machines that serve the index."""
        return self.shards * self.replicas

    @property
    def disk_bytes(self) -> int:
        """The size of one copy of the index on disk, of all shards together."""
        return sum(self.disk.values())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as a JSON object."""
        return {**asdict(self), "nodes": self.nodes, "disk_bytes": self.disk_bytes}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan needs to know of a model: its name, the length of its vectors, and the most tokens that it reads."""

    model: str
    dim: int
    max_tokens: int


def plan(
    documents: float,
    tokens: float,
    *,
    model: str | Path | None = None,
    dim: int | None = None,
    store_precision: str = "float32",
    passage_tokens: int | None = None,
    overlap: int | None = None,
    recall: float = 0.98,
    qps: float = 1.0,
    mode: str = "hybrid",
    memory: int | str | None = None,
    cores: int | None = None,
    tokens_per_second: Mapping[str, float] | None = None,
    constants: Constants = DOCUMENTED,
) -> Plan:
    """Predict what a corpus takes: storage, memory, encoder hours and nodes, and which engine suits it.

    Args:
        documents: Number of documents.
        tokens: Mean length of a document in the model's tokens.
        model: Local directory or Hugging Face name; None for the default, all-MiniLM-L6-v2. Only what it declares is
            read.
        dim: Keep only the first `dim` components of each vector; None for all.
        store_precision: Precision of stored vectors: `float32`, `float16` or `int8`.
        passage_tokens: Maximum length of a passage in tokens; None for the model's, capped at 512.
        overlap: Number of tokens that neighboring passages share; None for the default.
        recall: Target recall@10 of the vector index, above 0 and below 1.
        qps: Searches per second at the peak.
        mode: Kind of the searches: `dense`, `keyword` or `hybrid`.
        memory: Memory for the vector index of a node, in bytes or such as `16GB`; None for the default of an index.
        cores: Number of cores of a node; None for as many as the constants were measured with.
        tokens_per_second: Tokens that other kinds of workers encode in a second, by their names, such as
            `{"gpu": 250_000}`, measured there.
        constants: What was measured; by default, on the machine of the documentation.

    Raises:
        UsageError: If an argument is invalid, or the memory is too little for any vector index.
        ModelError: If there is no such model.
    """
    workers = tokens_per_second or {}
    _check_amounts({"documents": documents, "tokens": tokens, "qps": qps})
    for rate in workers.values():
        _check_amounts({"tokens_per_second": rate})
    _check_choices(documents, store_precision, mode, recall)
    _check_wholes({"cores": cores, "passage_tokens": passage_tokens})
    budget = changed_options(memory=memory).get("memory", VectorOptions().memory)
    facts = facts_of(model, dim)
    chunking = Chunking(tokens=passage_tokens) if overlap is None else Chunking(tokens=passage_tokens, overlap=overlap)
    window = _window(facts, chunking)
    documents = int(documents)
    n = documents * formulas.passages_per_document(tokens, window, chunking.overlap)
    mean = formulas.tokens_per_passage(tokens, window, chunking.overlap)
    served = _served(n, facts.dim, recall, qps, mode, budget, cores or constants.cores, constants)
    if facts.model != constants.model:
        served["warnings"] = (*served["warnings"], _of_another_model(facts.model, constants))
    return Plan(
        documents=documents,
        tokens=tokens,
        model=facts.model,
        dim=facts.dim,
        store_precision=store_precision,
        passage_tokens=window,
        overlap=chunking.overlap,
        mode=mode,
        recall=recall,
        qps=qps,
        passages=n,
        tokens_encoded=round(n * mean),
        disk=_disk(documents, tokens, n, mean, facts.dim, store_precision, served["vector_index"]),
        encoder_hours=_hours(n * mean, facts.model, workers, constants),
        constants=_origin(constants),
        **served,
    )


def facts_of(model: str | Path | None, dim: int | None = None) -> Facts:
    """Return what a plan needs to know of a model, from what its checkpoint declares.

    Raises:
        UsageError: If `dim` is not a length that its vectors can be cut to.
        ModelError: If there is no such model.
    """
    name = canonical_name(model_name(model))
    if name.startswith(HASH):
        encoder = WordHashEncoder.parse(name)
        full, limit = encoder.dim, encoder.max_tokens
        usual = full
    else:
        checkpoint = open_checkpoint(name)
        pooler = parse_pooler(checkpoint.pooler or "mean")
        dense = checkpoint.head(pooler)[1]
        full, limit = (
            (dense[-1].out_features if dense else checkpoint.hidden_size * pooler.width),
            checkpoint.max_tokens,
        )
        usual = checkpoint.dim_behind(pooler.name, full)
    if dim is not None and not (is_whole(dim) and 1 <= dim <= full):
        raise UsageError(f"`dim` must be from 1 to {full} for this encoder, got {dim!r:.60}")
    return Facts(name, dim or usual, limit)


def _check_amounts(amounts: Mapping[str, object]) -> None:
    """Refuse what is not a number above 0; `1e400` is infinite."""
    for name, value in amounts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
            raise UsageError(f"`{name}` is {value!r:.60}; expected a number above 0 and at most {MOST:g}")


def _check_choices(documents: float, store_precision: str, mode: str, recall: float) -> None:
    if documents != int(documents):
        raise UsageError(f"`documents` is {documents!r:.60}; expected a whole number, such as 1e9")
    check_types({"store_precision": store_precision, "mode": mode}, {"store_precision": TEXT, "mode": TEXT})
    if store_precision not in STORE_PRECISIONS:
        raise UsageError(f"`store_precision` is {store_precision!r:.60}; expected {', '.join(STORE_PRECISIONS)}")
    if mode not in MODES:
        raise UsageError(f"`mode` is {mode!r:.60}; expected one of {', '.join(MODES)}")
    check_types({"recall": recall}, {"recall": NUMBER})
    if not (isfinite(recall) and 0 < recall < 1):
        raise UsageError(f"`recall` is {recall!r:.60}; expected a number above 0 and below 1, such as 0.95")


def _check_wholes(numbers: Mapping[str, object]) -> None:
    for name, value in numbers.items():
        if value is not None and not (is_whole(value) and 1 <= value <= MOST):  # type: ignore[operator]
            raise UsageError(f"`{name}` is {value!r:.60}; expected a whole number above 0")


def _window(facts: Facts, chunking: Chunking) -> int:
    """Return the maximum length of a passage, as `Chunker` determines it."""
    least = formulas.SPECIALS + LEAST_ROOM
    window = min(facts.max_tokens, MAX_CHUNK_TOKENS) if chunking.tokens is None else int(chunking.tokens)
    if not least <= window <= facts.max_tokens:
        raise UsageError(f"`passage_tokens` is {window}; expected {least} to {facts.max_tokens} for this encoder")
    return window


def _disk(
    documents: int, tokens: float, n: int, mean: float, dim: int, store_precision: str, vector_index: str
) -> dict[str, int]:
    """Return the bytes on disk by part."""
    is_faiss = vector_index != PGVECTOR
    graph = n * formulas.vector_index_bytes(vector_index, dim) if is_faiss else formulas.halfvec_bytes(n, dim)
    parts = {
        "vectors": n * formulas.vectors_bytes(dim, store_precision),
        "vector index": graph,
        "texts": documents * formulas.text_bytes(tokens),
        "words": n * (mean - formulas.SPECIALS) * formulas.WORD_BYTES,
        "rows": n * formulas.PASSAGE_BYTES,
    }
    return {name: round(size) for name, size in parts.items()}


def _hours(tokens: float, model: str, workers: Mapping[str, float], constants: Constants) -> dict[str, float | None]:
    """Return the hours to encode so many tokens, by kind of worker."""
    known = constants.model == model
    hours = {constants.machine: tokens / constants.tokens_per_second / 3_600 if known else None}
    return {**hours, **{name: tokens / rate / 3_600 for name, rate in workers.items()}}


def _of_another_model(model: str, constants: Constants) -> str:
    return (
        f"no speed was measured with {model}, so its encoder hours are unknown and queries are taken to be encoded as "
        f"fast as with {constants.model}; measure it with semsearch plan --calibrate --model {model}"
    )


def _origin(constants: Constants) -> str:
    if not constants.is_calibrated:
        return (
            f"not measured on this machine, but in the benchmarks of semsearch, on {constants.machine}; "
            "`semsearch plan --calibrate` measures this machine"
        )
    return (
        f"measured on {constants.date} with semsearch {constants.version} on {constants.cores} cores of "
        f"{constants.machine}, with {constants.model} in {constants.precision}, fingerprint "
        f"{constants.fingerprint[:12]}"
    )


def _served(
    n: int, dim: int, recall: float, qps: float, mode: str, budget: int, cores: int, constants: Constants
) -> dict[str, Any]:
    """Return the fields of a plan about its engine and nodes."""
    shards = formulas.shards_needed(n, dim, budget)
    local = _nodes(n, shards, dim, recall, qps, mode, budget, cores, constants)
    warnings = _warnings(n, local, dim, recall, mode, constants)
    if n <= MOST_LOCAL and shards == local["replicas"] == 1:
        why = f"one machine answers {qps:g} searches per second of {n:,} passages: nothing else has to run"
        return {**local, "engine": LOCAL, "reasons": (why,), "warnings": warnings}
    if n <= MOST_POSTGRESQL:
        one = _nodes(n, 1, dim, recall, qps, mode, formulas.roomy(n, dim), cores, constants)
        needed = round(formulas.halfvec_bytes(n, dim))
        warnings = _warnings(n, one, dim, recall, mode, constants)
        both = (
            _too_much(n, shards, local["replicas"], budget, qps),
            f"PostgreSQL holds all passages on one machine, whose memory should hold its {PGVECTOR}: "
            f"{needed / GIB:,.1f} GiB; further nodes are read replicas",
        )
        unmeasured = "times are those of the local store: those of PostgreSQL were not measured for a plan"
        fields = {**one, "vector_index": PGVECTOR, "memory": needed, "build_memory": needed}
        return {**fields, "engine": POSTGRESQL, "reasons": both, "warnings": (unmeasured, *warnings)}
    reasons = (
        f"{n:,} passages are more than the {MOST_POSTGRESQL:,} for which one machine is recommended, so they are "
        f"divided among {shards} shards, each of whose vector indexes fits into {budget / GIB:,.1f} GiB; "
        "`memory` changes that",
    )
    unmeasured = "times and sizes are those of the local store: no Milvus cluster was measured"
    return {**local, "engine": MILVUS, "reasons": reasons, "warnings": (unmeasured, *warnings)}


def _nodes(
    n: int, shards: int, dim: int, recall: float, qps: float, mode: str, budget: int, cores: int, constants: Constants
) -> dict[str, Any]:
    """Return the fields of a plan about the nodes of a number of shards."""
    each = ceil(n / shards)
    factory = choose(each, dim, budget)
    search = formulas.search_ms(mode, each, dim, factory, recall, constants)
    work = search + formulas.request_ms(mode, constants) / shards  # only one of the shards encodes a query
    return {
        "vector_index": factory,
        "shards": shards,
        "replicas": formulas.replicas_needed(qps, work, cores),
        "cores": cores,
        "memory": round(formulas.resident_bytes(each, dim, factory)),
        "build_memory": round(formulas.building_bytes(each, dim, factory)),
        "search_ms": search,
        "qps_per_core": 1e3 / (work * shards),
        "index_hours": formulas.index_seconds(each, dim, constants) / 3_600,
    }


def _too_much(n: int, shards: int, replicas: int, budget: int, qps: float) -> str:
    """Return why one machine with the local store is not enough."""
    if n > MOST_LOCAL:
        return f"{n:,} passages are more than the {MOST_LOCAL:,} for which the local store is recommended"
    if shards > 1:
        return f"the vector index of {n:,} passages does not fit into {budget / GIB:,.1f} GiB; `memory` changes that"
    return f"{qps:g} searches per second take {replicas} machines, which share one index as read replicas"


def _warnings(
    n: int, nodes: Mapping[str, Any], dim: int, recall: float, mode: str, constants: Constants
) -> tuple[str, ...]:
    """Return where a plan goes beyond what was measured."""
    each, told = ceil(n / nodes["shards"]), []
    if each > MOST_LOCAL:
        told.append(
            f"{each:,} passages on a node are beyond {MOST_LOCAL:,}, up to which the formulas are trusted: times and "
            "memory are an extrapolation"
        )
    elif each > MEASURED:
        told.append(f"{each:,} passages on a node are extrapolated from measurements of up to {MEASURED:,}")
    if mode != "dense" and nodes["search_ms"] > 1_000:
        told.append(
            f"a search by words reads the postings of its words in full, so a {mode} search takes "
            f"{nodes['search_ms'] / 1e3:,.1f} s on a node; plan with `mode` dense, or with more shards"
        )
    if recall > 0.99:
        told.append("recall was measured up to 0.99; what more of it costs is extrapolated")
    if dim != constants.dim:
        told.append(f"times were measured with {constants.dim} dimensions; with {dim}, they differ more or less")
    return tuple(told)
