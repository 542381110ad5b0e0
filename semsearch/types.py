"""The core concepts of search as immutable records. This module knows nothing about files, models or databases."""

from __future__ import annotations

import hashlib
import json
import os
import re
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semsearch.checks import FLAG, TEXT, WHOLE, Check, check_types
from semsearch.layout import NO_LAYOUT, Layout, page_of
from semsearch.urls import scheme_of

if TYPE_CHECKING:
    from semsearch.arrays import Vectors

Qrels: TypeAlias = dict[str, dict[str, int]]
"""Relevance judgments: `{query_id: {doc_id: gain}}`."""

Run: TypeAlias = dict[str, dict[str, float]]
"""Scores of retrieved documents: `{query_id: {doc_id: score}}`, higher is better."""

Metadata: TypeAlias = Mapping[str, Any]
"""JSON values by field name."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder, or a URL, that file names of a corpus are relative to, whatever the working directory.

    Attributes:
        name: Prefix of the ids of its files; empty for the first root of an index.
        path: Absolute path with symbolic links resolved.
    """

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a document was read from.

    Attributes:
        root: The folder that `file` is relative to; None for standard input and for documents from memory.
        file: Path relative to the root, with `/` as separator and in Unicode NFC; empty for the root itself and for
            documents from memory.
        found: Whether the file was found in a folder rather than given by name.
    """

    root: Root | None = None
    file: str = ""
    found: bool = field(default=False, compare=False)

    @property
    def key(self) -> tuple[str | None, str]:
        """The part that an index stores: the name of the root (whose path may change) and the file."""
        return (self.root.name if self.root else None), self.file

    @property
    def doc_id(self) -> str:
        """The id of the document if the whole file is one document."""
        return f"{self.root.name}/{self.file}" if self.root and self.root.name else self.file

    def __str__(self) -> str:
        """Return the file as messages name it."""
        if self.root and scheme_of(self.root.path):
            return f"{self.root.path}/{self.file}".rstrip("/")
        path = os.path.join(self.root.path, *self.file.split("/")) if self.root else self.file
        return path or "Python or HTTP"


@dataclass(frozen=True, slots=True)
class GivenVectors:
    """The vectors of a document's passages, which need not be encoded.

    Attributes:
        spans: Start and end of each passage in the text.
        vectors: float32 `[passages, dim]`, as the encoder of the index makes them.
    """

    spans: tuple[tuple[int, int], ...]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a corpus, as its author wrote it.

    Attributes:
        doc_id: Id of the document, unique in the corpus.
        text: Body of the document; if it is empty, only the title can be found.
        title: Title of the document, by default prepended to each passage when it is encoded.
        metadata: JSON values to filter on and to display.
        source: The `file:line` that the document came from, for messages only; never stored.
        origin: The file that the document came from; None for a document from memory.
        given: The vectors of its passages, if it was exported with them; None to encode it.
        layout: Sections of the text, and the tables and code in it.
    """

    doc_id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    source: str = ""
    origin: Origin | None = field(default=None, compare=False, repr=False)
    given: GivenVectors | None = field(default=None, compare=False, repr=False)
    layout: Layout = field(default=NO_LAYOUT, compare=False, repr=False)

    @property
    def content_hash(self) -> str:
        """SHA-256 of title, text and layout, in hex; a document is encoded again only when this changes."""
        return content_hash(self.title, self.text, self.layout.text)

    @property
    def size(self) -> int:
        """Number of characters in title, text and metadata."""
        return len(self.title) + len(self.text) + len(self.metadata_json)

    @property
    def metadata_json(self) -> str:
        """The metadata as canonical JSON, with sorted keys."""
        return json.dumps(dict(self.metadata), ensure_ascii=False, sort_keys=True, allow_nan=False)


