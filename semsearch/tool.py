"""A search as a plain function for agents, with annotations, a docstring, and JSON values as its result.

Frameworks read the signature and docstring of the function. Its annotations must be types, not strings, so this module
does not import `annotations` from `__future__`.
"""

import re
from collections.abc import Callable
from typing import Any

from semsearch.context import url_of
from semsearch.errors import UsageError
from semsearch.types import Hit

Tool = Callable[..., list[dict[str, Any]]]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""Tool names that the APIs of OpenAI and Anthropic accept."""

ARGUMENTS = """

Args:
    query: A question or a few words, in plain language.
    k: Maximum number of passages to return.

Returns:
    The best passages, best first, each with `id` and `title` of its document, `text`, `start` and `end` (character
    offsets in the document), `page` and `url` (None if there is none), `score`, `confidence` from 0 to 1, and
    `metadata`. Empty if nothing relevant was found.
"""


def make_tool(search: Callable[[str, int], list[Hit]], name: str, description: str, k: int) -> Tool:
    """Wrap a search in a tool function.

    Args:
        search: Takes a query and a number of hits, and returns hits, best first.
        name: Name of the function: at most 64 letters, digits, `_` or `-`.
        description: When to use the tool, for the model that chooses among tools.
        k: Default number of passages to return.

    Raises:
        UsageError: If the name is not a valid tool name.
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
        "section": hit.section,
        "page": hit.page,
        "url": url_of(hit.metadata) or None,
        "score": hit.score,
        "confidence": hit.confidence,
        "metadata": dict(hit.metadata),
    }


def name_for(index: str) -> str:
    """Return the default tool name for an index of this name."""
    plain = re.sub("[^a-z0-9]+", "_", index.lower()).strip("_")[:50]
    return f"search_{plain}" if plain else "search_index"


def description_for(index: str) -> str:
    """Return the default tool description for an index of this name."""
    return (
        f"Search the documents of {index!r:.60} by meaning and by words. Use it for questions that these documents may "
        "answer; it returns nothing if none of them does."
    )
