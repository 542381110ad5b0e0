"""Tests for parsing expressions: hand-written trees, and errors that mark the position."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch.errors import FilterError
from semsearch.filters.syntax import And, Comparison, Not, Or, fields_of
from semsearch.filters.text import parse

A, B, C = (Comparison((name,), "=", (1,)) for name in "abc")


@pytest.mark.parametrize(
    ("expression", "tree"),
    [
        ("year >= 2020", Comparison(("year",), ">=", (2020,))),
        ("author . name='it''s'", Comparison(("author", "name"), "=", ("it's",))),
        ('`pub. year`.`tick``` == "say ""hi"""', Comparison(("pub. year", "tick`"), "=", ('say "hi"',))),
        ("x <> -2.5e-1", Comparison(("x",), "!=", (-0.25,))),
        ("x = +7", Comparison(("x",), "=", (7,))),
        ("x IN (1, 'a', TRUE, false)", Comparison(("x",), "in", (1, "a", True, False))),
        ("x NOT\n IN (1)", Comparison(("x",), "not in", (1,))),
        ("x Contains ''", Comparison(("x",), "contains", ("",))),
        ("x starts\n with 'a'", Comparison(("x",), "starts with", ("a",))),
        ("x Ends With ''", Comparison(("x",), "ends with", ("",))),
        ("x contains  Exactly 'a'", Comparison(("x",), "contains exactly", ("a",))),
        ("x is list ()", Comparison(("x",), "is list")),
        ("x IS LIST (1, 'a', true)", Comparison(("x",), "is list", (1, "a", True))),
        ("at is at '2020-01-01'", Comparison(("at",), "is at", ("2020-01-01",))),
        ("list Is  Before '2020-01-01'", Comparison(("list",), "is before", ("2020-01-01",))),
        ("starts starts with 'a'", Comparison(("starts",), "starts with", ("a",))),
        ("x is  null", Comparison(("x",), "is null")),
        ("x IS NOT NULL", Comparison(("x",), "is not null")),
        ("is is null", Comparison(("is",), "is null")),
        ("not-a = 1", Comparison(("not-a",), "=", (1,))),
        # `not` binds tighter than `and`, and `and` tighter than `or`; parentheses are kept, chains become one node
        ("a=1 or b=1 and c=1", Or((A, And((B, C))))),
        ("(a=1 or b=1) and c=1", And((Or((A, B)), C))),
        ("not a=1 and b=1", And((Not(A), B))),
        ("not (a=1 and b=1)", Not(And((A, B)))),
        ("not not a=1", Not(Not(A))),
        ("a=1 and b=1 AND c=1", And((A, B, C))),
        ("(a=1 and b=1) and c=1", And((And((A, B)), C))),
        ("((a=1))or((b=1))", Or((A, B))),
    ],
)
def test_an_expression_reads_as_the_tree_by_hand(expression, tree):
    assert parse(expression) == tree


