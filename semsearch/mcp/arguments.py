"""The arguments of the tools, as a model is told of them, and their limits."""

from __future__ import annotations

from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from semsearch.confidence import DEFAULT

RESULTS = 10
"""Documents that `search` gives."""

MOST_RESULTS, MOST_NEIGHBORS = 50, 5

LEAST_TOKENS, MOST_TOKENS, USUAL_TOKENS = 100, 8_000, 2_000
"""Of text in an answer. Claude Code warns above 10,000 tokens and cuts at 25,000."""

LONGEST_QUERY = 4_000
"""Characters; encoders read fewer."""


def _from(least: float, most: float | None = None) -> dict[str, float]:
    """A range for the schema alone: what is out of it is refused in words of our own."""
    return {"minimum": least} | ({} if most is None else {"maximum": most})


Query = Annotated[str, Field(description="A question or topic in plain words.")]
Id = Annotated[str, Field(description="A document's id, as `search` or `search_documents` gave it.")]
IndexName = Annotated[
    str | None, Field(description="An index from `list_indexes`; may be left out if there is only one.")
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
K = Annotated[int, Field(description="How many passages at most.", json_schema_extra=_from(1, MOST_RESULTS))]
Budget = Annotated[
    int, Field(description="How many tokens of text at most.", json_schema_extra=_from(LEAST_TOKENS, MOST_TOKENS))
]
MinConfidence = Annotated[
    float | None,
    Field(
        description=f"Leave out passages that are less sure to be relevant. The default is {DEFAULT}; 0 shows all.",
        json_schema_extra=_from(0, 1),
    ),
]
Neighbors = Annotated[
    int,
    Field(
        description="How many passages before and after each to show with it.",
        json_schema_extra=_from(0, MOST_NEIGHBORS),
    ),
]
Offset = Annotated[int, Field(description="The character to begin at, counted from 0.", json_schema_extra=_from(0))]


def check_query(query: str) -> None:
    """Refuse an enormous query; raises ToolError."""
    if len(query) > LONGEST_QUERY:
        raise ToolError(
            f"`query` has {len(query):,} characters, at most {LONGEST_QUERY:,} are read; ask in a sentence or two"
        )


def check_range(name: str, value: int, least: int, most: int) -> None:
    """Refuse a number out of its range; raises ToolError."""
    if not least <= value <= most:
        raise ToolError(f"`{name}` must be from {least:,} to {most:,}, got {value:,}")
