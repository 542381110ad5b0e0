"""The hits of the last query on this machine, which `semsearch open RANK` refers to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semsearch.cli.state import keep, kept, state_folder

if TYPE_CHECKING:
    from semsearch.context import Excerpt
    from semsearch.stores.addresses import Address
    from semsearch.types import Hit

NAME = "last-hits.json"
"""File in the state folder; it holds the query, and ids and places but no texts of documents."""


@dataclass(frozen=True, slots=True)
class Place:
    """A passage: the id of its document, and its character offsets there."""

    doc_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Recent:
    """The last query, the index that it searched (a folder or an address), and the places of its hits, best first."""

    query: str
    index: str
    places: tuple[Place, ...]


def places_of(found: Iterable[Hit | Excerpt]) -> tuple[Place, ...]:
    """Return the places of hits, or of the excerpts of a context."""
    return tuple(Place(one.doc_id, one.start, one.end) for one in found)


def keep_hits(query: str, index: Path | Address, places: Sequence[Place]) -> None:
    """Keep the places of the hits of a query; never fails."""
    with suppress(OSError, ValueError):
        place = str(index.resolve() if isinstance(index, Path) else index)
        fields = {"query": query, "index": place, "places": [astuple(one) for one in places]}
        keep(state_folder() / NAME, json.dumps(fields))


def last_hits() -> Recent | None:
    """Return the hits of the last query; None if there are none."""
    try:
        fields = json.loads(kept(state_folder() / NAME) or "null")
        places = tuple(Place(str(doc_id), int(start), int(end)) for doc_id, start, end in fields["places"])
        return Recent(str(fields["query"]), str(fields["index"]), places)
    except (ValueError, TypeError, KeyError):
        return None
