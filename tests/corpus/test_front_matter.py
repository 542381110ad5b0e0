"""Test front matter against expected values written by hand, and YAML against the equivalent JSON."""

from __future__ import annotations

import json

import pytest

from semsearch.corpus.formats.front_matter import split_front_matter


def test_yaml_by_hand():
    source = (
        "---\ntags:\n  - a\n  - b\nauthor:\n  name: Ann\n  born: 1815\nflow: {x: [1, 2.5]}\ndraft: false\nnone: null\n"
        "# a comment\nlong: >\n  folded\n  text\nquoted: '7'\n---\nThe text.\n"
    )
    fields, text, warning = split_front_matter(source)
    assert (text, warning) == ("The text.\n", "")
    assert fields == {
        **{"tags": ["a", "b"], "author": {"name": "Ann", "born": 1815}, "flow": {"x": [1, 2.5]}, "draft": False},
        **{"none": None, "long": "folded text\n", "quoted": "7"},
    }


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "on",
        "Yes",
        "007",
        "0x1F",
        "1_000",
        "12:30",
        "2024-01-02",
        ".5",
        "1e999",
        "True",
        "1.10",
        "-1e3",
        "2.50",
        "1234e56",
    ],
)
def test_what_json_would_not_take_for_a_value_stays_text(text):
    assert split_front_matter(f"---\nfield: {text}\n---\n") == ({"field": text}, "", "")


@pytest.mark.parametrize("text", ["true", "false", "null", "0", "-17", "2.5", "-0.125", "1e-07", "123456789012345678"])
def test_json_scalars_are_what_json_says(text):
    assert split_front_matter(f"---\nfield: {text}\n---\n") == ({"field": json.loads(text)}, "", "")


def test_toml_by_hand():
    source = '+++\ntitle = "Birds"\ntags = ["a"]\ndate = 2024-01-02\n[author]\nat = 2024-01-02T03:04:05Z\n+++\nText.'
    author = {"at": "2024-01-02T03:04:05+00:00"}
    assert split_front_matter(source) == (
        {"title": "Birds", "tags": ["a"], "date": "2024-01-02", "author": author},
        "Text.",
        "",
    )


BROKEN = {
    "a colon": (
        "---\ntitle: Meeting: budget\ntags: [a, b]\n---\n",
        "YAML (mapping values are not allowed here on line 2)",
    ),
    "a template": ("---\ntitle: {{title}}\ndate: {{date}}\n---\n", "YAML (found unhashable key on line 2)"),
    "no end": ("---\ntitle: [unclosed\n---\n", "YAML ("),
    "a tab": ("---\n\nk:\n\t- v\n---\n", "on line 4)"),
    "aliases": ("---\na: &x [1]\nb: [*x, *x]\n---\n", "aliases are not supported"),
    "a Python object": ("---\na: !!python/object/apply:os.system [ls]\n---\n", "could not determine a constructor"),
    "a date that is none": ("---\na: !!timestamp 2024-13-45\n---\n", "month must be in 1..12"),
    "bytes": ("---\na: !!binary aGk=\n---\n", "\"a\" is b'hi' (bytes)"),
    "an integer that is none": ("---\na: !!int x\n---\n", "invalid literal"),
    "a list as a key": ("---\nc: d\n? [a]\n: b\n---\n", "found unhashable key"),
    "deep nesting": (f"---\nk: {'[' * 3000}\n---\n", "recursion"),
    "nesting that parses": (f"---\nk: {'[' * 120}{']' * 120}\n---\n", "nested deeper than 100"),
    "half a character": ('---\ntitle: "\\uD800"\n---\n', "surrogates not allowed"),
    "TOML": ("+++\ntitle = \n+++\n", "TOML (Invalid value"),
    "a TOML date": ("+++\nd = 2024-13-01\n+++\n", "TOML ("),
    "TOML twice": ("+++\nd = 1\nd = 2\n+++\n", "TOML ("),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_broken_front_matter_costs_a_warning_and_not_the_text(source, reason):
    fields, text, warning = split_front_matter(f"{source}The text.")
    assert (fields, text) == ({}, "The text.")
    assert reason in warning
    assert warning.startswith("the front matter is not valid ")
    assert warning.endswith("; ignoring it")
    assert "\n" not in warning


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ('---\n"title": quoted\nyear: 2020\n---\nText', {"title": "quoted", "year": 2020}),
        ("---\n'a b': 1\n---\nText", {"a b": 1}),
        ("---\n\n\nk: v\n---\nText", {"k": "v"}),
        ("\n\n---\nk: v\n---\nText", {"k": "v"}),
        ("---\n\n# a comment\n\nk: v\n---\nText", {"k": "v"}),
        ("---\n$schema: https://example.com/note\n---\nText", {"$schema": "https://example.com/note"}),
        ("---\n@type: Note\nk: v\n...\nText", None),
        ('---\n{"k": "v"}\n---\nText', {"k": "v"}),
        ("---\nk:\n---\nText", {"k": None}),
        ("---\n2020: a\ntrue: b\n---\nText", {"2020": "a", "true": "b"}),
        ("---\n---\nText", {}),
        ("---\ntitle: 1.10\n---\nText", {"title": "1.10"}),
        ("+++\ntitle = 1.10\nn = nan\nd = 07:32:00\n+++\nText", {"title": "1.10", "n": "nan", "d": "07:32:00"}),
        ("\n+++\nk = 2.5\n+++\nText", {"k": 2.5}),
    ],
)
def test_what_is_front_matter(source, fields):
    found, text, warning = split_front_matter(source)
    assert text == "Text"
    assert (found, bool(warning)) == (fields or {}, fields is None)


NO_FRONT_MATTER = [
    *("", "text", "---\n\nafter a rule\n\n---\n", "--- \nno end: here", "+++\nx = 1", "---\n# A heading\n\n---\nText"),
    *(
        "---\n- a\n- b: c\n---\n",
        "---\nsee http://example.com\n---\n",
        "---\n**Note**: x\n---\n",
        "text\n---\nk: v\n---\n",
    ),
]


@pytest.mark.parametrize("source", NO_FRONT_MATTER)
def test_what_is_no_front_matter_is_left_alone(source):
    assert split_front_matter(source) == ({}, source, "")
