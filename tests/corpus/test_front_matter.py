"""Front matter against answers by hand, and YAML against what JSON would say."""

from __future__ import annotations

import json

import pytest

from semsearch.corpus.front_matter import split_front_matter


def test_yaml_by_hand():
    source = (
        "---\ntags:\n  - a\n  - b\nauthor:\n  name: Ann\n  born: 1815\nflow: {x: [1, 2.5]}\ndraft: false\nnone: null\n"
        "# a comment\nlong: >\n  folded\n  text\nquoted: '7'\n---\nThe text.\n"
    )
    fields, text = split_front_matter(source)
    assert text == "The text.\n"
    assert fields == {
        **{"tags": ["a", "b"], "author": {"name": "Ann", "born": 1815}, "flow": {"x": [1, 2.5]}, "draft": False},
        **{"none": None, "long": "folded text\n", "quoted": "7"},
    }


@pytest.mark.parametrize(
    "text", ["no", "on", "Yes", "007", "0x1F", "1_000", "12:30", "2024-01-02", ".5", "1e999", "True"]
)
def test_what_json_would_not_take_for_a_value_stays_text(text):
    assert split_front_matter(f"---\nfield: {text}\n---\n") == ({"field": text}, "")


@pytest.mark.parametrize("text", ["true", "false", "null", "0", "-17", "2.50", "-1e3", "123456789012345678"])
def test_json_scalars_are_what_json_says(text):
    assert split_front_matter(f"---\nfield: {text}\n---\n") == ({"field": json.loads(text)}, "")


def test_toml_by_hand():
    source = '+++\ntitle = "Birds"\ntags = ["a"]\ndate = 2024-01-02\n[author]\nat = 2024-01-02T03:04:05Z\n+++\nText.'
    author = {"at": "2024-01-02T03:04:05+00:00"}
    assert split_front_matter(source) == (
        {"title": "Birds", "tags": ["a"], "date": "2024-01-02", "author": author},
        "Text.",
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("---\ntitle: [unclosed\n---\n", "not valid YAML .*fix it"),
        ("---\ntitle: one: two\n---\n", "not valid YAML .*mapping values"),
        ("---\na: &x [1]\nb: [*x, *x]\n---\n", "aliases are not supported"),
        ("---\na: !!python/object/apply:os.system [ls]\n---\n", "could not determine a constructor"),
        ("+++\ntitle = \n+++\n", "not valid TOML"),
    ],
)
def test_broken_front_matter_is_an_error(source, reason):
    with pytest.raises(ValueError, match=reason):
        split_front_matter(source)


@pytest.mark.parametrize("source", ["", "text", "---\n\nafter a rule\n\n---\n", "--- \nno end: here", "+++\nx = 1"])
def test_what_is_no_front_matter_is_left_alone(source):
    assert split_front_matter(source) == ({}, source)
