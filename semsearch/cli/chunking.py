"""The chunking that the options of a command ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semsearch.errors import UsageError

if TYPE_CHECKING:
    from semsearch.cli.locations import IndexPlace
    from semsearch.corpus.chunking import Chunking

CHUNK = "chunk"


def chunking_of(folder: IndexPlace, **wanted: Any) -> Chunking:
    """Return the chunking of an index, new or existing, with the requested options applied.

    Raises:
        UsageError: If an option does not fit the others.
    """
    from semsearch.corpus.chunking import Chunking
    from semsearch.index import Index

    asked = {name: value for name, value in wanted.items() if value is not None}
    with Index.open(folder, create=True) as opened:
        kept = opened.chunking.to_json()
    if asked.get("on_long", CHUNK) != CHUNK:
        del kept["tokens"]  # a length that only `chunk` has
    chunking = Chunking(**{**kept, **asked})
    if "overlap" in asked and chunking.on_long != CHUNK:
        raise UsageError(f"--overlap requires --on-long chunk, got --on-long {chunking.on_long}")
    return chunking
