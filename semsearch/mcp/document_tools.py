"""Tools beyond `search` and `fetch`: excerpts within a token budget, reading from an offset, and a list of indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp.types import CallToolResult

from semsearch import context as contexts
from semsearch.confidence import DEFAULT
from semsearch.errors import SemsearchError
from semsearch.mcp import arguments as arg
from semsearch.mcp.answers import ContextAnswer, Excerpt, IndexDescription, IndexesAnswer, ReadAnswer, as_result
from semsearch.mcp.budget import end_within, estimate_tokens, shortened
from semsearch.mcp.desk import COLD, UNKNOWN_LANGUAGE, UNMEASURED, Desk, choose_index, cut_note, find_document, noted
from semsearch.mcp.refusals import advice, refusing
from semsearch.mcp.shelf import Shelf
from semsearch.printable import harmless

FIELDS_SHOWN = 100

RESOURCE_TOKENS = 25_000
"""Maximum size of a document as a resource, which an application adds to a conversation as a whole."""


@dataclass(frozen=True, slots=True)
class DocumentTools:
    """The tools that work on one index at a time, and the list of indexes."""

    desk: Desk

    def search_documents(
        self,
        query: arg.Query,
        context: Context[Any, Any],
        index: arg.IndexName = None,
        where: arg.Where = None,
        mode: arg.Mode = None,
        k: arg.K = arg.RESULTS,
        budget: arg.Budget = arg.USUAL_TOKENS,
        min_confidence: arg.MinConfidence = None,
        neighbors: arg.Neighbors = 0,
    ) -> Annotated[CallToolResult, ContextAnswer]:
        """Return numbered excerpts about a question."""
        arg.check_query(query)
        arg.check_range("k", k, 1, arg.MOST_RESULTS)
        arg.check_range("budget", budget, arg.LEAST_TOKENS, arg.MOST_TOKENS)
        arg.check_range("neighbors", neighbors, 0, arg.MOST_NEIGHBORS)
        shelf = self.desk.shelf_for(context)
        name, chosen = choose_index(shelf, index)
        wishes: dict[str, Any] = {"where": where, "candidates": k, "neighbors": neighbors, "budget": budget}
        with refusing(name):
            used = self.desk.mode_of(name, chosen, mode)
            notes = {COLD} if used != (mode or chosen.default_mode) else set()
            least = min_confidence
            if least is None and chosen.background is None:
                notes.add(UNMEASURED)
            elif least is None:
                least = DEFAULT
            found = chosen.context(query, mode=used, min_confidence=least, count=estimate_tokens, **wishes)
        notes |= {UNKNOWN_LANGUAGE} if found.unknown_language else set()
        excerpts = [_cited(shelf, name, one) for one in found.excerpts]
        return as_result(
            ContextAnswer(
                context=found.text, excerpts=excerpts, index=name, mode=used, note=noted(notes, found=bool(found))
            )
        )

    def read_document(
        self, id: arg.Id, context: Context[Any, Any], offset: arg.Offset = 0, budget: arg.Budget = arg.MOST_TOKENS
    ) -> Annotated[CallToolResult, ReadAnswer]:
        """Return a section of a document."""
        arg.check_range("budget", budget, arg.LEAST_TOKENS, arg.MOST_TOKENS)
        shelf = self.desk.shelf_for(context)
        place, document = find_document(shelf, id)
        text, doc_id = document.text, shelf.id_of(place.name, place.doc_id)
        arg.check_range("offset", offset, 0, len(text))
        end = end_within(text, offset, budget)
        return as_result(
            ReadAnswer(
                id=doc_id,
                title=shortened(document.title) or doc_id,
                text=harmless(text[offset:end]),
                url=shelf.url_of(place.name, place.doc_id, document.metadata, offset, end),
                start=offset,
                end=end,
                length=len(text),
                next_offset=end if end < len(text) else None,
            )
        )

    def list_indexes(self, context: Context[Any, Any]) -> Annotated[CallToolResult, IndexesAnswer]:
        """Return the indexes that can be searched."""
        shelf = self.desk.shelf_for(context)
        return as_result(IndexesAnswer(indexes=[self._describe(shelf, name) for name in shelf.names]))

    def document_text(self, index: str, id: str, context: Context[Any, Any]) -> str:
        """Return the text of a document, for an application that shows it to a person."""
        shelf = self.desk.shelf_for(context)
        try:
            name, chosen = choose_index(shelf, index)
            with refusing(name):
                found = chosen.documents([id])
        except ToolError as error:
            raise ResourceNotFoundError(str(error)) from None
        if not found:
            raise ResourceNotFoundError(f"no document has the id {id!r:.100} in index {name!r}")
        text = found[id].text
        end = end_within(text, 0, RESOURCE_TOKENS)
        note = cut_note(shelf.id_of(name, id), 0, end, len(text))
        return text if end == len(text) else f"{text[:end]}\n\n{note}"

    def _describe(self, shelf: Shelf, name: str) -> IndexDescription:
        try:
            index = shelf.indexes[name]
            status, mode = index.status(), self.desk.mode_of(name, index)
        except (SemsearchError, OSError) as error:
            return IndexDescription(name=name, problem=f"The index {advice(error)}.")
        return IndexDescription(
            name=name,
            documents=status["documents"],
            passages=status["passages"],
            fields=[shortened(field) for field in status["fields"][:FIELDS_SHOWN]],
            fields_left_out=max(0, len(status["fields"]) - FIELDS_SHOWN),
            model=status["encoder"]["model"].rpartition("/")[2],
            pooler=status["encoder"]["pooler"],
            updated=status["updated"],
            mode=mode,
        )


def _cited(shelf: Shelf, name: str, one: contexts.Excerpt) -> Excerpt:
    """Return the source of an excerpt, without the text, which is in the context."""
    doc_id = shelf.id_of(name, one.doc_id)
    return Excerpt(
        number=one.number,
        id=doc_id,
        title=shortened(one.title) or doc_id,
        url=shelf.url_of(name, one.doc_id, {"url": one.url}, one.start, one.end),
        start=one.start,
        end=one.end,
        section=shortened(one.section) or None,
        page=one.page,
        confidence=None if one.confidence is None else round(one.confidence, 3),
    )
