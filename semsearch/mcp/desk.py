"""Shared state of the tools: the indexes that a request may see, their current search modes, and document lookup."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request

from semsearch.index import Index
from semsearch.mcp.refusals import refusing
from semsearch.mcp.shelf import Place, Shelf
from semsearch.stores.base import StoredDocument

Visible: TypeAlias = Callable[[Request], Collection[str]]
"""Function from an HTTP request to the names of the indexes that it may see."""

NOTHING = "Nothing in the index is relevant to this query. Say so, or search again in different words."
COLD = (
    "The model is not loaded (yet), so this was a keyword search and may have missed documents: search again in a few "
    "seconds, or use the words of the documents."
)
UNKNOWN_LANGUAGE = (
    "The model does not know the language of this query, so the search went by words: use the words of the documents."
)
UNMEASURED = (
    "This index has no confidence scores, so weak hits were not left out: judge for yourself whether they are relevant."
)


@dataclass(frozen=True, slots=True)
class Desk:
    """The served indexes and their current state.

    Attributes:
        shelf: The served indexes.
        is_warm: Returns whether the model of an index is loaded; until then, searches without an explicit mode use
            keywords only.
        visible: Returns the indexes that an HTTP request may see; None if every request may see all of them.
        loads: Whether a search with an explicit mode may load the model itself.
    """

    shelf: Shelf
    is_warm: Callable[[str], bool]
    visible: Visible | None = None
    loads: bool = True

    def shelf_for(self, context: Context[Any, Any]) -> Shelf:
        """Return the indexes that the current request may see."""
        request = context.request_context.request
        return self.shelf.part(self.visible(request)) if self.visible and request is not None else self.shelf

    def mode_of(self, name: str, index: Index, asked: str | None = None) -> str:
        """Return the mode in which to search an index now, given the requested mode, if any."""
        wanted = asked or index.default_mode
        waits = not self.loads or (asked is None and wanted == "hybrid")
        return "keyword" if waits and not self.is_warm(name) else wanted


def choose_index(shelf: Shelf, given: str | None) -> tuple[str, Index]:
    """Return the name and the index of that name, or the only index if no name is given.

    Raises:
        ToolError: If no index has that name, or no name is given and there is not exactly one index.
    """
    names = ", ".join(map(repr, shelf.names)) or "none"
    if given is None and len(shelf.names) != 1:
        raise ToolError(f"`index` is missing; expected one of: {names}")
    name = shelf.names[0] if given is None else given
    if name not in shelf.names:
        raise ToolError(f"unknown index {name!r:.60}; expected one of: {names}")
    with refusing(name):
        return name, shelf.indexes[name]


def find_document(shelf: Shelf, given: str) -> tuple[Place, StoredDocument]:
    """Return the document that an id names, and the place in it.

    Raises:
        ToolError: If no document has that id.
    """
    for place in shelf.places(given):
        with refusing(place.name):
            found = shelf.indexes[place.name].documents([place.doc_id])
        if found:
            return place, found[place.doc_id]
    raise ToolError(f"no document has the id {given!r:.100}; use an id from the results of `search`")


def cut_note(doc_id: str, start: int, end: int, length: int) -> str:
    """Return the note below a part of a text, with its range and the length of the whole text in characters."""
    return (
        f"[Cut: characters {start} to {end} of {length}. To read more, call `read_document` with the id {doc_id!r} and "
        "an `offset`.]"
    )


def noted(notes: set[str], *, found: bool) -> str | None:
    """Join the notes on an answer; None if there are none.

    An answer without hits gets the note that nothing is relevant, unless a keyword search stood in for a model that was
    not loaded, because that cannot tell.
    """
    return " ".join(sorted(notes | ({NOTHING} if not found and COLD not in notes else set()))) or None
