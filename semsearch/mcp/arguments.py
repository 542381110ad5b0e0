"""The arguments of the tools, with their descriptions for the model, and their limits."""

from __future__ import annotations

from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from semsearch.confidence import DEFAULT

RESULTS = 10
"""Number of documents that `search` returns."""

MOST_SIMILAR = 10
"""Maximum number of documents to name that nearly repeat a result."""

MOST_RESULTS, MOST_NEIGHBORS = 50, 5

LEAST_TOKENS, MOST_TOKENS, USUAL_TOKENS = 100, 8_000, 2_000
"""Tokens of text in an answer. Claude Code warns above 10,000 tokens and truncates at 25,000."""

LONGEST_QUERY = 4_000
"""Maximum length of a query in characters; encoders read fewer."""


def _from(least: float, most: float | None = None) -> dict[str, float]:
    """Return a range for the JSON schema only; values outside it are rejected with our own messages."""
    return {"minimum": least} | ({} if most is None else {"maximum": most})


Query = Annotated[str, Field(description="A question or topic in plain words.")]
Id = Annotated[str, Field(description="A document's id, as returned by `search` or `search_documents`.")]
IndexName = Annotated[
    str | None, Field(description="An index from `list_indexes`; may be omitted if there is only one.")
]
Where = Annotated[
    str | None,
    Field(
        description="Filter on metadata fields from `list_indexes`: = != < <= > >=, in (...), contains, is null, and, "
        "or, not. Example: year >= 2020 and (lang = 'en' or tags contains 'survey')"
    ),
]
Mode = Annotated[
    Literal["dense", "keyword", "hybrid"] | None,
    Field(description="Search by meaning and words (hybrid, the default), by meaning (dense), or by words (keyword)."),
]
K = Annotated[int, Field(description="Maximum number of passages.", json_schema_extra=_from(1, MOST_RESULTS))]
Budget = Annotated[
    int, Field(description="Maximum number of tokens of text.", json_schema_extra=_from(LEAST_TOKENS, MOST_TOKENS))
]
MinConfidence = Annotated[
    float | None,
    Field(
        description=f"Minimum confidence that a passage is relevant. The default is {DEFAULT}; 0 returns all.",
        json_schema_extra=_from(0, 1),
    ),
]
Neighbors = Annotated[
    int,
    Field(
        description="Number of passages to include before and after each passage.",
        json_schema_extra=_from(0, MOST_NEIGHBORS),
    ),
]
Offset = Annotated[
    int, Field(description="The character offset to start at, counted from 0.", json_schema_extra=_from(0))
]


def check_query(query: str) -> None:
    """Raise ToolError if a query is too long."""
    if len(query) > LONGEST_QUERY:
        raise ToolError(
            f"`query` has {len(query):,} characters, but the limit is {LONGEST_QUERY:,}; ask in a sentence or two"
        )


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Raise ToolError if a number is out of its range."""
    if not least <= value <= most:
        raise ToolError(f"`{name}` must be from {least:,} to {most:,}, got {value:,}")
