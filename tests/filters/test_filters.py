"""Filters: answers by hand over eight documents, and by a second evaluator in plain Python over random ones."""

from __future__ import annotations

import contextlib
import json
import operator
import re
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semsearch.errors import FilterError
from semsearch.filters.text import check_fields, from_keywords, parse

DOCUMENTS = {
    "a": {"year": 2019, "lang": "en", "tags": ["survey", "bert", 7], "author": {"name": "Ada", "born": 1815}},
    "b": {"year": 2020, "lang": "de", "tags": [], "open": True, "publication year": 1, "a.b": 1},
    "c": {"year": 2020.5, "lang": "EN", "open": False, "tags": [True, None, ["bert"]], 'q"uote': 1, "back\\slash": 1},
    "d": {"year": "1999", "lang": None, "author": {"name": None}, "tags": "Überblick 100%", "tick`": 1, "Größe": 2},
    "e": {"year": True, "open": 1, "author": "Ada", "tags": {"survey": 1}, "in": 1, "title": "metadata", "x-y": 1},
    "f": {"year": -9223372036854775808, "lang": "it's", "note": 'say "hi"', "a": {"b": 1}, "0": 1, "tags": "a[b]*c?d"},
    "g": {"year": [2020], "lang": "", "open": "true", "big": 9223372036854775807, "deep": {"a": {"b": {"c": 0.1}}}},
    "h": {},
}
TITLES = {
    "a": "Attention",
    "b": "BERT",
    "c": "attention to détail",
    "d": "",
    "e": "Epsilon",
    "f": "F",
    "g": "G",
}  # h: NULL


