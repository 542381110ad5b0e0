"""The served indexes by name, and document ids and URLs that identify the index."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from semsearch.context import url_of
from semsearch.errors import UsageError
from semsearch.index import Index
from semsearch.types import Metadata

Link: TypeAlias = Callable[[str, str, int, int], str]
"""Function from the name of an index, the id of a document, and the start and end of the characters that were found (0
and 0 for none) to the URL of a page that shows them."""

SCHEME = "semsearch"
"""URL scheme of documents as resources of the protocol."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Valid names of indexes, which become parts of URLs and ids."""

STEPS = frozenset(("", ".", ".."))
"""Path segments that would lead to another URL."""

LONGEST_URL = 2_000
"""Maximum length of a document's own URL in characters; a longer one would crowd out everything else."""

_PLACE = re.compile(r"(.+)#chars=(\d{1,15})-(\d{1,15})", re.DOTALL)


class Place(NamedTuple):
    """A place in a document.

    Attributes:
        name: Name of the index.
        doc_id: Id of the document in that index.
        start: Character offset of the start of the text that was found; 0 for none.
        end: Character offset of its end; 0 for none.
    """

    name: str
    doc_id: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Shelf:
    """The served indexes.

    With one index, document ids are its own. With several, they are prefixed with the name of the index and a colon.

    Attributes:
        indexes: Indexes by name, looked up for each request, so that an index may be reopened while it is served.
        names: Names of the visible indexes.
        link: Makes the URL of a document that has none of its own.
        several: Whether ids name an index, regardless of how many are visible.
    """

    indexes: Mapping[str, Index]
    names: tuple[str, ...]
    link: Link
    several: bool

    def part(self, names: Collection[str]) -> Shelf:
        """Return a shelf that shows only some of its indexes."""
        return replace(self, names=tuple(name for name in self.names if name in names))

    def id_of(self, index: str, doc_id: str) -> str:
        """Return the id by which clients refer to a document."""
        return f"{index}:{doc_id}" if self.several else doc_id

    def url_of(self, index: str, doc_id: str, metadata: Metadata, start: int = 0, end: int = 0) -> str:
        """Return a document's own URL, or else the URL that shows it at the characters from start to end."""
        own = url_of(metadata)
        return own if own and len(own) <= LONGEST_URL else self.link(index, doc_id, start, end)

    def places(self, given: str) -> list[Place]:
        """Return the possible meanings of an id, the likelier first, because an id may itself end like a place."""
        found = _PLACE.fullmatch(given)
        readings = [(given, 0, 0), *([(found[1], int(found[2]), int(found[3]))] if found else [])]
        if not self.several:
            return [Place(name, one, start, end) for name in self.names for one, start, end in readings]
        named = [(*one.partition(":"), start, end) for one, start, end in readings]
        return [Place(name, doc_id, start, end) for name, _, doc_id, start, end in named if name in self.names]


def make_shelf(indexes: Mapping[str, Index], public_url: str = "", link: Link | None = None) -> Shelf:
    """Create a shelf from indexes.

    Args:
        indexes: Indexes by name; names consist of letters, digits and `._-`.
        public_url: Address at which the user reaches a `semsearch serve` that shows the documents. If empty, documents
            get URLs of resources of the protocol.
        link: Makes the URL of a document, instead of `public_url`.

    Raises:
        UsageError: If there is no index, or a name contains other characters.
    """
    if not indexes:
        raise UsageError("no index to serve; expected at least one")
    for name in indexes:
        if not NAME.fullmatch(name):
            raise UsageError(f"invalid index name {name!r:.60}; expected letters, digits and . _ -, such as 'notes'")
    several = len(indexes) > 1
    base = public_url.rstrip("/")

    def page(index: str, doc_id: str, start: int, end: int) -> str:
        return page_url(base, index if several else "", doc_id, start, end)

    return Shelf(indexes, tuple(indexes), link or (page if base else resource), several)


def page_url(base: str, index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """Return the URL of a document's page on a server, with the characters from start to end highlighted.

    An id that a path cannot contain goes into the query string instead, because browsers resolve segments such as `..`.

    Args:
        base: URL of the server, without a trailing slash.
        index: Name of the index; empty if the server has only one.
        doc_id: Id of the document.
        start: Character offset of the start of the highlight.
        end: Character offset of its end; 0 for no highlight.
    """
    odd = "\n" in doc_id or not STEPS.isdisjoint(doc_id.split("/"))
    asked = [f"id={quote(doc_id, safe='')}"] if odd else []
    asked += [f"index={quote(index, safe='')}"] if index else []
    asked += [f"chars={start}-{end}#passage"] if end > start else []
    return f"{base}/doc/{'' if odd else quote(doc_id)}{'?' if asked else ''}{'&'.join(asked)}"


def resource(index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """Return the URL of a document as a resource of the protocol, which is read as a whole."""
    return f"{SCHEME}://{index}/{quote(doc_id, safe='')}"
