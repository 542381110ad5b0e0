"""What every tool stands on: which indexes a request may see, how to search them now, and documents by their ids."""

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
"""An HTTP request to the names of the indexes that it may see."""

NOTHING = "Nothing in the index is relevant to this query. Say so, or search again in other words."
COLD = (
    "The model is not loaded (yet), so this was searched by words alone, and more may be there: ask again in a few "
    "seconds, or in the words of the documents."
)
UNMEASURED = "This index was not measured, so weak hits could not be left out: judge for yourself whether they fit."


@dataclass(frozen=True, slots=True)
class Desk:
    """A shelf of indexes, and what is known of them at the moment.

    Attributes:
        is_warm: Whether the model of an index is loaded; until then it is searched by words, unless a mode is named.
        visible: Which indexes a request over HTTP may see; None for all.
        loads: Whether a search in a named mode may load the model itself.
    """

    shelf: Shelf
    is_warm: Callable[[str], bool]
    visible: Visible | None = None
    loads: bool = True

    def shelf_for(self, context: Context[Any, Any]) -> Shelf:
        """What the request that is being answered may see."""
        request = context.request_context.request
        return self.shelf.part(self.visible(request)) if self.visible and request is not None else self.shelf

    def mode_of(self, name: str, index: Index, asked: str | None = None) -> str:
        """How an index is searched at the moment, in the mode that is named, or where none is."""
        wanted = asked or index.default_mode
        waits = not self.loads or (asked is None and wanted == "hybrid")
        return "keyword" if waits and not self.is_warm(name) else wanted


def choose_index(shelf: Shelf, given: str | None) -> tuple[str, Index]:
    """The index of that name, or the only one.

    Raises:
        ToolError: There is none of that name, or several and no name.
    """
    names = ", ".join(map(repr, shelf.names)) or "none"
    if given is None and len(shelf.names) != 1:
        raise ToolError(f"`index` is missing; expected one of: {names}")
    name = shelf.names[0] if given is None else given
    if name not in shelf.names:
        raise ToolError(f"there is no index {name!r:.60}; expected one of: {names}")
    with refusing(name):
        return name, shelf.indexes[name]


def find_document(shelf: Shelf, given: str) -> tuple[Place, StoredDocument]:
    """The document that an id names, and the place in it.

    Raises:
        ToolError: There is none.
    """
    for place in shelf.places(given):
        with refusing(place.name):
            found = shelf.indexes[place.name].documents([place.doc_id])
        if found:
            return place, found[place.doc_id]
    raise ToolError(f"there is no document with the id {given!r:.100}; take one from the results of `search`")


def cut_note(doc_id: str, start: int, end: int, length: int) -> str:
    """What stands below a part of a text, in characters."""
    return (
        f"[Cut: characters {start} to {end} of {length}. To read more, call `read_document` with the id {doc_id!r} and "
        "an `offset`.]"
    )


def noted(notes: set[str], *, found: bool) -> str | None:
    """What is said beside an answer; None for nothing. That nothing is relevant is known only by meaning."""
    return " ".join(sorted(notes | ({NOTHING} if not found and COLD not in notes else set()))) or None
