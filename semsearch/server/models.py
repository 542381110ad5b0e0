"""Request and response bodies of the server's own API. Unknown fields are rejected, so no misspelling is ignored."""

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
    """A search request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "saving money", "k": 3, "where": "year >= 2015 and lang = 'en'"}],
        },
    )

    query: str = Field(description="Query in natural language.")
    index: str | None = Field(None, description="Name of the index; may be omitted if only one is served.")
    k: int = Field(10, ge=1, description="Maximum number of hits, up to the server's limit.")
    mode: Mode | None = Field(None, description="By meaning (dense), words (keyword) or both; by default the index's.")
    where: str | JsonObject | None = Field(None, description="Metadata filter: an expression or an object.")
    fusion: Literal["convex", "rrf"] = Field("convex", description="How `hybrid` combines the two rankings.")
    unit: Literal["document", "passage"] = Field("document", description="What to rank: documents or passages.")
    min_confidence: float | None = Field(None, ge=0, le=1, description="Leave out hits with a lower confidence.")
    rerank: bool = Field(False, description="Rescore the best hits with the server's second stage; slower.")
    group: bool = Field(False, description="Return documents with nearly the same passage as one hit; see `similar`.")
    snippets: bool = Field(False, description="Whether to return a highlighted snippet of each hit.")


class Excerpted(BaseModel):
    """Part of a passage, with its line breaks."""

    text: str
    start: int = Field(description="Offset of its first character in the passage.")
    end: int
    highlights: list[tuple[int, int]] = Field(description="Matches of the query, as offsets into this text.")

    @classmethod
    def of(cls, snippet: Snippet) -> Excerpted:
        """Convert a snippet of the library."""
        highlights = list(snippet.highlights)
        return cls(text=snippet.text, start=snippet.start, end=snippet.end, highlights=highlights)


class FoundHit(BaseModel):
    """A document or passage that was found."""

    rank: int
    id: str
    title: str
    text: str = Field(description="Text of the best passage.")
    start: int = Field(description="Offset of its first character in the document's text.")
    end: int
    score: float = Field(description="Higher is better; `kind` is its type.")
    kind: str = Field(
        description="Type of the score: cosine, dot, euclidean, bm25, hybrid, rrf, or that of the second stage."
    )
    confidence: float | None = Field(description="From 0 to 1, comparable across modes and queries; null if unknown.")
    section: str = Field("", description="Path of the section that contains it, such as `Usage > Options`.")
    page: int | None = Field(None, description="Page on which it begins, if the document has pages.")
    similar: list[str] = Field([], description="Ids of more documents with nearly the same passage, with `group`.")
    metadata: JsonObject
    url: str = Field(description="Page that shows the document with the passage highlighted.")
    snippet: Excerpted | None = Field(
        None, description="The part of the passage with the most words of the query; null unless requested."
    )

    @classmethod
    def of(cls, hit: Hit, url: str) -> FoundHit:
        """Convert a hit of the library."""
        made = ("id", "url", "metadata", "snippet")
        shared = {name: getattr(hit, name) for name in cls.model_fields if name not in made}
        return cls(id=hit.doc_id, url=url, metadata=dict(hit.metadata), **shared)


class Found(BaseModel):
    """Response to a search; an empty list of hits means that nothing is relevant."""

    index: str
    query: str
    mode: str = Field(description="Search mode that was used.")
    warming: bool = Field(description="Whether keyword search was used because the model is not loaded yet.")
    unknown_language: bool = Field(
        False, description="Whether the model does not know the query's language, so that only words count."
    )
    hits: list[FoundHit]


class ContextWish(_Asked):
    """A request for context to put into a prompt."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"question": "How do I save a wilting plant?", "budget": 800}]}
    )

    question: str = Field(description="Question in natural language.")
    index: str | None = Field(None, description="Name of the index; may be omitted if only one is served.")
    budget: int = Field(1_500, ge=100, le=1_000_000, description="Maximum number of tokens in the text.")
    mode: Mode | None = Field(None, description="As in a search.")
    where: str | JsonObject | None = Field(None, description="As in a search.")
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Leave out passages with a lower confidence; the server's default if omitted."
    )
    neighbors: int = Field(0, ge=0, le=1_000, description="Number of passages before and after each to include.")
    diversity: float = Field(0.3, ge=0, le=1, description="How strongly to penalize passages that repeat others.")
    rerank: bool = Field(False, description="Rescore the best passages with the server's second stage; slower.")


