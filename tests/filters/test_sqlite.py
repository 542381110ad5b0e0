"""Tests for the SQLite back end: the SQL that it writes, and the limits of SQLite that it respects."""

from __future__ import annotations

import json
import re
import sqlite3

import pytest
from filter_examples import ANSWERS, DOCUMENTS

from semsearch.errors import FilterError
from semsearch.filters.sqlite import MAX_SQL, compile_filter
from semsearch.filters.syntax import And, Comparison, Filter, Or
from semsearch.filters.text import parse
from semsearch.moments import FUNCTIONS


@pytest.fixture(scope="module")
def database():
    connection = sqlite3.connect(":memory:")
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1_000_000)  # both limits as in the strictest builds
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
    for name, function in FUNCTIONS.items():
        connection.create_function(name, 1, function, deterministic=True)
    connection.execute("create table documents (doc_id text, title text, metadata text)")
    rows = [(doc_id, "", json.dumps(metadata)) for doc_id, metadata in DOCUMENTS.items()]
    connection.executemany("insert into documents values (?, ?, ?)", rows)
    yield connection
    connection.close()


def ask(connection: sqlite3.Connection, filter: Filter) -> str:
    """Return the ids that match a filter, used inside a larger query as in a search."""
    condition = compile_filter(filter)
    inner = f"select doc_id from documents where {condition.sql}"
    query = f"select doc_id from documents where length(doc_id) > 0 and doc_id in ({inner}) order by doc_id"
    return "".join(doc_id for (doc_id,) in connection.execute(query, condition.parameters))


def test_the_condition_by_hand():
    condition = compile_filter(parse("not (year > 2020 and title is not null)"))
    year = (
        "exists (select 1 from json_each(documents.metadata) as field where field.key = ? "
        "and field.type in ('integer', 'real') and field.value > ?)"
    )
    title = "exists (select 1 from json_each(json_array(documents.title)) as field where field.type <> 'null')"
    assert condition.sql == f"not ({year} and {title})"
    assert condition.parameters == ("year", 2020)


@pytest.mark.parametrize("expression", [expression for expression, _ in ANSWERS])
def test_every_placeholder_has_its_parameter(expression):
    condition = compile_filter(parse(expression))
    assert condition.sql.count("?") == len(condition.parameters)


def test_the_sql_holds_no_text_of_the_user(database):
    words = set(re.findall(r"\w+", " ".join(compile_filter(parse(expression)).sql for expression, _ in ANSWERS)))
    keywords = set(
        "exists select 1 from json_each documents metadata doc_id title json_array as where and or not".split()
    )
    keywords |= set("field element outer1 outer2 outer3 key type value replace real integer text null array".split())
    keywords |= {
        "moment_utc",
        "moment_clock",
        *"object iif in glob coalesce 0 join using wanted is count instr".split(),
    }
    assert words == keywords | {"json_array_length"}
    assert database.execute("select count(*) from documents").fetchone() == (8,)


def halves(levels: int) -> str:
    """Write a balanced tree of alternating `and` and `or`, which fills SQLite's parser stack fastest."""
    if levels == 0:
        return "year=2019"
    return "({0} {1} {0})".format(halves(levels - 1), "and" if levels % 2 else "or")


def nested(levels: int, prefix: str, suffix: str) -> str:
    return prefix * levels + "tags contains 'bert'" + suffix * levels


@pytest.mark.parametrize(
    "expression",
    [
        " or ".join(["year=2019"] * 760),
        nested(18, "doc_id='a' and (doc_id='z' or ", ")"),
        nested(36, "(", " and doc_id='a')"),
        nested(12, "not (not ", " and doc_id>'')"),
        nested(9, "(" + "year=2019 and " * 50, ")"),
        halves(8),
    ],
)
def test_what_is_accepted_runs_in_sqlite_also_inside_a_larger_query(database, expression):
    assert ask(database, parse(expression)) == "a"


@pytest.mark.parametrize(
    ("kind", "expression"), [(And, "tags contains 'bert'"), (Or, "doc_id = 'a'"), (Or, "deep.a.b.c = 0.1")]
)
def test_the_longest_condition_that_is_accepted_runs_and_a_longer_one_is_refused(database, kind, expression):
    one = parse(expression)
    expected = ask(database, one)
    count = MAX_SQL // (len(compile_filter(one).sql) + len(" and "))
    accepted = kind((one,) * (count * 95 // 100))  # parentheses take the rest
    assert len(compile_filter(accepted).sql) > MAX_SQL * 0.9
    assert ask(database, accepted) == expected
    with pytest.raises(FilterError, match=f"has {count * 2:,} comparisons, too many for one SQLite statement: use"):
        compile_filter(kind((one,) * (count * 2)))


def test_a_balanced_tree_of_four_thousand_comparisons_runs(database):
    filter: Filter = Comparison(("doc_id",), "=", ("a",))
    for level in range(12):
        filter = (And if level % 2 else Or)((filter, filter))
    assert ask(database, filter) == "a"


@pytest.mark.parametrize(("levels", "prefix", "depth"), [(21, "(", 21), (14, "not (", 28)])
def test_nesting_that_only_sqlite_cannot_take_is_refused(levels, prefix, depth):
    tree = parse((prefix + "a=1 and " * 9) * levels + "a=1" + ")" * levels)
    assert tree.depth == depth
    with pytest.raises(FilterError, match="nested too deeply for SQLite"):
        compile_filter(tree)


def test_thirty_thousand_values_and_a_long_needle(database):
    ids = tuple(f"id-{n}" for n in range(30_000))
    assert ask(database, Comparison(("doc_id",), "in", (*ids, "c"))) == "c"
    assert ask(database, Comparison(("year",), "in", tuple(range(2019, 32_019)))) == "ab"
    assert ask(database, Comparison(("tags",), "contains", ("é" * 1_000,))) == ""
