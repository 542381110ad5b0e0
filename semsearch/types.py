"""The field's nouns as immutable records. This module knows nothing of files, models or databases."""

from __future__ import annotations

import hashlib
import json
import os
import re
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from semsearch.checks import FLAG, TEXT, WHOLE, Check, check_types

Qrels: TypeAlias = dict[str, dict[str, int]]
"""`{query_id: {doc_id: gain}}`."""

Run: TypeAlias = dict[str, dict[str, float]]
"""`{query_id: {doc_id: score}}`, higher is better."""

Metadata: TypeAlias = Mapping[str, Any]
"""JSON values by field name."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder by which the files of a corpus are named, wherever they are read from.

    Attributes:
        name: Stands in front of the ids of its files; empty for the first root of an index.
        path: Absolute, with links resolved.
    """

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a document was read from.

    Attributes:
        root: The folder by which the file is named; None for standard input and for documents from memory.
        file: Path of the file relative to the root, with `/` and in NFC; empty for the root itself and for memory.
        found: Whether the file was found in a folder, rather than given itself.
    """

    root: Root | None = None
    file: str = ""
    found: bool = field(default=False, compare=False)

    @property
    def key(self) -> tuple[str | None, str]:
        """What an index keeps: the name of the root, which may move, and the file."""
        return (self.root.name if self.root else None), self.file

    @property
    def doc_id(self) -> str:
        """The id of the document that the file is."""
        return f"{self.root.name}/{self.file}" if self.root and self.root.name else self.file

    def __str__(self) -> str:
        """The file as a message names it."""
        path = os.path.join(self.root.path, *self.file.split("/")) if self.root else self.file
        return path or "Python or HTTP"


@dataclass(frozen=True, slots=True)
class Document:
    """One unit of a corpus, as its author wrote it.

    Attributes:
        doc_id: Unique in the corpus.
        text: The body; may be empty, then only a title can be found.
        title: Stands in front of each passage when it is encoded.
        metadata: JSON values to filter on and to show.
        source: `file:line` it came from, for messages only; never stored.
        origin: The file it came from; None for a document from memory.
    """

    doc_id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    source: str = ""
    origin: Origin | None = field(default=None, compare=False, repr=False)

    @property
    def content_hash(self) -> str:
        """sha256 over title and text, in hex: what decides whether to encode again."""
        return hashlib.sha256(f"{self.title}\0{self.text}".encode()).hexdigest()

    @property
    def size(self) -> int:
        """Number of characters in title, text and metadata."""
        return len(self.title) + len(self.text) + len(self.metadata_json)

    @property
    def metadata_json(self) -> str:
        """The metadata in one canonical spelling."""
        return json.dumps(dict(self.metadata), ensure_ascii=False, sort_keys=True, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that gets one vector.

    Attributes:
        ordinal: 0-based position among the document's passages.
        start, end: Character offsets into the document's text, half open.
        encoded_text: What the encoder sees: the title in front (unless left out), then `text[start:end]`.
        n_tokens: Tokens of `encoded_text` with prefix and special tokens, before truncation.
        n_lost: How many of those the encoder cannot see.
    """

    ordinal: int
    start: int
    end: int
    encoded_text: str
    n_tokens: int
    n_lost: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A question with an id, as in BEIR's queries.jsonl."""

    query_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Term:
    """A term of a query, as keyword search counts it.

    Attributes:
        text: A word, two characters of a script without spaces, or an exact token such as `C++`.
        exact: Whether it is an exact token, whose bonus is counted beside its words.
    """

    text: str
    exact: bool


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """A document found, shown by its best passage.

    Attributes:
        rank: 1 for the best.
        score: Higher is better. Cosine for dense search, BM25 for keyword. For hybrid, half of each: how far the cosine
            lies between that of an unrelated passage (0) and the same text (1), and BM25 as a share of the most that
            any passage could get for the query; the same number means the same for every query. With `rrf` it
            tells ranks alone.
        text: The best passage.
        start, end: Its character offsets into the document's text.
        kind: What the score is: `cosine`, `bm25`, `hybrid` or `rrf`; or, after a second stage, `cross-encoder` (0 to 1)
            or `late-interaction` (the mean over the query's words of the best cosine in the passage; where the first
            stage gave a cosine or a hybrid score, the mean of both).
        confidence: From 0 to 1, the same for every mode and query: see `semsearch.confidence`. None where the index
            has not been measured.
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

    def __repr__(self) -> str:
        """One line, with the beginning of the text."""
        text = textwrap.shorten(self.text, 80, placeholder="…")
        return f"Hit({self.rank}, {self.doc_id!r}, score={self.score:.4f}, title={self.title!r:.60}, text={text!r})"


BRITISH = {"normalise": "normalize", "centre": "center"}
"""A field and a transform as they were spelled until November 2026."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Everything that decides what vector a text gets; stored with each index.

    Attributes:
        model: The name or path that was asked for; not part of the fingerprint.
        weights, tokenizer: sha256 in hex of the files.
        pooler: Canonical pooler name, see `semsearch poolers`.
        layers: Layers that the pooler reads, 0 = embedding output.
        max_tokens: With prefix and special tokens; what is longer is cut.
        dim: Length of a vector.
        transform: A fitted transform such as `whiten:128`, or empty.
        precision: Class of arithmetic: float32, bfloat16, float16; `int8:` and the sha256 of an 8-bit model.
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

    @property
    def fingerprint(self) -> str:
        """sha256 in hex over every field but the model's name."""
        fields = {name: value for name, value in asdict(self).items() if name != "model"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; `from_json` takes it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> EncoderSpec:
        """The inverse of `to_json`; also takes the British spellings that the first indexes were written with."""
        known = {BRITISH.get(name, name): value for name, value in fields.items()}
        known |= {"layers": tuple(known["layers"]), "transform": BRITISH.get(known["transform"], known["transform"])}
        return cls(**known)

    def differences(self, other: EncoderSpec) -> list[str]:
        """What would give another vector, in words, as `field: mine, not theirs`."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{name} {_short(mine[name])}, not {_short(theirs[name])}"
            for name in mine
            if name != "model" and mine[name] != theirs[name]
        ]


def _short(value: object) -> str:
    """A value as it fits into a message; hashes are cut to 12 characters."""
    text = str(list(value) if isinstance(value, tuple) else value)
    return re.sub(r"\b(\w{12})\w{52}\b", r"\1…", text) or "none"


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What a user asks of an encoder; None for what the index has, or else the checkpoint declares.

    Attributes are the parameters of `Encoder.load`.
    """

    model: str | Path | None = None
    pooler: str | None = None
    simcse_names: bool = False
    max_tokens: int | None = None
    dim: int | None = None
    transform: str | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    precision: str | None = None
    device: str = "auto"
    runtime: str = "auto"

    def __post_init__(self) -> None:
        """Refuse wrong types; raises UsageError."""
        optional = [one.name for one in fields(self) if one.default is None]
        check_types({one.name: getattr(self, one.name) for one in fields(self)}, SETTINGS, optional)

    def asked(self) -> dict[str, Any]:
        """What decides a vector and was asked for, by name."""
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
}
"""What fits a setting; where a model is, looks at its own type."""

WHERE_IT_RUNS = ("device", "runtime")
"""Settings that say where a vector is computed, not which one."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """What an 8-bit model costs and gains against float32, measured on the texts that it was calibrated on.

    Attributes:
        mean_cosine: Of each text's vector with its float32 vector.
        overlap: Share of a text's ten nearest other texts that are among its ten nearest in float32.
        speed: How many times as fast it encodes them here.
    """

    mean_cosine: float
    overlap: float
    speed: float