def test_integers_stay_integers():
    (large,), (real,) = (parse(f"x = {text}").values for text in ("9223372036854775807", "9223372036854775807.0"))
    assert (type(large), large) == (int, 2**63 - 1)
    assert type(real) is float


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("year >= and lang", 9, "got 'and': year >= »and« lang"),
        ("year = 1; drop table documents", 9, "unexpected ';'"),
        ("year = 1 -- comment", 10, "unexpected '-'"),
        ("year = 1 /* comment */", 10, "unexpected '/'"),
        ("year = 1 or 1 = 1", 13, "expected a field name, got '1'"),
        ("lang = 'en", 8, "unclosed quote"),
        ("`lang = 'en'", 1, "unclosed quote"),
        ("lang = 'it's'", 12, "expected 'and' or 'or', got 's'"),
        ("lang = en", 8, "expected a value ('text', a number, true or false), got 'en'"),
        ("lang = null", 8, "expected a value"),
        ("open < true", 8, "expected 'text' or a number, got 'true'"),
        (
            "year",
            5,
            "expected an operator (=, !=, <, <=, >, >=, in, not in, contains, contains exactly, starts with, "
            "ends with, is list, is before, is after, is at, is null, is not null), got the end",
        ),
        ("year contains exactly 1", 23, "expected 'text', got '1'"),
        ("year is list 1", 14, "expected '(', got '1'"),
        ("year is at '2020'", 6, "is at takes a date or time such as"),
        ("year is before yesterday", 16, "expected 'text', got 'yesterday'"),
        ("year starts with 1", 18, "expected 'text', got '1'"),
        ("year starts = 1", 6, "expected an operator"),
        ("year like 1", 6, "expected an operator"),
        ("year = 1 year", 10, "expected 'and' or 'or', got 'year'"),
        ("year = 1)", 9, "expected the end, got ')'"),
        ("(year = 1", 10, "expected ')', got the end"),
        ("year = 2020-01-1", 12, "got '-01'"),
        ("year = 2020-02-30", 8, "2020-02-30 is not a date or time"),
        ("year > 9999-12-31", 8, "9999-12-31 is not a date or time that can be compared"),
        ("at = 2020-01-01T10", 10, "expected 'and' or 'or', got '-01'"),
        ("year in 1", 9, "expected '(', got '1'"),
        ("year in ()", 10, "expected a value"),
        ("year in (1 2)", 12, "expected ',' or ')', got '2'"),
        ("year in (1,", 12, "expected a value"),
        ("year =", 7, "expected a value"),
        ("and = 1", 1, "expected a field name"),
        ("a. = 1", 4, "expected a field name"),
        ("a" + ".a" * 16 + " = 1", 32, "expected an operator"),
        ("year = 9223372036854775808", 8, "does not fit into 64 bits"),
        ("year in (1, -9223372036854775809)", 13, "does not fit into 64 bits"),
        ("year = " + "9" * 5000, 8, "does not fit into 64 bits"),
        ("year = 1e999", 8, "not finite"),
        ("lang = 'a\x00b'", 8, "NUL"),
        (
            "tags contains '" + "é" * 1_001 + "'",
            6,
            "contains takes at most 1,000 characters, got 1,001: tags »con",
        ),
        ("`\udc80` = 1", 1, "surrogate"),
        ("lang\x00 = 1", 5, "unexpected"),
        ("a = 1 and\n\nb >= \x1b", 17, "unexpected"),
    ],
)
def test_a_parse_error_is_one_line_and_marks_the_place(expression, column, message):
    with pytest.raises(FilterError, match=f"column {column}: ") as caught:
        parse(expression)
    text = str(caught.value)
    assert message in text
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize("expression", ["", " \n"])
def test_an_empty_filter_says_what_to_write(expression):
    with pytest.raises(FilterError, match="write a condition such as year >= 2020"):
        parse(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 70 + "a=1" + " or b=1) and c=1 or d=1)" * 35,
        "not " * 2000 + "a=1",
        "a=1 and not (" * 700 + "a=1" + ")" * 700,
    ],
)
def test_deep_nesting_is_refused(expression):
    with pytest.raises(FilterError, match="nested too deeply"):
        parse(expression)


def test_parentheses_alone_are_no_nesting():
    assert parse("(" * 4_900 + "a=1" + ")" * 4_900) == A


def test_a_long_filter_is_refused():
    assert fields_of(parse("a = 1" + " " * 9_995)) == {"a"}
    with pytest.raises(FilterError, match="10,001 characters"):
        parse("a = 1" + " " * 9_996)


def test_lark_is_not_imported_with_the_module():
    code = "import sys, semsearch.filters.text; assert 'lark' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.text(max_size=60) | st.text("abin not=<>()'\"`.,1-; ", max_size=60))
def test_any_text_reads_as_a_filter_that_prints_as_the_same_or_raises_a_filter_error(text):
    with contextlib.suppress(FilterError):
        tree = parse(text)
        assert parse(str(tree)) == tree