def content_hash(title: str, text: str, layout: str) -> str:
    """Return the SHA-256, in hex, of a document's title, text and layout as canonical JSON, which may be empty."""
    return hashlib.sha256("\0".join([title, text, *([layout] if layout else [])]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Passage:
    """A span of a document that is encoded as one vector.

    Attributes:
        ordinal: 0-based position among the document's passages.
        start: Offset of the first character in the document's text.
        end: Offset of the end, exclusive.
        encoded_text: The text that is encoded: the title (unless the chunking leaves it out), then `text[start:end]`.
        n_tokens: Number of tokens of `encoded_text` with prefix and special tokens, before truncation.
        n_lost: Number of these tokens that truncation drops.
    """

    ordinal: int
    start: int
    end: int
    encoded_text: str
    n_tokens: int
    n_lost: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A query with an id, as in BEIR's queries.jsonl.

    Attributes:
        query_id: Id of the query.
        text: Text of the query.
    """

    query_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Term:
    """A term of a query, as keyword search counts it.

    Attributes:
        text: A word, a pair of characters in a script without spaces, or an exact token such as `C++`.
        exact: Whether it is an exact token, which earns a bonus on top of the scores of its words.
    """

    text: str
    exact: bool


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """A document found by a search, represented by its best passage.

    When a search ranks passages (`unit="passage"`), each hit is a passage, and a document may have several hits.

    Attributes:
        rank: 1-based rank.
        doc_id: Id of the document.
        score: Higher is better. For dense search the similarity of query and passage: the cosine or, for an encoder
            that was trained for it, the dot product or the Euclidean distance with a minus sign. For keyword search
            BM25. A hybrid score is the mean of two scaled scores: the similarity, with 0 for an unrelated passage and 1
            for a perfect match, and BM25, as a fraction of the highest score that any passage could get for the query;
            it is comparable across queries. With `rrf` the score reflects ranks only.
        title: Title of the document.
        text: Text of the passage.
        start: Offset of the passage's first character in the document's text.
        end: Offset of the passage's end, exclusive.
        metadata: Metadata of the document.
        kind: The kind of score: `cosine`, `dot`, `euclidean`, `bm25`, `hybrid` or `rrf`. After reranking:
            `cross-encoder` (0 to 1) or `late-interaction`, which is the mean over the query's tokens of the highest
            cosine with a token of the passage, averaged with the first-stage score if that is a cosine or a hybrid
            score.
        confidence: How likely the hit is to be related to the query, from 0 to 1, comparable across modes and queries;
            see `semsearch.confidence`. None if the scores of unrelated pairs have not been measured for the index.
        section: Path of the section that contains the passage, such as `Module Contents > Reader Objects`; empty if the
            document has no sections, or the passage contains several.
        similar: Ids of further documents found whose passage is nearly the same text, if the search grouped them
            (`group=True`).
    """

    rank: int
    doc_id: str
    score: float
    title: str
    text: str
    start: int
    end: int
    metadata: Metadata
    kind: str = ""
    confidence: float | None = None
    section: str = ""
    similar: tuple[str, ...] = ()

    @property
    def page(self) -> int | None:
        """The 1-based page on which the passage begins; None if the document has no pages."""
        return page_of(self.metadata, self.start)

    def __repr__(self) -> str:
        """Return one line with the beginning of the text."""
        text = textwrap.shorten(self.text, 80, placeholder="…")
        return f"Hit({self.rank}, {self.doc_id!r}, score={self.score:.4f}, title={self.title!r:.60}, text={text!r})"


AUTO = "auto"

COSINE, DOT, EUCLIDEAN = SIMILARITIES = ("cosine", "dot", "euclidean")
"""Similarity functions by their names in sentence-transformers; `euclidean` is the distance with a minus sign."""

LATER = {"similarity": COSINE}
"""Fields of a spec that older indexes lack, with the values that these have; a fingerprint leaves such values out."""

BRITISH = {"normalise": "normalize", "centre": "center"}
"""Former British spellings of a field and a transform, in use until November 2026, and their current names."""


@dataclass(frozen=True, slots=True)
class VectorOptions:
    """How the vectors of an index are searched; may be changed at any time, because vector indexes can be rebuilt.

    Attributes:
        vector_index: `auto`, or the vector index over many vectors in FAISS's notation, such as `HNSW32,SQ8`; `Flat`
            for exact search.
        memory: Memory in bytes that `auto` may use for the vector index, while it is built and while it is searched.
        target_recall: Share of the ten nearest vectors that a search should find, above 0 and at most 1.
    """

    vector_index: str = "auto"
    memory: int = 2 * 2**30
    target_recall: float = 0.98

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return asdict(self)


STORE_PRECISIONS = {"float32": 4, "float16": 2, "int8": 1}
"""Precisions of stored vectors, with the bytes that each component takes."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How the vectors of an index are stored, whatever the precision that its encoder computes them in.

    The loss is measured on up to 1,000 passages of a run, from their vectors as they are searched.

    Attributes:
        store_precision: `float32`, `float16` or `int8`.
        mean_cosine: Mean cosine between the stored and the float32 vector of each passage; None if not measured, as for
            float32, which loses nothing.
        overlap: Mean share of a passage's ten nearest neighbors among these passages that are also its ten nearest in
            float32; None if not measured.
        measured: Number of these passages.
    """

    store_precision: str = "float32"
    mean_cosine: float | None = None
    overlap: float | None = None
    measured: int = 0


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Everything that determines the vector of a text; stored with each index.

    Attributes:
        model: The name or path that was requested; not part of the fingerprint.
        weights: SHA-256 of the weights, in hex.
        tokenizer: SHA-256 of the tokenizer, in hex.
        pooler: Canonical name of the pooler; see `semsearch poolers`.
        layers: Layers that the pooler reads; 0 is the embedding output.
        max_tokens: Maximum length of an input, including prefix and special tokens; longer inputs are truncated.
        dim: Number of dimensions of a vector.
        query_prefix: Text prepended to each query.
        passage_prefix: Text prepended to each passage.
        normalize: Whether vectors are rescaled to unit length, before they are cut to `dim` unless they are ranked by
            cosine.
        transform: A fitted transform such as `whiten:128`, or an empty string.
        precision: Numeric precision: `float32`, `bfloat16`, `float16`, or `int8:` and the SHA-256 of an 8-bit model.
        similarity: Function that ranks passages: `cosine`, `dot` or `euclidean`.
    """

    model: str
    weights: str
    tokenizer: str
    pooler: str
    layers: tuple[int, ...]
    max_tokens: int
    dim: int
    query_prefix: str = ""
    passage_prefix: str = ""
    normalize: bool = True
    transform: str = ""
    precision: str = "float32"
    similarity: str = COSINE

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all fields except `model`."""
        values = asdict(self).items()
        fields = {name: value for name, value in values if name != "model" and (name, value) not in LATER.items()}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `from_json` restores it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EncoderSpec:
        """Restore a spec from the output of `to_json`; the British spellings in the oldest indexes are accepted too."""
        known = {BRITISH.get(name, name): value for name, value in fields.items()}
        known |= {"layers": tuple(known["layers"]), "transform": BRITISH.get(known["transform"], known["transform"])}
        return cls(**known)

    def differences(self, other: EncoderSpec) -> list[str]:
        """List the fields that would change a vector, each described as `field mine, not theirs`."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{name} {_short(mine[name])}, not {_short(theirs[name])}"
            for name in mine
            if name != "model" and mine[name] != theirs[name]
        ]


def _short(value: object) -> str:
    """Format a value for a message; hashes are cut to 12 characters."""
    text = str(list(value) if isinstance(value, tuple) else value)
    return re.sub(r"\b(\w{12})\w{52}\b", r"\1…", text) or "none"


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Encoder settings that a user requests; None means the index's own or, for a new index, the checkpoint's.

    The attributes are parameters of `Encoder.load`.
    """

    model: str | Path | None = None
    pooler: str | None = None
    simcse_names: bool = False
    similarity: str | None = None
    max_tokens: int | None = None
    dim: int | None = None
    transform: str | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    precision: str | None = None
    device: str = "auto"
    runtime: str = "auto"

    def __post_init__(self) -> None:
        """Check the types of the settings.

        Raises:
            UsageError: If a setting has the wrong type.
        """
        optional = [one.name for one in fields(self) if one.default is None]
        check_types({one.name: getattr(self, one.name) for one in fields(self)}, SETTINGS, optional)

    def asked(self) -> dict[str, Any]:
        """Return the settings that affect vectors and were requested explicitly, by name."""
        given = asdict(self)
        return {
            name: value
            for name, value in given.items()
            if value is not None and value is not False and name not in WHERE_IT_RUNS
        }


SETTINGS: Mapping[str, Check] = {
    **dict.fromkeys(("pooler", "transform", "query_prefix", "passage_prefix", "precision", "device", "runtime"), TEXT),
    **dict.fromkeys(("max_tokens", "dim"), WHOLE),
    "simcse_names": FLAG,
    "similarity": ((AUTO, *SIMILARITIES).__contains__, f"{AUTO}, {', '.join(SIMILARITIES)}"),
}
"""Expected type of each setting; the type of `model` is checked where the checkpoint is opened."""

WHERE_IT_RUNS = ("device", "runtime")
"""Settings that determine where vectors are computed, but not their values."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """Accuracy and speed of an 8-bit model relative to float32, measured on its calibration texts.

    Attributes:
        mean_cosine: Mean cosine between the 8-bit and the float32 vector of each text.
        overlap: Mean share of a text's ten nearest neighbors that are also among its ten nearest in float32.
        speed: Speedup of encoding over float32 on this machine.
    """

    mean_cosine: float
    overlap: float
    speed: float
