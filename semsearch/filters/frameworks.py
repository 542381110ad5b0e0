"""Shared parts of the framework front ends: constant filters, missing fields, and names that are reserved here.

In frameworks, documents have text and metadata, and a field that no document has is missing, not misspelled. Their
metadata may have fields called `title` and `doc_id`, which the tree does not treat as metadata: a title is the
document's own, and code that stores a framework's documents keeps other fields with reserved names in an object called
SHADOWED.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from semsearch.filters.syntax import BUILT_IN, And, Comparison, Filter, Not, Or, Value, is_built_in

EVERYTHING: Filter = Comparison(("doc_id",), "is not null")
"""True for every document."""

NOTHING: Filter = Comparison(("doc_id",), "is null")
"""True for no document."""

SHADOWED = "_metadata"
"""The object in the metadata that contains fields with the names of built-in paths."""

NO_FIELD = (SHADOWED, "no field")
"""A path that no document has."""


TITLE = ("title",)

TAKEN = (*BUILT_IN, SHADOWED)
"""Top-level names that a framework's metadata cannot use here."""


def metadata_path(names: Sequence[str]) -> tuple[str, ...]:
    """Return the path of a field in a framework's metadata; a title at the top level is the document's own."""
    path = tuple(names)
    if not all(path):
        return NO_FIELD
    return (SHADOWED, *path) if path[0] in TAKEN and path != TITLE else path


def compare(path: tuple[str, ...], operator: str, values: tuple[Value, ...] = ()) -> Filter:
    """Return a comparison, other than `is null`, that is false if the field is missing or is an empty title."""
    comparison = Comparison(path, operator, values)
    return And((comparison, Comparison(path, "!=", ("",)))) if path == TITLE else comparison


def missing(path: tuple[str, ...]) -> Filter:
    """Return a filter for documents that lack a field; an empty title counts as missing."""
    null = Comparison(path, "is null")
    return Or((null, Comparison(path, "=", ("",)))) if path == TITLE else null


def any_of(filters: Sequence[Filter]) -> Filter:
    """Join filters by `Or`; return NOTHING if there are none."""
    return Or(tuple(filters)) if len(filters) > 1 else filters[0] if filters else NOTHING


def all_of(filters: Sequence[Filter]) -> Filter:
    """Join filters by `And`; return EVERYTHING if there are none."""
    return And(tuple(filters)) if len(filters) > 1 else filters[0] if filters else EVERYTHING


def settle(filter: Filter, known: Collection[str]) -> Filter:
    """Resolve comparisons of fields that no document has, which a search would reject as misspelled.

    Args:
        filter: A filter from a framework.
        known: Names of the metadata fields that documents have.

    Returns:
        An equivalent filter that reads known fields only; EVERYTHING and NOTHING are never part of a larger filter.
    """
    match filter:
        case Comparison(path, operator):
            if is_built_in(path) or path[0] in known:
                return filter
            return EVERYTHING if operator == "is null" else NOTHING
        case Not(operand):
            inner = settle(operand, known)
            return NOTHING if inner == EVERYTHING else EVERYTHING if inner == NOTHING else Not(inner)
        case And(operands):
            parts = [settle(operand, known) for operand in operands]
            return NOTHING if NOTHING in parts else all_of([part for part in parts if part != EVERYTHING])
        case Or(operands):
            parts = [settle(operand, known) for operand in operands]
            return EVERYTHING if EVERYTHING in parts else any_of([part for part in parts if part != NOTHING])
