"""Tests for filters as mappings: the same tree as from an expression, and errors that name the key."""

from __future__ import annotations

from collections import ChainMap
from types import MappingProxyType
from typing import Any

import pytest
from filter_examples import ODD_FILTERS
from hypothesis import given

from semsearch.errors import FilterError
from semsearch.filters.mapping import from_mapping
from semsearch.filters.notation import write_path
from semsearch.filters.syntax import And, Comparison, Filter, Not, Or
from semsearch.filters.text import parse


@pytest.mark.parametrize(
    ("mapping", "expression"),
    [
        ({"lang": "en"}, "lang = 'en'"),
        ({"open": True}, "open = true"),
        ({"year": 2020.5}, "year = 2020.5"),
        ({"lang": None}, "lang is null"),
        ({"year": {">=": 2020}, "lang": "en"}, "year >= 2020 and lang = 'en'"),
        ({"year": {">=": 2020, "<": 2024}, "lang": "en"}, "year >= 2020 and year < 2024 and lang = 'en'"),
        ({"year": {"=": 1}}, "year = 1"),
        ({"year": {"==": 1}}, "year = 1"),
        ({"year": {"<>": 1}}, "year != 1"),
        ({"lang": {"!=": "de"}}, "lang != 'de'"),
        ({"year": {"in": [2019, 2020]}}, "year in (2019, 2020)"),
        ({"year": {"in": (True, "x")}}, "year in (true, 'x')"),
        ({"year": {"in": {2019}}}, "year in (2019)"),
        ({"year": {"in": range(3)}}, "year in (0, 1, 2)"),
        ({"year": {"in": {2019: "a", 2020: "b"}.keys()}}, "year in (2019, 2020)"),
        ({"year": {"NOT  in": [2019]}}, "year not in (2019)"),
        ({"tags": {"contains": "it's"}}, "tags contains 'it''s'"),
        ({"lang": {"starts with": "e"}}, "lang starts with 'e'"),
        ({"lang": {"Ends With": ""}}, "lang ends with ''"),
        ({"lang": {"contains exactly": "E"}}, "lang contains exactly 'E'"),
        ({"tags": {"is list": ["a", 1]}}, "tags is list ('a', 1)"),
        ({"tags": {"is list": []}}, "tags is list ()"),
        (
            {"at": {"is before": "2020-01-01", "Is After": "2019-01-01"}},
            "at is before '2020-01-01' and at is after '2019-01-01'",
        ),
        ({"lang": {"is null": True}}, "lang is null"),
        ({"lang": {"is null": False}}, "lang is not null"),
        ({"lang": {"is not null": True}}, "lang is not null"),
        ({"lang": {"IS NOT NULL": False}}, "lang is null"),
        ({"title": "BERT"}, "title = 'BERT'"),
        ({"author.name": "Ada"}, "author.name = 'Ada'"),
        ({"`a.b`.`tick```": 1}, "`a.b`.`tick``` = 1"),
        ({"`and`": 1, "`Not`": 2, "a.`or`": 3}, "`and` = 1 and `Not` = 2 and a.`or` = 3"),
        ({"or": [{"a": 1}, {"b": 1}]}, "a = 1 or b = 1"),
        ({"and": ({"a": 1}, {"b": 1})}, "a = 1 and b = 1"),
        ({"OR": [{"a": 1, "b": 1}, {"c": 1}]}, "(a = 1 and b = 1) or c = 1"),
        ({"not": {"a": 1}}, "not a = 1"),
        ({"not": {"a": 1, "b": 1}}, "not (a = 1 and b = 1)"),
        ({"not": {"not": {"a": 1}}}, "not not a = 1"),
        ({"or": [{"a": 1}]}, "a = 1"),
        ({"c": 1, "or": [{"a": 1}, {"not": {"b": 1}}]}, "c = 1 and (a = 1 or not b = 1)"),
        (MappingProxyType({"year": ChainMap({">=": 2020})}), "year >= 2020"),
    ],
)
def test_a_mapping_reads_as_what_the_expression_reads_as(mapping, expression):
    assert from_mapping(mapping) == parse(expression)


