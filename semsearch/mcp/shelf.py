"""The indexes that are served, by name, and ids and addresses that say which index a document is in."""

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
"""The name of an index, the id of a document, and the characters that were found (first, last; 0 and 0 for none) to the
address of a page that shows them."""

SCHEME = "semsearch"
"""Of the addresses of documents as resources of the protocol."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What an index may be served as: a part of addresses, and of ids."""

STEPS = frozenset(("", ".", ".."))
"""Parts of a path that lead elsewhere."""

LONGEST_URL = 2_000
"""Characters of a document's own address; what is longer would crowd out everything else."""

_PLACE = re.compile(r"(.+)#chars=(\d{1,15})-(\d{1,15})", re.DOTALL)


class Place(NamedTuple):
    """A document in the index of that name, and the characters in it that were found, if any."""

    name: str
    doc_id: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Shelf:
    """The indexes that are served.

    With one index the ids of documents are its own. With several, each has the name of its index and a colon in front.

    Attributes:
        indexes: By name; looked up for each request, so that whoever serves them may open one again.
        names: Of those that may be seen.
        link: Makes the address of a document that has none of its own.
        several: Whether ids name an index, however many may be seen.
    """

    indexes: Mapping[str, Index]
    names: tuple[str, ...]
    link: Link
    several: bool

    def part(self, names: Collection[str]) -> Shelf:
        """The same shelf with some of its indexes only."""
        return replace(self, names=tuple(name for name in self.names if name in names))

    def id_of(self, index: str, doc_id: str) -> str:
        """The id by which a client names a document."""
        return f"{index}:{doc_id}" if self.several else doc_id

    def url_of(self, index: str, doc_id: str, metadata: Metadata, start: int = 0, end: int = 0) -> str:
        """A document's own address, or else that by which it is shown, at the characters from start to end."""
        own = url_of(metadata)
        return own if own and len(own) <= LONGEST_URL else self.link(index, doc_id, start, end)

    def places(self, given: str) -> list[Place]:
        """What an id may mean, the likelier first: an id may itself end as a place in a document does."""
        found = _PLACE.fullmatch(given)
        readings = [(given, 0, 0), *([(found[1], int(found[2]), int(found[3]))] if found else [])]
        if not self.several:
            return [Place(name, one, start, end) for name in self.names for one, start, end in readings]
        named = [(*one.partition(":"), start, end) for one, start, end in readings]
        return [Place(name, doc_id, start, end) for name, _, doc_id, start, end in named if name in self.names]


def make_shelf(indexes: Mapping[str, Index], public_url: str = "", link: Link | None = None) -> Shelf:
    """Put indexes on a shelf.

    Args:
        indexes: By names of letters, digits and `._-`.
        public_url: Where `semsearch serve` shows documents, as the reader of an answer reaches it; empty for nowhere,
            then documents are named as resources of the protocol.
        link: Makes the address of a document in place of that.

    Raises:
        UsageError: No index, or a name with other characters.
    """
    if not indexes:
        raise UsageError("there is no index to serve; expected one or more")
    for name in indexes:
        if not NAME.fullmatch(name):
            raise UsageError(f"the index is named {name!r:.60}; expected letters, digits and . _ -, such as 'notes'")
    several = len(indexes) > 1
    base = public_url.rstrip("/")

    def page(index: str, doc_id: str, start: int, end: int) -> str:
        return page_url(base, index if several else "", doc_id, start, end)

    return Shelf(indexes, tuple(indexes), link or (page if base else resource), several)


def page_url(base: str, index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """The address of a document's page on a server, with the characters from start to end highlighted.

    An id that no path can hold goes into the query instead: a browser takes some parts for steps up and down.

    Args:
        base: Address of the server, without a slash at the end.
        index: Name of the index; empty where the server has one only.
        doc_id: Of the document.
        start: Character offset into its text.
        end: The same, behind what was found; 0 for nothing.
    """
    odd = "\n" in doc_id or not STEPS.isdisjoint(doc_id.split("/"))
    asked = [f"id={quote(doc_id, safe='')}"] if odd else []
    asked += [f"index={quote(index, safe='')}"] if index else []
    asked += [f"chars={start}-{end}#passage"] if end > start else []
    return f"{base}/doc/{'' if odd else quote(doc_id)}{'?' if asked else ''}{'&'.join(asked)}"


def resource(index: str, doc_id: str, start: int = 0, end: int = 0) -> str:
    """The address of a document as a resource of the protocol, which is read as a whole."""
    return f"{SCHEME}://{index}/{quote(doc_id, safe='')}"
