"""Examples for every front end and back end of filters: documents, expected matches, and random trees."""

from __future__ import annotations

from hypothesis import strategies as st

from semsearch.filters.syntax import And, Comparison, Filter, Not, Or
from semsearch.moments import clock

DOCUMENTS = {
    "a": {"year": 2019, "lang": "en", "tags": ["survey", "bert", 7], "author": {"name": "Ada", "born": 1815}},
    "b": {"year": 2020, "lang": "de", "tags": [], "open": True, "publication year": 1, "a.b": 1},
    "c": {"year": 2020.5, "lang": "EN", "open": False, "tags": [True, None, ["bert"]], 'q"uote': 1, "back\\slash": 1},
    "d": {"year": "1999", "lang": None, "author": {"name": None}, "tags": "Überblick 100%", "tick`": 1, "Größe": 2},
    "e": {"year": True, "open": 1, "author": "Ada", "tags": {"survey": 1}, "in": 1, "title": "metadata", "x-y": 1},
    "f": {
        "year": -9223372036854775808,
        "lang": "it's",
        "note": 'say "hi"',
        "a": {"b": 1},
        "0": 1,
        "tags": "a[b]*c?d",
        "at": "2020-01-31T24:00",
    },
    "g": {
        "year": [2020],
        "lang": "",
        "open": "true",
        "at": "2020-02-01 01:30+02:00",
        "big": 9223372036854775807,
        "deep": {"a": {"b": {"c": 0.1}}},
    },
    "h": {"at": "2020-02-01"},
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

ANSWERS = [
    # numbers match JSON numbers only, not the text "1999", true or the list [2020]
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
    # text matches JSON text only, and is ordered by code point
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
    # != requires the field to be present, `not` does not
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
    # contains: a list with an equal element, or a text with that substring
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
    # start or end of a text, ignoring case
    ("lang starts with 'E'", "ac"),
    ("lang starts with 'n'", ""),
    ("lang ends with 'N'", "ac"),
    ('lang ends with "\'s"', "f"),
    ("tags starts with 'überb'", "d"),
    ("tags ends with '100%'", "d"),
    ("tags ends with '?d'", "f"),
    ("tags starts with 'survey'", ""),
    ("tags starts with 'A['", "f"),
    ("year ends with '99'", "d"),
    ("lang ENDS  WITH ''", "abcfg"),
    ("title starts with 'ATT'", "ac"),
    ("not lang starts with 'e'", "bdefgh"),
    # exactly as written
    ("tags contains exactly 'Ü'", "d"),
    ("tags contains exactly 'ü'", ""),
    ("tags contains exactly 'bert'", ""),
    ("tags contains exactly '[b]*'", "f"),
    ("lang contains  EXACTLY ''", "abcfg"),
    ("title contains exactly 'tention'", "ac"),
    # a list as a whole
    ("tags is list ()", "b"),
    ("tags is list ('survey', 'bert', 7)", "a"),
    ("tags is list ('survey', 'bert', 7.0)", "a"),
    ("tags is list ('bert', 'survey', 7)", ""),
    ("tags is list ('survey', 'bert')", ""),
    ("year is list (2020)", "g"),
    ("year IS LIST (2020, 2020)", ""),
    ("lang is list ()", ""),
    ("tags is list (true, '', '')", ""),
    # moments: g is at 1:30 local time, which is 23:30 of the previous day in UTC
    ("at is before '2020-02-01T00:00:01'", "fh"),
    ("at is before '2020-02-01T00:00Z'", "g"),
    ("at is at '2020-02-01'", "fh"),
    ("at is at '2020-01-31T23:30:00.000Z'", "g"),
    ("at is at '2020-02-01T01:30'", "g"),
    ("at is after '2020-01-31'", "fgh"),
    ("at is after '2020-02-01T00:30+01:00'", ""),
    ("at is after '2020-01-31T23:59:59.999999-01:00'", "fh"),
    ("year is before '2020-02-01'", ""),
    ("not at is at '2020-02-01'", "abcdeg"),
    # dates without quotes are whole days, and times whole minutes or seconds; f ends where February 1 begins
    ("at >= 2020-02-01", "fgh"),
    ("at > 2020-01-31", "fgh"),
    ("at > 2020-02-01", ""),
    ("at < 2020-02-01", ""),
    ("at < 2020-02-01T00:00Z", "g"),
    ("at <= 2020-01-31", ""),
    ("at <= 2020-02-01", "fgh"),
    ("at = 2020-02-01", "fgh"),
    ("at != 2020-02-01", ""),
    ("at != 2020-01-31", "fgh"),
    ("not at = 2020-02-01", "abcde"),
    ("at = 2020-02-01T00:00", "fh"),
    ("at = 2020-02-01T01:30", "g"),
    ("at = 2020-01-31T23:30:00Z", "g"),
    ("at = 2020-02-01t02:30+03:00", "g"),
    ("at <= 2020-02-01T00:00:00", "fh"),
    ("at > 2020-02-01T00:00", "g"),
    ("at in (2020-01-31, 2020-02-01, 7)", "fgh"),
    ("at not in (2020-01-31, 'x')", "fgh"),
    ("at is before 2020-02-02", "fgh"),
    ("at >= '2020-02-01 '", "g"),
    ("at <= '2020-02-01'", "fh"),
    ("year in (2020, 2020-02-01)", "b"),
    ("year >= 2020-01-01", ""),
    ("title != 2020-01-01", "abcdefg"),
    ("at = '2020-02-01'", "h"),
    # null: the field is missing or null
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
    # built-in columns, whatever the metadata contains
    ("doc_id in ('a', 'h', 'z')", "ah"),
    ("doc_id > 'f'", "gh"),
    ("title = 'metadata'", ""),
    ("title contains 'ATTENTION'", "ac"),
    ("title contains 'DÉT'", "c"),
    ("title != 'BERT'", "acdefg"),
    ("title is null", "h"),
    ("`title` = 'Epsilon'", "e"),
    # precedence: `not` before `and` before `or`
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
"""Expressions, each with the ids of the documents above that it matches."""


# --- random filters

NAMES = ["x", "y", 'q"\\`.$', "é", "doc_id", "title", "not"]
DATES = st.sampled_from(
    [
        *(
            "2020-02-01",
            "2020-02-01T00:00Z",
            "2020-01-31T24:00:00",
            "2020-02-01 01:00:00.5+01:00",
            "2020-01-31T23:00-0130",
        ),
        *("2020-02-30", "0001-01-01T00:00+01:00", "9999-12-31T23:59:59.999999"),
    ]
)
TEXT = st.text(st.sampled_from("aAbÜü1'\"%_*?[]^-\\ 😀ßKſİıΣςǅ"), max_size=3)
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([0.5, -1.0, 1e300, 2**63 - 1, -(2**63), 2.0**53, 2.0**64])
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = TEXT | DATES | NUMBERS | st.booleans()
JSON = VALUES | st.none() | st.lists(VALUES | st.none(), max_size=3) | st.sampled_from([2**64, 10**400, -(2**63) - 1])
METADATA = st.dictionaries(st.sampled_from(NAMES), JSON | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3))
TITLES_OF_ANY_KIND = TEXT | st.none()


MOMENTS = st.sampled_from(["is before", "is after", "is at"])


def comparisons(names: st.SearchStrategy[str], texts: st.SearchStrategy[str]) -> st.SearchStrategy[Comparison]:
    """Generate comparisons of fields with these names with numbers, booleans and these texts."""
    paths = st.lists(names, min_size=1, max_size=3).map(tuple)
    values = texts | NUMBERS | st.booleans()
    one, several = st.tuples(values), st.lists(values, min_size=1, max_size=3).map(tuple)
    return (
        st.builds(Comparison, paths, st.sampled_from(["=", "!=", "contains"]), one)
        | st.builds(Comparison, paths, st.sampled_from(["<", "<=", ">", ">="]), st.tuples(texts | NUMBERS))
        | st.builds(Comparison, paths, st.sampled_from(["in", "not in"]), several)
        | st.builds(
            Comparison, paths, st.sampled_from(["starts with", "ends with", "contains exactly"]), st.tuples(texts)
        )
        | st.builds(Comparison, paths, st.just("is list"), st.lists(values, max_size=3).map(tuple))
        | st.builds(Comparison, paths, MOMENTS, st.tuples(DATES.filter(lambda text: clock(text) is not None)))
        | st.builds(Comparison, paths, st.sampled_from(["is null", "is not null"]))
    )


def trees(leaves: st.SearchStrategy[Comparison], n: int = 20) -> st.SearchStrategy[Filter]:
    """Generate filters of any shape with at most about n of these comparisons."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(Not, inner)
            | st.builds(And, st.lists(inner, min_size=2, max_size=12).map(tuple))
            | st.builds(Or, st.lists(inner, min_size=2, max_size=12).map(tuple))
        ),
        max_leaves=n,
    )


FILTERS = trees(comparisons(st.sampled_from(NAMES), TEXT))
"""Filters that are likely to match something in METADATA."""

STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS = st.sampled_from(["and", "OR", "not", "In", "is", "null", "contains", "true", "iſ", "ın", "a-b", "a-", "²"])
ODD_FILTERS = trees(comparisons(st.text(STORABLE, min_size=1, max_size=4) | WORDS, st.text(STORABLE, max_size=4)), n=6)
"""Filters whose names and values are hard to write."""