OPERATORS = (
    "(known: =, !=, <, <=, >, >=, in, not in, contains, contains exactly, starts with, ends with, is list, "
    "is before, is after, is at, is null, is not null)"
)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "the filter is empty: write a condition such as {'year': {'>=': 2020}, 'lang': 'en'}"),
        ({"year": {}}, "'year' is compared with an empty mapping; expected an operator such as {'>=': 2020}"),
        (
            {"tags": ["a"]},
            "'tags' is compared with a list: write {'in': [...]} for one of several, or {'contains':",
        ),
        ({"tags": ()}, "'tags' is compared with a tuple: write {'in': [...]}"),
        ({"tags": {"a"}}, "'tags' is compared with a set"),
        ({"year": {"contain": 1}}, f"'year' has an unknown operator 'contain', did you mean 'contains'? {OPERATORS}"),
        ({"year": {"$gte": 1}}, "unknown operator '$gte', did you mean '>='?"),
        ({"year": {"=>": 1}}, "did you mean '>='?"),
        ({"lang": {"startswith": "e"}}, "did you mean 'starts with'?"),
        ({"year": {"starts with": 20}}, "'year': starts with compares text, got 20"),
        ({"tags": {"is list": "a"}}, "'tags': is list takes a list of values, got str"),
        ({"at": {"is at": 20}}, "'at': is at takes a date or time such as '2026-11-29T17:15:00Z', got 20"),
        ({"year": {"$nin": [1]}}, "did you mean 'not in'?"),
        (
            {"author": {"name": "Ada"}},
            "'name'; if it is a field inside an object, write 'author.name' as the key",
        ),
        ({"author": {"pen name": "Ada"}}, "write 'author.`pen name`' as the key"),
        ({"year": {5: 1}}, "'year' has an unknown operator 5"),
        ({"year": {"": 1}}, "'year' has an unknown operator '' (known"),
        ({"year": {">=": None}}, "'year': >= does not take None; write {'is null': True}"),
        ({"year": {"!=": None}}, "'year': != does not take None; write {'is null': False}"),
        ({"year": {"in": "en"}}, "'year': in takes a list of values, got str"),
        ({"year": {"in": b"en"}}, "'year': in takes a list of values, got bytes"),
        ({"year": {"in": {"a": 1}}}, "'year': in takes a list of values, got dict"),
        ({"year": {"in": 5}}, "'year': in takes a list of values, got int"),
        ({"year": {"in": []}}, "'year': in takes at least one value, got none"),
        ({"year": {"in": [["en"]]}}, "'year': expected text, a number or a boolean, got list"),
        ({"year": {"in": [None]}}, "'year': expected text, a number or a boolean, got NoneType"),
        ({"year": {"=": ["en"]}}, "'year': expected text, a number or a boolean, got list"),
        ({"year": b"x"}, "'year': expected text, a number or a boolean, got bytes"),
        ({"lang": {"is null": 1}}, "'lang': is null takes True or False, got 1"),
        ({"lang": {"is not null": None}}, "'lang': is not null takes True or False, got None"),
        ({"open": {"<": True}}, "'open': < compares text or numbers, got True"),
        ({"year": 2**63}, "'year': the integer does not fit into 64 bits"),
        ({"year": {"<": float("nan")}}, "'year': the number is not finite"),
        ({"a.b": "\ud800"}, "'a.b': text with a NUL character or a lone surrogate matches nothing"),
        ({"`la\x00ng`": 1}, "the field name 'la\\x00ng' has a NUL character"),
        ({"tags": {"contains": "x" * 1_001}}, "'tags': contains takes at most 1,000 characters, got 1,001"),
        ({5: 1}, "a key of the filter is 5; expected the name of a field as a string"),
        ({None: 1}, "a key of the filter is None"),
        ({"": 1}, "the key '' is not a field name: expected the name of a field"),
        ({"pub year": 1}, "the key 'pub year' is not a field name: write '`pub year`' for a field of that name"),
        ({"a.": 1}, "the key 'a.' is not a field name: write '`a.`' for a field of that name"),
        ({"a\nb": 1}, "the key 'a\\nb' is not a field name"),
        ({"in": [1]}, "the key 'in' is not a field name: write '`in`' for a field of that name"),
        ({"a.or": 1}, "the key 'a.or' is not a field name"),
        ({"a" + ".a" * 16: 1}, "has 17 names, at most 16 are allowed"),
        ({"or": {"a": 1}}, "'or' takes a list of mappings, got dict"),
        ({"and": "a = 1"}, "'and' takes a list of mappings, got str"),
        ({"AND": []}, "'AND' takes a list of at least one mapping, got an empty one"),
        ({"or": [{"a": 1}, "b = 1"]}, "'or' joins mappings such as {'year': {'>=': 2020}, 'lang': 'en'}, got 'b = 1'"),
        ({"or": [{"a": 1}, {}]}, "the filter is empty"),
        ({"not": [{"a": 1}]}, "'not' takes a mapping such as {'year': {'>=': 2020}, 'lang': 'en'}, got [{'a': 1}]"),
        ({"not": None}, "'not' takes a mapping"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_one_line_that_names_the_key(mapping, message):
    with pytest.raises(FilterError) as caught:
        from_mapping(mapping)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_mapping_nested_too_deeply_is_refused_also_one_that_holds_itself():
    endless: dict[str, Any] = {}
    endless["and"] = [endless]
    deep: dict[str, Any] = {"a": 1}
    for _ in range(40):
        deep = {"not": deep}
    assert from_mapping(deep).depth == 40
    for mapping in (endless, {"not": deep}, {"or": [deep]}):
        with pytest.raises(FilterError, match="nested too deeply"):
            from_mapping(mapping)


def as_mapping(filter: Filter) -> dict[str, object]:
    match filter:
        case And(operands):
            return {"and": [as_mapping(operand) for operand in operands]}
        case Or(operands):
            return {"or": [as_mapping(operand) for operand in operands]}
        case Not(operand):
            return {"not": as_mapping(operand)}
        case Comparison(path, operator, values):
            several = {
                "in": values,
                "is list": list(values),
                "not in": list(values),
                "is null": True,
                "is not null": True,
            }
            return {write_path(path): {operator: several.get(operator, values and values[0])}}


@given(ODD_FILTERS)
def test_every_tree_can_be_written_as_a_mapping(filter):
    assert from_mapping(as_mapping(filter)) == filter
