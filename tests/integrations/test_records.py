"""Conversion of the frameworks' documents to documents of an index and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch import Index, WordHashEncoder
from semsearch.filters.frameworks import NO_FIELD, SHADOWED, metadata_path
from semsearch.filters.syntax import Comparison, Not
from semsearch.integrations.records import metadata_of, passage_id, search, select, to_document, whole
from semsearch.stores.base import StoredDocument

JSON = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3)
NAMES = st.sampled_from(["title", "doc_id", SHADOWED, "year"])
METADATA = st.dictionaries(NAMES, JSON | st.lists(JSON, max_size=2) | st.dictionaries(NAMES, JSON, max_size=2))


@given(METADATA)
def test_metadata_come_back_whatever_they_are_called(metadata: dict[str, Any]):
    made = to_document("1", "text", metadata)
    assert metadata_of(StoredDocument("1", made.title, made.text, made.metadata, [])) == metadata


def test_what_is_called_otherwise_stays_as_it_is():
    made = to_document("1", "text", {"title": "T", "doc_id": 5, "year": 2020})
    assert (made.title, dict(made.metadata)) == ("T", {"year": 2020, SHADOWED: {"doc_id": 5}})
    assert dict(to_document("1", "text", {"title": 7}).metadata) == {SHADOWED: {"title": 7}}
    assert metadata_path(["title"]) == ("title",)
    assert metadata_path(["doc_id"]) == (SHADOWED, "doc_id")
    assert metadata_path(["title", "x"]) == (SHADOWED, "title", "x")
    assert metadata_path(["a", ""]) == NO_FIELD


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64))


UNKNOWN = Comparison(("no such field",), "=", (1,))


def test_a_field_that_no_document_has_is_missing_not_misspelt(index: Index):
    assert select(index, None) == select(index, Not(UNKNOWN)) == []
    index.add([to_document("1", "gull", {"year": 2020}), to_document("2", "gull", {})])
    assert select(index, UNKNOWN) == []
    assert select(index, Not(UNKNOWN)) == select(index, None) == ["1", "2"]
    assert select(index, Comparison(("year",), "is null")) == ["2"]
    assert search(index, "gull", 5, UNKNOWN) == []
    assert len(search(index, "gull", 5, Not(UNKNOWN))) == 2
    (hit,) = search(index, "gull", 5, Comparison(("year",), "=", (2020,)))
    assert passage_id(hit) == "1#chars=0-4"
    assert [(found.doc_id, stored.text) for found, stored in whole(index, [hit])] == [("1", "gull")]
    index.delete(["1"])
    assert whole(index, [hit]) == []
