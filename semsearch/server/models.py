"""The bodies of the server's own API. Unknown fields are refused, so that a misspelt one is not ignored."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from semsearch.snippets import Snippet
from semsearch.types import Hit

Mode: TypeAlias = Literal["dense", "keyword", "hybrid"]

JsonObject: TypeAlias = dict[str, Any]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Search(_Asked):
    """What to search for, and how."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "saving money", "k": 3, "where": "year >= 2015 and lang = 'en'"}],
        },
    )

    query: str = Field(description="In plain words.")
    index: str | None = Field(None, description="Name of the index; may be left out where one is served.")
    k: int = Field(10, ge=1, description="Hits, at most the server's limit.")
    mode: Mode | None = Field(None, description="By meaning, by words, or both; the index's default where left out.")
    where: str | JsonObject | None = Field(None, description="A filter: an expression, or an object.")
    fusion: Literal["convex", "rrf"] = Field("convex", description="How `hybrid` mixes both.")
    unit: Literal["document", "passage"] = Field("document", description="What is ranked.")
    min_confidence: float | None = Field(None, ge=0, le=1, description="Leave out hits with a lower confidence.")
    rerank: bool = Field(False, description="Score the best hits again by the server's second stage; slower.")
    snippets: bool = Field(False, description="Whether to show of each hit what matches the query.")


class Excerpted(BaseModel):
    """A part of a passage, with its line breaks."""

    text: str
    start: int = Field(description="Its first character in the passage.")
    end: int
    highlights: list[tuple[int, int]] = Field(description="What matches the query, as offsets into this text.")

    @classmethod
    def of(cls, snippet: Snippet) -> Excerpted:
        """From a snippet of the library."""
        highlights = list(snippet.highlights)
        return cls(text=snippet.text, start=snippet.start, end=snippet.end, highlights=highlights)


class FoundHit(BaseModel):
    """A document, or passage, that was found."""

    rank: int
    id: str
    title: str
    text: str = Field(description="The best passage.")
    start: int = Field(description="Its first character in the document's text.")
    end: int
    score: float = Field(description="Higher is better; `kind` says what it is.")
    kind: str = Field(description="cosine, bm25, hybrid, rrf, or that of the second stage.")
    confidence: float | None = Field(description="From 0 to 1, the same for every mode and query; null if not known.")
    metadata: JsonObject
    url: str = Field(description="Page that shows the document with the passage highlighted.")
    snippet: Excerpted | None = Field(
        None, description="The part of the passage with most of the query's words; null unless asked for."
    )

    @classmethod
    def of(cls, hit: Hit, url: str) -> FoundHit:
        """From a hit of the library."""
        made = ("id", "url", "metadata", "snippet")
        shared = {name: getattr(hit, name) for name in cls.model_fields if name not in made}
        return cls(id=hit.doc_id, url=url, metadata=dict(hit.metadata), **shared)


class Found(BaseModel):
    """The answer to a search; without hits, nothing is relevant."""

    index: str
    query: str
    mode: str = Field(description="How it was answered.")
    warming: bool = Field(description="Whether only words were compared because the model is not loaded yet.")
    hits: list[FoundHit]


class ContextWish(_Asked):
    """What a prompt needs to know about."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"question": "How do I save a wilting plant?", "budget": 800}]}
    )

    question: str = Field(description="In plain words.")
    index: str | None = Field(None, description="Name of the index; may be left out where one is served.")
    budget: int = Field(1_500, ge=100, le=1_000_000, description="Tokens that the text may have.")
    mode: Mode | None = Field(None, description="As for a search.")
    where: str | JsonObject | None = Field(None, description="As for a search.")
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Leave out passages with a lower confidence; the server's default if left out."
    )
    neighbors: int = Field(0, ge=0, le=1_000, description="Passages before and behind each that are shown with it.")
    diversity: float = Field(0.3, ge=0, le=1, description="How much what repeats other passages counts against one.")
    rerank: bool = Field(False, description="Score the best passages again by the server's second stage; slower.")


class CitedExcerpt(BaseModel):
    """A stretch of a document that stands in a context."""

    number: int = Field(description="As it is cited, from 1 on.")
    id: str
    title: str
    text: str
    start: int = Field(description="Its first character in the document's text.")
    end: int
    page: int | None = Field(description="On which it begins, where the document has pages.")
    url: str = Field(description="The document's own address, or that of the page that shows it here.")
    score: float
    confidence: float | None


class FoundContext(BaseModel):
    """What to put into a prompt; without excerpts, nothing is relevant, and the text says so."""

    index: str
    question: str
    mode: str = Field(description="How it was searched.")
    warming: bool = Field(description="Whether only words were compared because the model is not loaded yet.")
    text: str = Field(description="To paste into the prompt: numbered excerpts, marked as data.")
    tokens: int
    excerpts: list[CitedExcerpt]


class GivenDocument(_Asked):
    """A document to add, or to put in place of the one with its id."""

    id: str = Field(min_length=1, description="Unique in the index.")
    text: str
    title: str | None = None
    metadata: JsonObject | None = Field(None, description="JSON values to filter on and to show.")


class Addition(_Asked):
    """Documents to add."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"documents": [{"id": "7", "text": "The heron waits.", "metadata": {"year": 2021}}]}],
        },
    )

    index: str | None = Field(None, description="Name of the index; may be left out where one is served.")
    documents: list[GivenDocument] = Field(min_length=1)


class Added(BaseModel):
    """What became of documents that were added; all of it survives a crash of the server."""

    index: str
    ids: list[str]
    encoded: int = Field(description="Documents with new text.")
    described: int = Field(description="Documents of which only the metadata changed.")
    unchanged: int
    passages: int = Field(description="Passages encoded.")
    empty: int = Field(description="Documents without text or title, which nothing finds.")
    truncated: int = Field(description="Passages that the encoder does not see whole.")


class Span(BaseModel):
    """Characters of a text."""

    start: int
    end: int = Field(description="One behind the last.")


class WholeDocument(BaseModel):
    """A document as it is stored."""

    index: str
    id: str
    title: str
    text: str
    metadata: JsonObject
    passages: list[Span]
    url: str


class Deletion(_Asked):
    """Documents to delete."""

    index: str | None = None
    ids: list[str] = Field(min_length=1)


class Deleted(BaseModel):
    """What became of it."""

    index: str
    deleted: list[str]
    missing: list[str] = Field(description="Ids that were not there.")


class ServedIndex(BaseModel):
    """An index, and the encoder that it belongs to."""

    name: str
    state: Literal["warm", "warming", "failed", "closed"] = Field(
        description="warm: searched by meaning and words; otherwise by words alone."
    )
    reason: str = Field(description="Why it failed.")
    documents: int | None
    passages: int | None
    model: str | None
    pooler: str | None
    dim: int | None
    max_tokens: int | None
    precision: str | None
    fields: list[str] = Field(description="Names of metadata fields, for filters.")


class Indexes(BaseModel):
    """The indexes that the key may read."""

    indexes: list[ServedIndex]


class Health(BaseModel):
    """The server runs."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """How well the server can answer."""

    status: Literal["ready", "keyword", "failed"] = Field(
        description="ready: every index by meaning; keyword: some by words alone for now; failed: for good."
    )
    indexes: dict[str, Literal["warm", "warming", "failed", "closed"]]


class Complaint(BaseModel):
    """Why a request has no answer."""

    code: str = Field(description="For programs, such as `unknown_index`.")
    message: str = Field(description="One line: what was given, what was expected, what to do.")
    request_id: str


class Refusal(BaseModel):
    """An error."""

    error: Complaint