def connect(documents: dict[str, dict[str, object]], titles: dict[str, str]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table documents (doc_id text, title text, metadata text)")
    rows = [(doc_id, titles.get(doc_id), json.dumps(metadata)) for doc_id, metadata in documents.items()]
    connection.executemany("insert into documents values (?, ?, ?)", rows)
    return connection


@pytest.fixture(scope="module")
def database():
    connection = connect(DOCUMENTS, TITLES)
    yield connection
    connection.close()


def matches(connection: sqlite3.Connection, condition) -> str:
    """The ids that the condition holds for, after a check that it is 0 or 1 for every document."""
    rows = connection.execute(f"select doc_id, {condition.sql} from documents order by doc_id", condition.parameters)
    verdicts = rows.fetchall()
    assert {verdict for _, verdict in verdicts} <= {0, 1}
    return "".join(doc_id for doc_id, verdict in verdicts if verdict)


ANSWERS = [
    # numbers match JSON numbers only: not the text "1999", true, or the list [2020]
    ("year >= 2020", "bc"),
    ("year > 2020", "c"),
    ("year < 2020", "af"),
    ("year <= 2020.0", "abf"),
    ("year = 2020", "b"),
    ("year == 2020.0", "b"),
    ("year = 2020.5", "c"),
    ("year = 20205e-1", "c"),
    ("year = 1", ""),
    ("year = -9223372036854775808", "f"),
    ("big = 9223372036854775807", "g"),
    ("big = 9223372036854775806", ""),
    ("big > 9223372036854775806 and big <= 9223372036854775807", "g"),
    ("deep.a.b.c = 0.1", "g"),
    # text matches JSON text only; its order is that of code points
    ("year = '1999'", "d"),
    ("year < '3'", "d"),
    ("lang = 'en'", "a"),
    ('lang = "en"', "a"),
    ("lang = ''", "g"),
    ("lang = 'it''s'", "f"),
    ('lang = "it\'s"', "f"),
    ('note = "say ""hi"""', "f"),
    ("lang >= 'de' and lang < 'en'", "b"),
    ("lang < 'a'", "cg"),
    # booleans are neither 1 nor 'true'
    ("open = true", "b"),
    ("open = FALSE", "c"),
    ("open = 1", "e"),
    ("open = 'true'", "g"),
    ("year = true", "e"),
    # != needs the field, `not` does not
    ("year != 2020", "acdefg"),
    ("year <> 2020", "acdefg"),
    ("not year = 2020", "acdefgh"),
    ("lang != 'en'", "bcfg"),
    ("open != true", "ceg"),
    ("author.name != 'Ada'", ""),
    # in
    ("year in (2019, 2020)", "ab"),
    ("year in (2019.0)", "a"),
    ("year in ('1999', true, 2019)", "ade"),
    ("lang not in ('en', 'de')", "cfg"),
    ("year NOT  IN (2019, 2020)", "cdefg"),
    # contains: an equal element of a list, or a part of a text
    ("tags contains 'bert'", "a"),
    ("tags contains 'BERT'", ""),
    ("tags contains 7", "a"),
    ("tags contains true", "c"),
    ("tags contains 1", ""),
    ("tags contains 'surv'", ""),
    ("tags contains 'überBLICK'", "d"),
    ("tags contains '100%'", "d"),
    ("tags contains '1_0'", ""),
    ("tags contains 'A[B]*C?D'", "f"),
    ("tags contains '*'", "f"),
    ("tags contains '[b'", "f"),
    ("tags contains ''", "df"),
    ("lang contains 'N'", "ac"),
    ("year contains 2020", "g"),
    ("year contains 2019", ""),
    # null is missing or null
    ("lang is null", "deh"),
    ("lang IS NOT NULL", "abcfg"),
    ("author.name is null", "bcdefgh"),
    ("not author.name is null", "a"),
    ("tags is null", "gh"),
    # names
    ("author.name = 'Ada'", "a"),
    ("author . born < 1900", "a"),
    ("author = 'Ada'", "e"),
    ("`publication year` = 1", "b"),
    ("`a.b` = 1", "b"),
    ("a.b = 1", "f"),
    ("`author`.`name` = 'Ada'", "a"),
    ('`q"uote` = 1', "c"),
    ("`back\\slash` = 1", "c"),
    ("`back\\\\slash` = 1", ""),
    ("`tick``` = 1", "d"),
    ("Größe = 2", "d"),
    ("`in` = 1", "e"),
    ("x-y = 1", "e"),
    ("`0` = 1", "f"),
    ("tags.`0` = 'survey'", ""),
    ("YEAR = 2020", ""),
    # the columns, whatever the metadata says
    ("doc_id in ('a', 'h', 'z')", "ah"),
    ("doc_id > 'f'", "gh"),
    ("title = 'metadata'", ""),
    ("title contains 'ATTENTION'", "ac"),
    ("title contains 'DÉT'", "c"),
    ("title != 'BERT'", "acdefg"),
    ("title is null", "h"),
    ("`title` = 'Epsilon'", "e"),
    # precedence: not, and, or
    ("doc_id = 'a' or doc_id = 'b' and doc_id = 'c'", "a"),
    ("(doc_id = 'a' or doc_id = 'b') and doc_id = 'b'", "b"),
    ("not doc_id = 'a' and doc_id < 'c'", "b"),
    ("not (doc_id = 'a' or doc_id > 'b')", "b"),
    ("NOT NOT doc_id = 'a' Or((doc_id='b'))", "ab"),
    ("year=2020\n\tAND\nlang='de'", "b"),
    # text that looks like SQL stays text
    ("lang = 'x'' or 1=1 --'", ""),
    ('lang = "\'); drop table documents; --"', ""),
    ("`') or 1=1 --` = 1", ""),
    ("`$.year` is null and doc_id = 'b'", "b"),
]


@pytest.mark.parametrize(("expression", "expected"), ANSWERS)
def test_answers_by_hand(database, expression, expected):
    condition = parse(expression)
    assert matches(database, condition) == expected
    assert condition.sql.count("?") == len(condition.parameters)


def test_the_sql_holds_no_text_of_the_user(database):
    words = set(re.findall(r"\w+", " ".join(parse(expression).sql for expression, _ in ANSWERS)))
    keywords = set(
        "exists select 1 from json_each documents metadata doc_id title json_array as where and or not".split()
    )
    keywords |= set("field element outer1 outer2 outer3 key type value replace real integer text null array".split())
    assert words == keywords | set("object iif in glob".split())
    assert database.execute("select count(*) from documents").fetchone() == (8,)


def test_fields_are_the_top_level_names_without_the_columns():
    condition = parse("a.b = 1 or `c.d` is null and not (title = 'x' or doc_id = 'y') and e in (1)")
    assert condition.fields == {"a", "c.d", "e"}


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
        ("year", 5, "expected an operator (= != < <= > >= in, not in, contains, is null, is not null), got the end"),
        ("year like 1", 6, "expected an operator"),
        ("year = 1 year", 10, "expected 'and' or 'or', got 'year'"),
        ("year = 1)", 9, "expected the end, got ')'"),
        ("(year = 1", 10, "expected ')', got the end"),
        ("year = 2020-01-01", 12, "got '-01'"),
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


def test_a_long_filter_is_refused():
    assert parse("a = 1" + " " * 9_995).fields == {"a"}
    with pytest.raises(FilterError, match="10,001 characters"):
        parse("a = 1" + " " * 9_996)


def halves(levels: int) -> str:
    """A balanced tree of alternating words: it fills SQLite's parser stack fastest."""
    if levels == 0:
        return "year=2019"
    return "({0} {1} {0})".format(halves(levels - 1), "and" if levels % 2 else "or")


def nested(levels: int, prefix: str, suffix: str) -> str:
    return prefix * levels + "tags contains 'bert'" + suffix * levels


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 4_900 + "year=2019" + ")" * 4_900,
        " or ".join(["year=2019"] * 760),
        nested(18, "doc_id='a' and (doc_id='z' or ", ")"),
        nested(36, "(", " and doc_id='a')"),
        nested(12, "not (not ", " and doc_id>'')"),
        nested(9, "(" + "year=2019 and " * 50, ")"),
        halves(8),
    ],
)
def test_what_is_accepted_runs_in_sqlite_also_inside_a_larger_query(database, expression):
    condition = parse(expression)
    inner = f"select doc_id from documents where {condition.sql}"
    query = f"select doc_id from documents where length(doc_id) > 0 and doc_id in ({inner})"
    assert database.execute(query, condition.parameters).fetchall() == [("a",)]