class CitedExcerpt(BaseModel):
    """An excerpt of a document within a context."""

    number: int = Field(description="Citation number, starting at 1.")
    id: str
    title: str
    text: str
    start: int = Field(description="Offset of its first character in the document's text.")
    end: int
    section: str = Field("", description="Path of the section that contains it, such as `Usage > Options`.")
    page: int | None = Field(description="Page on which it begins, if the document has pages.")
    url: str = Field(description="The document's own URL, or that of this server's page for it.")
    score: float
    confidence: float | None


class FoundContext(BaseModel):
    """Context for a prompt; an empty list of excerpts means that nothing is relevant, and the text says so."""

    index: str
    question: str
    mode: str = Field(description="Search mode that was used.")
    warming: bool = Field(description="Whether keyword search was used because the model is not loaded yet.")
    unknown_language: bool = Field(
        False, description="Whether the model does not know the question's language, so that only words count."
    )
    text: str = Field(description="Text for the prompt: numbered excerpts, marked as data.")
    tokens: int
    excerpts: list[CitedExcerpt]


class GivenDocument(_Asked):
    """A document to add; it replaces the document with the same id, if there is one."""

    id: str = Field(min_length=1, description="Id of the document, unique in the index.")
    text: str
    title: str | None = None
    metadata: JsonObject | None = Field(None, description="JSON values to filter by and to show with hits.")


class Addition(_Asked):
    """Documents to add."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"documents": [{"id": "7", "text": "The heron waits.", "metadata": {"year": 2021}}]}],
        },
    )

    index: str | None = Field(None, description="Name of the index; may be omitted if only one is served.")
    documents: list[GivenDocument] = Field(min_length=1)


class Added(BaseModel):
    """Result of adding documents; all of it survives a crash of the server."""

    index: str
    ids: list[str]
    encoded: int = Field(description="Number of documents with new text.")
    described: int = Field(description="Number of documents of which only the metadata changed.")
    unchanged: int
    passages: int = Field(description="Number of encoded passages.")
    empty: int = Field(description="Number of documents without text or title, which no search finds.")
    truncated: int = Field(description="Number of passages over the encoder's token limit, which it sees only in part.")


class Span(BaseModel):
    """Range of characters in a text."""

    start: int
    end: int = Field(description="Offset after the last character.")


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
    """Result of deleting documents."""

    index: str
    deleted: list[str]
    missing: list[str] = Field(description="Ids that the index did not contain.")


class ServedIndex(BaseModel):
    """A served index, and the encoder that it was built with."""

    name: str
    state: Literal["warm", "warming", "failed", "closed"] = Field(
        description="warm: searched by meaning and by words; otherwise by words only."
    )
    reason: str = Field(description="Why it failed; empty otherwise.")
    documents: int | None
    passages: int | None
    model: str | None
    pooler: str | None
    similarity: str | None
    dim: int | None
    max_tokens: int | None
    precision: str | None
    fields: list[str] = Field(description="Names of metadata fields, for filters.")


class Indexes(BaseModel):
    """The indexes that the key may read."""

    indexes: list[ServedIndex]


class Health(BaseModel):
    """The server is running."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether the server can search by meaning."""

    status: Literal["ready", "keyword", "failed"] = Field(
        description="ready: all indexes are searched by meaning; keyword: some by words only for now; failed: for good."
    )
    indexes: dict[str, Literal["warm", "warming", "failed", "closed"]]


class Complaint(BaseModel):
    """Why a request failed."""

    code: str = Field(description="Machine-readable code, such as `unknown_index`.")
    message: str = Field(description="One line: what was given, what was expected, what to do.")
    request_id: str


class Refusal(BaseModel):
    """An error response."""

    error: Complaint
