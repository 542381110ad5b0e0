"""The collections of an index in Milvus, and the vector indexes that they may have.

    NAME                 settings: parts of values by `key@commit#part`, and the row `root`, which says what is current
    NAME__documents_n    documents as their authors wrote them, in parts, since Milvus limits a text to 65,535 bytes
    NAME__passages_n     passages: their spans, terms and vectors, with the fields of their documents that filters read

Milvus has no transactions. So rows are never changed but replaced: each says by which commit it was `born` and by which
it `died`, and a commit counts as soon as the one row `root` names it. What a reader does not find in its `root` does
not exist for it, and what a crash leaves is removed by the next writer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from semsearch.errors import UsageError
from semsearch.stores.milvus.driver import DataType, MilvusClient, Session
from semsearch.types import AUTO, EUCLIDEAN

FORMAT = 1
"""Version of this layout."""

SETTINGS = {"key", "value", "nothing"}
"""Fields of the collection of settings, by which it is known."""

BYTES = 65_535
"""Milvus's limit on the number of bytes of a text, and of a JSON object."""

TERMS = 4_096
"""Milvus's limit on the number of elements of an array."""

FOREVER = 2**62
"""The commit by which a row dies that is current."""

NOTHING = [0.0, 0.0]
"""Value of the field `nothing`: each collection needs a vector."""

KIND = re.compile(r"Flat|HNSW(\d{1,3})(,SQ8)?|IVF(\d{1,5}),(Flat|SQ8)")

DEFAULT = "HNSW32"

WIDTH = 200
"""Number of candidates while a graph is built."""

EXPECTED = "expected auto, Flat, HNSW32, HNSW32,SQ8, IVF1024,Flat or IVF1024,SQ8, with any numbers"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of vector index.

    Attributes:
        name: Its name in Milvus.
        build: Its parameters in Milvus.
    """

    name: str
    build: dict[str, Any]

    def effort(self, k: int, times: int) -> dict[str, int]:
        """Return the parameters of a search for k passages with some times the usual effort."""
        if self.name.startswith("HNSW"):
            return {"ef": max(2 * k, 128 * times)}
        if self.name.startswith("IVF"):
            lists = int(self.build["nlist"])
            return {"nprobe": min(max(lists // 16, 8) * times, lists)}
        return {}


def chosen(vector_index: str) -> str:
    """Return the vector index that a name stands for, which may be `auto`."""
    return DEFAULT if vector_index == AUTO else vector_index


def parse(vector_index: str) -> Kind:
    """Return the kind of vector index with a name in FAISS's notation, or `auto`.

    The kinds are those of which a test closes and reopens an index. Milvus accepts more.

    Raises:
        UsageError: If it is none of them.
    """
    found = KIND.fullmatch(chosen(vector_index))
    if not found:
        raise UsageError(f"`vector_index` is {vector_index!r:.60}; for an index in Milvus, {EXPECTED}")
    edges, quantized, lists, form = found.groups()
    if lists:
        return Kind(f"IVF_{'SQ8' if form == 'SQ8' else 'FLAT'}", {"nlist": int(lists)})
    if edges:
        build = {"M": int(edges), "efConstruction": max(WIDTH, 2 * int(edges))}
        return Kind("HNSW_SQ", {**build, "sq_type": "SQ8"}) if quantized else Kind("HNSW", build)
    return Kind("FLAT", {})


def create_settings(session: Session) -> None:
    """Create the collection of settings."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=1_000)
    schema.add_field("value", DataType.VARCHAR, max_length=BYTES)
    _create(session, session.address.name, schema, [])


def create_documents(session: Session, name: str) -> None:
    """Create a collection of documents."""
    schema = _schema()
    schema.add_field("part", DataType.INT64)
    schema.add_field("key", DataType.INT64)  # a hash of the id; -1 in all parts but the first
    schema.add_field("about", DataType.VARCHAR, max_length=BYTES)
    schema.add_field("content", DataType.VARCHAR, max_length=BYTES)
    _create(session, name, schema, ["key", "document", "facts"])


def create_passages(session: Session, name: str, dim: int, similarity: str, kind: Kind) -> None:
    """Create a collection of passages, with an index over their vectors `[dim]` as they are searched."""
    schema = _schema(dim)
    for field in ("passage", "ordinal", "first", "last", "n_tokens", "n_lost", "n_words"):
        schema.add_field(field, DataType.INT64)
    schema.add_field("terms", DataType.ARRAY, element_type=DataType.INT64, max_capacity=TERMS)
    schema.add_field("counts", DataType.ARRAY, element_type=DataType.INT64, max_capacity=TERMS)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("encoded", DataType.VARCHAR, max_length=BYTES)
    _create(
        session,
        name,
        schema,
        ["passage", "document", "facts", "terms"],
        kind,
        "L2" if similarity == EUCLIDEAN else "IP",
    )


def is_lite(session: Session) -> bool:
    """Return whether the server is milvus-lite."""
    return "lite" in str(session.call("get_server_version"))


def _schema(dim: int = 0) -> Any:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    for field in ("document", "born", "died"):
        schema.add_field(field, DataType.INT64)
    schema.add_field("facts", DataType.ARRAY, element_type=DataType.INT64, max_capacity=TERMS)
    schema.add_field("values", DataType.JSON)
    if dim:
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def _create(
    session: Session, name: str, schema: Any, scalars: list[str], kind: Kind | None = None, metric: str = ""
) -> None:
    params = MilvusClient.prepare_index_params()
    if kind:
        params.add_index("vector", index_type=kind.name, metric_type=metric, params=kind.build)
        params.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    else:
        schema.add_field("nothing", DataType.FLOAT_VECTOR, dim=len(NOTHING))
        params.add_index("nothing", index_type="FLAT", metric_type="L2")
    for field in () if is_lite(session) else scalars:  # it scans, and has no index of arrays
        params.add_index(field, index_type="INVERTED")
    session.call("create_collection", name, schema=schema, consistency_level="Strong")
    session.call("create_index", name, params, sync=False)
    session.call("load_collection", name)