def test_thirty_thousand_values_and_a_long_needle(database):
    assert matches(database, from_keywords(doc_id__in=[f"id-{n}" for n in range(30_000)] + ["c"])) == "c"
    assert matches(database, from_keywords(year__in=list(range(2019, 32_019)))) == "ab"
    assert matches(database, from_keywords(tags__contains="é" * 1_000)) == ""
    with pytest.raises(FilterError, match="at most 1,000"):
        from_keywords(tags__contains="é" * 1_001)


@pytest.mark.parametrize(
    ("conditions", "expression"),
    [
        ({"lang": "en"}, "lang = 'en'"),
        ({"year__gte": 2020}, "year >= 2020"),
        ({"year__gt": 2020.5}, "year > 2020.5"),
        ({"year__lt": "2020"}, "year < '2020'"),
        ({"year__lte": 2020}, "year <= 2020"),
        ({"year__in": [2019, 2020]}, "year in (2019, 2020)"),
        ({"year__in": (True, "x")}, "year in (true, 'x')"),
        ({"tags__contains": "it's"}, "tags contains 'it''s'"),
        ({"lang__ne": "de"}, "lang != 'de'"),
        ({"open": True}, "open = true"),
        ({"title": "BERT"}, "title = 'BERT'"),
        ({"a.b": 1}, "`a.b` = 1"),
        ({"lang": "en", "year__gte": 2020, "_x": 1}, "lang = 'en' and year >= 2020 and `_x` = 1"),
    ],
)
def test_keywords_compile_to_what_the_expression_compiles_to(conditions, expression):
    assert from_keywords(**conditions) == parse(expression)


def test_no_value_at_all_matches_nothing(database):
    assert matches(database, from_keywords(year__in=[])) == ""


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"year__ge": 1}, "unknown suffix in 'year__ge': known are __ne, __lt, __lte, __gt, __gte, __in, __contains"),
        ({"author__name": "Ada"}, "unknown suffix in 'author__name'"),
        ({"author__name__ne": "Ada"}, "unknown suffix"),
        ({"year__": 1}, "unknown suffix"),
        ({"lang": None}, "lang: expected text, a number or a boolean, got NoneType"),
        ({"lang": ["en"]}, "lang: expected text, a number or a boolean, got list"),
        ({"lang__in": "en"}, "lang__in: expected a list of values, got str"),
        ({"lang__in": [["en"]]}, "lang__in: expected text, a number or a boolean, got list"),
        ({"open__lt": True}, "open__lt: < compares text or numbers, got True"),
        ({"year": 2**63}, "64 bits"),
        ({"year__lt": float("nan")}, "not finite"),
        ({"year": float("inf")}, "not finite"),
        ({"lang": "\ud800"}, "surrogate"),
        ({"la\x00ng": 1}, "NUL"),
        ({}, "no filter conditions"),
    ],
)
def test_bad_keywords_say_what_is_wrong(conditions, message):
    with pytest.raises(FilterError) as caught:
        from_keywords(**conditions)
    assert message in str(caught.value)


def test_unknown_fields_are_named_with_the_known_and_the_closest():
    check_fields(parse("year = 1 and lang.x = 2 and title = 'x'"), {"lang", "year"})
    with pytest.raises(FilterError, match=re.escape("field 'yaer', did you mean 'year'? (known: 'lang', 'year';")):
        check_fields(parse("yaer = 1"), ["year", "lang"])
    with pytest.raises(FilterError, match="did you mean 'title'"):
        check_fields(parse("titel = 'x'"), {"lang"})
    with pytest.raises(FilterError, match=r"field 'zzz' \(known: none"):
        check_fields(parse("zzz = 1"), ())


