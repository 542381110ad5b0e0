"""What the filters of frameworks need besides the tree: constants, missing fields, and names that are taken here.

Frameworks know documents with text and metadata, and a field that no document has is missing, not misspelt. Their
metadata may have fields called `title` and `doc_id`, which in the tree are no metadata: a title is the document's own,
and whoever stores a framework's documents keeps what else has such a name in an object called SHADOWED.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from semsearch.filters.syntax import BUILT_IN, And, Comparison, Filter, Not, Or, Value, is_built_in

EVERYTHING: Filter = Comparison(("doc_id",), "is not null")
"""True for every document."""

NOTHING: Filter = Comparison(("doc_id",), "is null")
"""True for none."""

SHADOWED = "_metadata"
"""The object in the metadata that holds fields with the names of built-in paths."""

NO_FIELD = (SHADOWED, "no field")
"""A path that no document has."""


TITLE = ("title",)

TAKEN = (*BUILT_IN, SHADOWED)
"""Names that a framework's metadata cannot have here by themselves."""


def metadata_path(names: Sequence[str]) -> tuple[str, ...]:
    """Return the path of a field in a framework's metadata; a title that is text is the document's."""
    path = tuple(names)
    if not all(path):
        return NO_FIELD
    return (SHADOWED, *path) if path[0] in TAKEN and path != TITLE else path


def compare(path: tuple[str, ...], operator: str, values: tuple[Value, ...] = ()) -> Filter:
    """Return a comparison that is false where the field is missing, as all but `is null` are; also of a title."""
    comparison = Comparison(path, operator, values)
    return And((comparison, Comparison(path, "!=", ("",)))) if path == TITLE else comparison


def missing(path: tuple[str, ...]) -> Filter:
    """Return a filter for the documents that lack a field; a title that is empty is none."""
    null = Comparison(path, "is null")
    return Or((null, Comparison(path, "=", ("",)))) if path == TITLE else null


def any_of(filters: Sequence[Filter]) -> Filter:
    """Join by `Or`; of no filters, nothing."""
    return Or(tuple(filters)) if len(filters) > 1 else filters[0] if filters else NOTHING


def all_of(filters: Sequence[Filter]) -> Filter:
    """Join by `And`; of no filters, everything."""
    return And(tuple(filters)) if len(filters) > 1 else filters[0] if filters else EVERYTHING


def settle(filter: Filter, known: Collection[str]) -> Filter:
    """Decide what is said of fields that no document has, where a search would take them for misspelt.

    Args:
        filter: From a framework.
        known: Names of the metadata fields that documents have.

    Returns:
        A filter that means the same and reads known fields alone; EVERYTHING and NOTHING stand in no larger one.
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
