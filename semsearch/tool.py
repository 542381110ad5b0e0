"""A search as a plain function for agents: annotated, described, and answering with plain values.

Frameworks read its signature and docstring, so its annotations are types and not text: no `annotations` here.
"""

import re
from collections.abc import Callable
from typing import Any

from semsearch.context import page_of, url_of
from semsearch.errors import UsageError
from semsearch.types import Hit

Tool = Callable[..., list[dict[str, Any]]]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""What OpenAI's and Anthropic's APIs take for the name of a tool."""

ARGUMENTS = """

Args:
    query: A question or a few words, in plain language.
    k: How many passages to return at most.

Returns:
    The best passages, best first, each with `id` and `title` of its document, `text`, `start` and `end` (where it
    stands in the document), `page` and `url` (None where there is none), `score`, `confidence` from 0 to 1, and
    `metadata`. Empty if nothing relevant was found.
"""


def make_tool(search: Callable[[str, int], list[Hit]], name: str, description: str, k: int) -> Tool:
    """Make a function of a search.

    Args:
        search: A query and a number of hits to hits, best first.
        name: Of the function: letters, digits, `_` and `-`, at most 64.
        description: When it is of use, for a model that chooses among tools.
        k: How many passages it returns unless it is asked otherwise.

    Raises:
        UsageError: The name is not possible.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(f"`name` is {name!r:.80}; expected up to 64 letters, digits, '_' or '-', such as search_notes")

    def tool(query: str, k: int = k) -> list[dict[str, Any]]:
        return [record_of(hit) for hit in search(query, k)]

    tool.__name__ = tool.__qualname__ = name
    tool.__doc__ = description.strip() + ARGUMENTS
    return tool


def record_of(hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON values."""
    return {
        "id": hit.doc_id,
        "title": hit.title,
        "text": hit.text,
        "start": hit.start,
        "end": hit.end,
        "page": page_of(hit.metadata, hit.start),
        "url": url_of(hit.metadata) or None,
        "score": hit.score,
        "confidence": hit.confidence,
        "metadata": dict(hit.metadata),
    }


def name_for(index: str) -> str:
    """Return a name for the tool that searches an index of this name."""
    plain = re.sub("[^a-z0-9]+", "_", index.lower()).strip("_")[:50]
    return f"search_{plain}" if plain else "search_index"


def description_for(index: str) -> str:
    """Return a description of the tool that searches an index of this name."""
    return (
        f"Search the documents of {index!r:.60} by meaning and by words. Use it for questions that these documents may "
        "answer; nothing is returned where none of them does."
    )