def test_lark_is_not_imported_with_the_module():
    code = "import sys, semsearch.filters.text; assert 'lark' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# A second opinion: random trees, written out as expressions and evaluated here by the documented meaning.

NAMES = ["x", "y", 'q"\\`.$', "é"]
TEXT = st.text(st.sampled_from("aAbÜü1'\"%_*?[]^-\\ 😀"), max_size=3)
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([0.5, -1.0, 1e300, 2**63 - 1, -(2**63), 2.0**53])
    | st.floats(allow_nan=False, allow_infinity=False)
)
LITERALS = TEXT | NUMBERS | st.booleans()
VALUES = LITERALS | st.none() | st.lists(LITERALS | st.none(), max_size=3)
METADATA = st.dictionaries(st.sampled_from(NAMES), VALUES | st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2)
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
LEAVES = (
    st.tuples(PATHS, st.sampled_from(["=", "!=", "contains"]), LITERALS)
    | st.tuples(PATHS, st.sampled_from(list(ORDER)), TEXT | NUMBERS)
    | st.tuples(PATHS, st.sampled_from(["in", "not in"]), st.lists(LITERALS, min_size=1, max_size=3))
    | st.tuples(PATHS, st.sampled_from(["is null", "is not null"]), st.none())
)
TREES = st.recursive(
    LEAVES,
    lambda trees: (
        st.tuples(st.just("not"), trees)
        | st.tuples(st.sampled_from(["and", "or"]), st.lists(trees, min_size=2, max_size=12))
    ),
    max_leaves=20,
)


def written(tree) -> str:
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or"):
        return f" {tree[0]} ".join(f"({written(part)})" for part in tree[1])
    path, symbol, value = tree
    field = ".".join("`" + name.replace("`", "``") + "`" for name in path)
    values = ", ".join(map(literal, value if isinstance(value, list) else [value]))
    return f"{field} {symbol} " + ("" if value is None else f"({values})" if "in" in symbol.split() else values)


def literal(value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else json.dumps(value)


def same_type(left, right) -> bool:
    kinds = [str if isinstance(x, str) else bool if isinstance(x, bool) else float for x in (left, right)]
    known = all(isinstance(x, str | bool | int | float) for x in (left, right))
    return known and kinds[0] is kinds[1]


def equal(left, right) -> bool:
    return same_type(left, right) and left == right


def contains(actual, value) -> bool:
    if isinstance(actual, list):
        return any(equal(element, value) for element in actual)
    return isinstance(actual, str) and isinstance(value, str) and value.casefold() in actual.casefold()


def holds(tree, metadata) -> bool:
    if tree[0] == "not":
        return not holds(tree[1], metadata)
    if tree[0] in ("and", "or"):
        return (all if tree[0] == "and" else any)(holds(part, metadata) for part in tree[1])
    path, symbol, value = tree
    actual = metadata
    for name in path:
        actual = actual.get(name) if isinstance(actual, dict) else None
    if symbol in ORDER:
        return same_type(actual, value) and ORDER[symbol](actual, value)
    return {
        "=": lambda: equal(actual, value),
        "!=": lambda: actual is not None and not equal(actual, value),
        "in": lambda: any(equal(actual, one) for one in value),
        "not in": lambda: actual is not None and not any(equal(actual, one) for one in value),
        "contains": lambda: contains(actual, value),
        "is null": lambda: actual is None,
        "is not null": lambda: actual is not None,
    }[symbol]()


@settings(max_examples=200, deadline=None)
@given(TREES, st.lists(METADATA, min_size=1, max_size=5))
def test_random_filters_agree_with_plain_python(tree, corpus):
    documents = {"abcde"[n]: metadata for n, metadata in enumerate(corpus)}
    expected = "".join(doc_id for doc_id, metadata in documents.items() if holds(tree, metadata))
    with contextlib.closing(connect(documents, {})) as connection:
        assert matches(connection, parse(written(tree))) == expected


@given(st.text(max_size=60) | st.text("abin not=<>()'\"`.,1-; ", max_size=60))
def test_any_text_parses_or_raises_a_filter_error(text):
    connection = connect({"a": {"a": 1}}, {})
    with contextlib.suppress(FilterError), contextlib.closing(connection):
        matches(connection, parse(text))
