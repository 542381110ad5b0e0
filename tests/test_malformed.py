"""Test messages about malformed objects: they name the field, its value, and what was expected instead."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from semsearch.malformed import first_problem


class Inner(BaseModel):
    text: str


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str = Field(max_length=3)
    k: int = Field(1, ge=1)
    where: str | dict[str, Any] | None = None
    mode: Literal["dense", "keyword"] = "dense"
    inner: list[Inner] = []
    either: Inner | list[float] | None = None
    even: int = 2

    @field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("an odd number")
        return value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "`query` is missing"),
        ({"query": 5}, "`query` is 5; it should be a valid string"),
        ({"query": "four"}, '`query` is "four"; it should have at most 3 characters'),
        ({"query": "a", "k": 0}, "`k` is 0; it should be greater than or equal to 1"),
        ({"query": "a", "where": 5}, "`where` is 5; it should be a valid string or be a valid dictionary"),
        ({"query": "a", "mode": "x"}, "`mode` is \"x\"; it should be 'dense' or 'keyword'"),
        ({"query": "a", "kk": 1}, "`kk` is not recognized"),
        ({"query": "a", "inner": [{"text": "b"}, {}]}, "`inner.1.text` is missing"),
        ({"query": "a", "inner": [{"text": None}]}, "`inner.0.text` is null; it should be a valid string"),
        ({"query": "a", "either": {}}, "`either.text` is missing (and 1 more)"),
        ({"query": "a", "even": 3}, "`even` is 3; Value error, an odd number"),
        ({"query": None, "k": "x", "kk": 2}, "`query` is null; it should be a valid string (and 2 more)"),
    ],
)
def test_the_first_problem_is_told(given, said):
    with pytest.raises(ValidationError) as caught:
        Wish.model_validate(given)
    assert first_problem(caught.value.errors(), given) == said
