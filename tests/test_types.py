"""Test records: hashes against hashlib, round trips through JSON, and the fields that determine a vector."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch import Document, EncoderSpec

SPEC = EncoderSpec(
    model="here/model",
    weights="a" * 64,
    tokenizer="b" * 64,
    pooler="mean",
    layers=(6,),
    max_tokens=256,
    dim=384,
)
OTHER = {  # a different value for every field except the model's name
    "weights": "c" * 64,
    "tokenizer": "c" * 64,
    "pooler": "cls",
    "layers": (0, 6),
    "max_tokens": 128,
    "dim": 128,
    "query_prefix": "query: ",
    "passage_prefix": "passage: ",
    "normalize": False,
    "transform": "whiten:128",
    "precision": "bfloat16",
    "similarity": "dot",
}


def test_every_field_of_a_spec_is_tried_here() -> None:
    assert set(OTHER) | {"model"} == {field.name for field in dataclasses.fields(EncoderSpec)}


@pytest.mark.parametrize("field", OTHER)
def test_the_fingerprint_changes_with_each_field_that_decides_a_vector(field: str) -> None:
    assert dataclasses.replace(SPEC, **{field: OTHER[field]}).fingerprint != SPEC.fingerprint


def test_the_same_model_under_another_name_has_the_same_fingerprint() -> None:
    moved = dataclasses.replace(SPEC, model="/elsewhere")
    assert moved.fingerprint == SPEC.fingerprint
    assert SPEC.differences(moved) == []


def test_the_fingerprint_is_the_sha256_of_the_fields_as_json() -> None:
    spelled = (
        '{"dim": 384, "layers": [6], "max_tokens": 256, "normalize": true, "passage_prefix": "", "pooler": "mean", '
        f'"precision": "float32", "query_prefix": "", "tokenizer": "{"b" * 64}", "transform": "", '
        f'"weights": "{"a" * 64}"}}'
    )
    assert SPEC.fingerprint == hashlib.sha256(spelled.encode()).hexdigest()


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("weights", "weights aaaaaaaaaaaa…, not cccccccccccc…"),
        ("tokenizer", "tokenizer bbbbbbbbbbbb…, not cccccccccccc…"),
        ("pooler", "pooler mean, not cls"),
        ("layers", "layers [6], not [0, 6]"),
        ("max_tokens", "max_tokens 256, not 128"),
        ("query_prefix", "query_prefix none, not query: "),
        ("normalize", "normalize True, not False"),
        ("transform", "transform none, not whiten:128"),
        ("precision", "precision float32, not bfloat16"),
        ("similarity", "similarity cosine, not dot"),
    ],
)
def test_a_difference_is_named_in_words(field: str, words: str) -> None:
    assert SPEC.differences(dataclasses.replace(SPEC, **{field: OTHER[field]})) == [words]


def test_all_differences_are_named() -> None:
    assert len(SPEC.differences(dataclasses.replace(SPEC, **OTHER))) == len(OTHER)


@given(
    st.builds(
        EncoderSpec,
        model=st.text(),
        weights=st.text(),
        tokenizer=st.text(),
        pooler=st.text(),
        layers=st.lists(st.integers(0, 99)).map(tuple),
        max_tokens=st.integers(),
        dim=st.integers(),
        query_prefix=st.text(),
        passage_prefix=st.text(),
        normalize=st.booleans(),
        transform=st.text(),
        precision=st.text(),
        similarity=st.text(),
    )
)
def test_a_spec_survives_json(spec: EncoderSpec) -> None:
    again = EncoderSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.fingerprint == spec.fingerprint


def test_a_spec_of_an_older_index_ranks_by_cosine_and_has_the_same_fingerprint() -> None:
    stored = SPEC.to_json()
    del stored["similarity"]
    assert EncoderSpec.from_json(stored) == SPEC
    assert EncoderSpec.from_json(stored).similarity == "cosine"


def test_a_documents_hash_is_that_of_title_and_text() -> None:
    expected = hashlib.sha256("Gänse\0They fly.".encode()).hexdigest()
    assert Document("1", "They fly.", "Gänse").content_hash == expected
    assert Document("2", "They fly.", "Gänse", {"year": 1}, "a:3").content_hash == expected
    assert Document("1", "Gänse They fly.").content_hash != expected
    assert Document("1", "b", "a").content_hash != Document("1", "", "ab").content_hash


def test_metadata_have_one_spelling() -> None:
    assert Document("1", "", metadata={"b": [1, None], "a": "ü"}).metadata_json == '{"a": "ü", "b": [1, null]}'
    assert Document("1", "").metadata_json == "{}"


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.dim = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        Document("1", "").text = "other"


def test_a_spec_of_the_first_indexes_is_read():
    spec = EncoderSpec("m", "w", "t", "mean", (6,), 256, 8, transform="center", normalize=False)
    fields = {("normalise" if name == "normalize" else name): value for name, value in spec.to_json().items()}
    assert EncoderSpec.from_json({**fields, "transform": "centre"}) == spec
