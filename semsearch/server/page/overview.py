"""Overview of a whole index for the page: `GET /facets` and `GET /map`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from semsearch.filters.syntax import is_built_in
from semsearch.index import Index
from semsearch.server.access import Asked
from semsearch.server.routes.documents import IndexName
from semsearch.server.schema import REFUSALS

router = APIRouter(responses=REFUSALS)

LOOKED_AT = 64
"""Number of documents to inspect for fields that contain lists."""


class FacetValue(BaseModel):
    """A value of a metadata field, with its frequency."""

    value: str | bool | int | float
    count: int = Field(description="Number of documents with this value.")


class Facet(BaseModel):
    """A metadata field, and its most frequent values."""

    field: str
    values: list[FacetValue]
    kind: str = Field(description="How to filter by it: list with `contains`, value with `in`, unknown with both.")


class Facets(BaseModel):
    """Metadata fields that an index can be filtered by."""

    index: str
    facets: list[Facet]


class Point(BaseModel):
    """A document on the map."""

    id: str
    title: str
    x: float = Field(description="From -1 to 1.")
    y: float = Field(description="From -1 to 1.")
    value: str | None = Field(description="Value of the requested field, as text.")


class Map(BaseModel):
    """Documents as points; documents with similar texts are close to each other."""

    index: str
    points: list[Point]


@router.get("/facets", operation_id="facets")
async def facets(service: Asked, index: IndexName = None, n: Annotated[int, Query(ge=1, le=100)] = 10) -> Facets:
    """List the metadata fields that divide an index, with their most frequent values."""
    name = service.one_of(index)
    return Facets(index=name, facets=await service.ask(name, lambda index: facets_of(index, n)))


@router.get("/map", operation_id="map")
async def corpus_map(
    service: Asked,
    index: IndexName = None,
    n: Annotated[int, Query(ge=1, le=2_000, description="Maximum number of documents.")] = 1_000,
    field: Annotated[str | None, Query(description="Metadata field whose values are returned with the points.")] = None,
) -> Map:
    """Return a map of the corpus by the first two principal components of its vectors."""
    name = service.one_of(index)
    return Map(index=name, points=await service.ask(name, lambda index: points_of(index, n, field)))


def facets_of(index: Index, n: int) -> list[Facet]:
    """Return the fields that divide an index, starting with those whose listed values cover the most documents.

    A field is left out if all of its values are unique, or if its only value occurs in every document.
    """
    kinds, total = _kinds(index), len(index)
    counted = {field: values for field, values in index.facets(n).items() if not is_built_in((field,))}
    dividing = [(f, v) for f, v in counted.items() if v[0][1] > 1 and (len(v) > 1 or v[0][1] < total)]
    dividing.sort(key=lambda one: -min(total, sum(count for _, count in one[1])))
    return [
        Facet(
            field=field,
            values=[FacetValue(value=value, count=count) for value, count in values],
            kind=kinds.get(field, "unknown"),
        )
        for field, values in dividing
    ]


def points_of(index: Index, n: int, field: str | None) -> list[Point]:
    """Return the points of the map, each with the document's value of a field."""
    return [
        Point(id=one.doc_id, title=one.title, x=one.x, y=one.y, value=_as_text(one.metadata.get(field or "")))
        for one in index.map(n)
    ]


def _kinds(index: Index) -> dict[str, str]:
    """Return which fields contain lists, judging by some documents spread over the index."""
    kinds: dict[str, str] = {}
    for point in index.map(LOOKED_AT):
        for field, value in point.metadata.items():
            kind = "list" if isinstance(value, list) else "value"
            kinds[field] = kind if kinds.get(field, kind) == kind else "unknown"
    return kinds


def _as_text(value: Any) -> str | None:
    """Return a value as the legend shows it; for a list, its first element."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or isinstance(value, dict):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
