"""What a page shows of a whole index: `GET /facets` and `GET /map`."""

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
"""Documents that tell which fields hold lists."""


class FacetValue(BaseModel):
    """A value of a metadata field."""

    value: str | bool | int | float
    count: int = Field(description="Documents that have it.")


class Facet(BaseModel):
    """A metadata field, and its most frequent values."""

    field: str
    values: list[FacetValue]
    kind: str = Field(description="list: compare with `contains`; value: with `in`; unknown: with both.")


class Facets(BaseModel):
    """What an index can be filtered by."""

    index: str
    facets: list[Facet]


class Point(BaseModel):
    """A document on the map."""

    id: str
    title: str
    x: float = Field(description="From -1 to 1.")
    y: float = Field(description="From -1 to 1.")
    value: str | None = Field(description="What it has in the field asked for, as text.")


class Map(BaseModel):
    """Documents as points, near one another where their texts are alike."""

    index: str
    points: list[Point]


@router.get("/facets", operation_id="facets")
async def facets(service: Asked, index: IndexName = None, n: Annotated[int, Query(ge=1, le=100)] = 10) -> Facets:
    """The metadata fields that divide an index, with their most frequent values."""
    name = service.one_of(index)
    return Facets(index=name, facets=await service.ask(name, lambda index: facets_of(index, n)))


@router.get("/map", operation_id="map")
async def corpus_map(
    service: Asked,
    index: IndexName = None,
    n: Annotated[int, Query(ge=1, le=2_000, description="Documents at most.")] = 1_000,
    field: Annotated[str | None, Query(description="Metadata field whose values come with the points.")] = None,
) -> Map:
    """A map of the corpus by the first two principal components of its vectors."""
    name = service.one_of(index)
    return Map(index=name, points=await service.ask(name, lambda index: points_of(index, n, field)))


def facets_of(index: Index, n: int) -> list[Facet]:
    """Fields by which an index can be divided, those first of whose documents the values shown are the most.

    A value must stand for several documents, and not for all.
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
    """The map, with the value that each document has in a field."""
    return [
        Point(id=one.doc_id, title=one.title, x=one.x, y=one.y, value=_as_text(one.metadata.get(field or "")))
        for one in index.map(n)
    ]


def _kinds(index: Index) -> dict[str, str]:
    """Which fields hold lists, as some documents spread over the index have them."""
    kinds: dict[str, str] = {}
    for point in index.map(LOOKED_AT):
        for field, value in point.metadata.items():
            kind = "list" if isinstance(value, list) else "value"
            kinds[field] = kind if kinds.get(field, kind) == kind else "unknown"
    return kinds


def _as_text(value: Any) -> str | None:
    """A value as a legend names it; of a list the first."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or isinstance(value, dict):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
