"""Tests for the syntax tree: what it refuses, how it prints, and which fields it reads."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import FrozenInstanceError

import pytest
from filter_examples import FILTERS, ODD_FILTERS
from hypothesis import assume, given

from semsearch.errors import FilterError
from semsearch.filters.syntax import (
    MAX_DEPTH,
    And,
    Comparison,
    Filter,
    Not,
    Or,
    check_fields,
    comparisons_of,
    fields_of,
    join,
)
from semsearch.filters.text import MAX_LENGTH, parse

A, B, C = (Comparison((name,), "=", (1,)) for name in "abc")
YEAR = ("year",)


@pytest.mark.parametrize(
    ("path", "operator", "values", "message"),
    [
        ("year", "=", (1,), "the path of a comparison is 'year'; expected a tuple of names such as ('year',)"),
        (["year"], "=", (1,), "the path of a comparison is ['year']; expected a tuple"),
        ((), "=", (1,), "the path of a comparison is (); expected a tuple"),
        (("a", 1), "=", (1,), "a field name is 1; expected a non-empty string"),
        (("a", ""), "=", (1,), "a field name is ''; expected a non-empty string"),
        (("a\0",), "=", (1,), "the field name 'a\\x00' has a NUL character or lone surrogate, which no field has"),
        (("\udfff",), "=", (1,), "the field name '\\udfff' has a NUL character or lone surrogate"),
        (("a",) * 17, "=", (1,), "has 17 names, at most 16 are allowed"),
        (YEAR, "==", (1,), "'year': unknown operator '=='; expected one of =, !=, <, <=, >, >=, in, not in, contains,"),
        (YEAR, None, (1,), "'year': unknown operator None"),
        (YEAR, "=", "en", "'year': the values are 'en'; expected a tuple such as (2020,)"),
        (YEAR, "in", [1], "'year': the values are [1]; expected a tuple"),
        (YEAR, "=", (), "'year': = takes one value, got 0"),
        (YEAR, "!=", (1, 2), "'year': != takes one value, got 2"),
        (YEAR, "<", (), "'year': < takes one value, got 0"),
        (YEAR, "contains", (1, 2), "'year': contains takes one value, got 2"),
        (YEAR, "not in", (), "'year': not in takes at least one value, got none"),
        (YEAR, "is null", (None,), "'year': expected text, a number or a boolean, got NoneType"),
        (YEAR, "is not null", (True,), "'year': is not null takes no value, got 1"),
        (YEAR, ">=", (False,), "'year': >= compares text or numbers, got False"),
        (YEAR, "=", (None,), "'year': expected text, a number or a boolean, got NoneType"),
        (YEAR, "=", (1j,), "'year': expected text, a number or a boolean, got complex"),
        (YEAR, "in", (1, ["x"]), "'year': expected text, a number or a boolean, got list"),
        (YEAR, "=", (2**63,), "'year': the integer does not fit into 64 bits"),
        (YEAR, "=", (-(2**63) - 1,), "'year': the integer does not fit into 64 bits"),
        (YEAR, "=", (float("inf"),), "'year': the number is not finite"),
        (YEAR, "in", (1.0, float("nan")), "'year': the number is not finite"),
        (YEAR, "=", ("a\0",), "'year': text with a NUL character or a lone surrogate matches nothing"),
        (("a", "b c"), "=", ("\ud83d",), "'a.`b c`': text with a NUL character or a lone surrogate"),
        (("a\nb",), "=", (1, 2), "'`a\\nb`': = takes one value, got 2"),
        (YEAR, "starts with", (20,), "'year': starts with compares text, got 20"),
        (YEAR, "contains exactly", (20,), "'year': contains exactly compares text, got 20"),
        (YEAR, "is list", (None,), "'year': expected text, a number or a boolean, got NoneType"),
        (YEAR, "is at", (), "'year': is at takes one value, got 0"),
        (
            YEAR,
            "is before",
            ("2020",),
            "'year': is before takes a date or time such as '2026-11-29T17:15:00Z', got '2020'",
        ),
        (YEAR, "is after", ("2020-02-30",), "'year': is after takes a date or time such as"),
        (YEAR, "ends with", (), "'year': ends with takes one value, got 0"),
        (YEAR, "ends with", ("x" * 1_001,), "'year': ends with takes at most 1,000 characters, got 1,001"),
        (YEAR, "contains", ("x" * 1_001,), "'year': contains takes at most 1,000 characters, got 1,001"),
    ],
)
def test_an_impossible_comparison_is_refused_with_its_field_on_one_line(path, operator, values, message):
    with pytest.raises(FilterError) as caught:
        Comparison(path, operator, values)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", ["", "x" * 10_000, 0, 2**63 - 1, -(2**63), 1e308, -0.0, True])
def test_what_json_and_databases_hold_is_a_value(value):
    assert Comparison(YEAR, "=", (value,)).values == (value,)


@pytest.mark.parametrize(
    ("kind", "operands", "message"),
    [
        (And, (), "And holds (); expected a tuple of at least 2 filters"),
        (Or, (A,), "expected a tuple of at least 2 filters"),
        (And, [A, B], "expected a tuple of at least 2 filters"),
        (Or, (A, "b = 1"), "Or holds 'b = 1'; expected a Comparison, And, Or or Not"),
        (Not, None, "Not holds None; expected a Comparison, And, Or or Not"),
    ],
)
def test_a_node_holds_filters_only(kind, operands, message):
    with pytest.raises(FilterError, match=re.escape(message)):
        kind(operands)


def test_depth_counts_the_levels_above_the_deepest_comparison_and_is_bounded():
    tree: Filter = A
    assert [A.depth, Not(A).depth, And((A, Not(Or((A, B))))).depth] == [0, 1, 3]
    while tree.depth < MAX_DEPTH:
        tree = Or((Not(tree), B)) if tree.depth % 2 == 0 else Not(tree)
    for kind, operands in ((Not, tree), (And, (A, tree)), (Or, (tree, A))):
        with pytest.raises(FilterError, match="nested too deeply \\(at most 40 levels are allowed\\): flatten it"):
            kind(operands)


def test_one_filter_joined_stands_for_itself():
    assert join(And, [A]) is A
    assert join(Or, [A, B]) == Or((A, B))


@pytest.mark.parametrize(
    ("tree", "expression"),
    [
        (Comparison(("year",), ">=", (2020,)), "year >= 2020"),
        (Comparison(("author", "pen name"), "=", ("it's",)), "author.`pen name` = 'it''s'"),
        (Comparison(("tick`", "not"), "!=", (0.5,)), "`tick```.`not` != 0.5"),
        (Comparison(("x",), "in", (1, True, "a")), "x in (1, true, 'a')"),
        (Comparison(("x",), "not in", (False,)), "x not in (false)"),
        (Comparison(("x",), "is not null"), "x is not null"),
        (Comparison(("x",), "is list", (1, "a")), "x is list (1, 'a')"),
        (Comparison(("x",), "is list"), "x is list ()"),
        (Comparison(("x",), "is at", ("2020-01-01",)), "x is at '2020-01-01'"),
        (And((A, Or((B, Not(C))))), "a = 1 and (b = 1 or not c = 1)"),
        (Or((And((A, B)), C)), "(a = 1 and b = 1) or c = 1"),
        (Not(And((A, B))), "not (a = 1 and b = 1)"),
        (Not(Not(A)), "not not a = 1"),
    ],
)
def test_a_filter_prints_as_the_expression_by_hand(tree, expression):
    assert str(tree) == expression


class Half(float):
    def __repr__(self) -> str:
        return "Half(0.5)"


def test_a_number_of_another_class_prints_as_a_number():  # unlike numpy's float64
    assert str(Comparison(("x",), "=", (Half(0.5),))) == "x = 0.5"


@given(ODD_FILTERS | FILTERS)
def test_what_is_printed_reads_back_as_the_same_tree(filter):
    expression = str(filter)
    assume(len(expression) <= MAX_LENGTH)
    assert parse(expression) == filter


def test_equal_comparisons_mean_the_same_so_true_is_not_1():
    one, real, true = (Comparison(YEAR, "in", ("a", value)) for value in (1, 1.0, True))
    assert one == real
    assert hash(one) == hash(real)
    assert one != true
    assert And((one, A)) != And((true, A))
    assert len({one, real, true}) == 2
    assert A != Comparison(("a",), "!=", (1,))
    assert A != "a = 1"


@pytest.mark.parametrize("tree", [A, Not(A), And((A, Or((B, C)))), Comparison(("x",), "is null")])
def test_filters_are_values_that_can_be_copied_pickled_and_not_changed(tree):
    assert copy.deepcopy(tree) == pickle.loads(pickle.dumps(tree)) == tree
    assert hash(copy.copy(tree)) == hash(tree)
    with pytest.raises(FrozenInstanceError):
        setattr(tree, type(tree).__match_args__[0], 7)
    assert eval(repr(Comparison(("x",), "in", (1, "a")))) == Comparison(("x",), "in", (1, "a"))


def test_fields_are_the_top_level_names_without_the_columns():
    tree = parse("a.b = 1 or `c.d` is null and not (title = 'x' or doc_id = 'y') and e in (1) and title.x = 1")
    assert fields_of(tree) == {"a", "c.d", "e", "title"}
    assert [str(comparison) for comparison in comparisons_of(tree)][:3] == ["a.b = 1", "`c.d` is null", "title = 'x'"]


def test_unknown_fields_are_named_with_the_known_and_the_closest():
    check_fields(parse("year = 1 and lang.x = 2 and title = 'x'"), {"lang", "year"})
    with pytest.raises(FilterError, match=re.escape("field 'yaer', did you mean 'year'? (known: 'lang', 'year';")):
        check_fields(parse("yaer = 1"), ["year", "lang"])
    with pytest.raises(FilterError, match="did you mean 'title'"):
        check_fields(parse("titel = 'x'"), {"lang"})
    with pytest.raises(FilterError, match=r"field 'zzz' \(known: none"):
        check_fields(parse("zzz = 1"), ())
    with pytest.raises(FilterError, match="and 5 more; built in: doc_id, title"):
        check_fields(parse("zzz = 1"), [f"f{n}" for n in range(25)])
