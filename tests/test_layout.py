from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch.corpus.plain import KEEP, KEPT, Heading, lay_out
from semsearch.layout import NO_LAYOUT, Layout, Section, headed, layout_of, page_of

#        0         10        20        30        40
TEXT = "T\n\nintro\n\nA\n\ntext a\n\nA1\n\nfoo\n\nB\n\nbar"
PARTS = Layout((Section(0, 1, "T"), Section(10, 2, "A"), Section(21, 3, "A1"), Section(30, 2, "B")))


@pytest.mark.parametrize(
    ("span", "path"),
    [
        ("intro", ("T",)),
        ("text a", ("T", "A")),
        ("foo", ("T", "A", "A1")),
        ("bar", ("T", "B")),
        ("A\n\ntext a\n\nA1\n\nfoo", ("T", "A")),
        ("foo\n\nB", ("T",)),
        (TEXT, ("T",)),
        ("A1", ("T", "A", "A1")),
    ],
)
def test_the_path_of_a_span_names_the_sections_that_contain_all_of_it(span, path):
    start = TEXT.index(span)
    assert PARTS.path(start, start + len(span)) == path


def test_the_section_leaves_out_a_heading_that_is_the_title():
    assert PARTS.section("T", 24, 27) == "A > A1"
    assert PARTS.section("Another", 24, 27) == "T > A > A1"
    assert PARTS.section("T", 0, len(TEXT)) == ""
    assert NO_LAYOUT.section("T", 0, 5) == ""
    assert headed("csv", "Module Contents > Reader Objects") == "csv > Module Contents > Reader Objects"
    assert headed("", "A") == "A"
    assert headed("csv", "") == "csv"


def brute_force(sections: list[tuple[int, int]], start: int, end: int) -> list[int]:
    """Return the sections that begin at or before a span and are closed at or behind its end."""
    found = []
    for number, (begins, level) in enumerate(sections):
        closed = next((place for place, other in sections[number + 1 :] if other <= level), 10**9)
        if begins <= start and closed >= end:
            found.append(number)
    return found


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4)), max_size=8, unique_by=lambda one: one[0]),
    st.integers(0, 50),
    st.integers(1, 20),
)
def test_paths_are_those_of_brute_force(parts, start, length):
    parts.sort()
    layout = Layout(tuple(Section(place, level, str(number)) for number, (place, level) in enumerate(parts)))
    assert list(map(int, layout.path(start, start + length))) == brute_force(parts, start, start + length)


def test_the_title_is_the_first_heading_of_the_highest_level_or_one_at_the_beginning():
    assert Layout((Section(5, 2, "Install"), Section(9, 1, "Tool"))).title == "Tool"
    assert Layout((Section(0, 2, "Install"), Section(9, 3, "Tool"))).title == "Install"
    assert Layout((Section(5, 2, "Install"),)).title == ""
    assert NO_LAYOUT.title == ""


def test_pieces_are_laid_out_with_their_sections_and_blocks():
    code = "x = 1\n\ny = 2\n"
    pieces = ["Before", 2, Heading(2), "A", " heading", 2, KEEP, code, 2, "more", 2, KEPT, "after", 2, Heading(3), 2]
    text, layout = lay_out([*pieces, "Last"])
    assert text == "Before\n\nA heading\n\nx = 1\n\ny = 2\n\nmore\n\nafter\n\nLast"
    assert layout.sections == (Section(8, 2, "A heading"), Section(46, 3, "Last"))
    assert [text[start:end] for start, end in layout.blocks] == ["x = 1\n\ny = 2\n\nmore"]


def test_nested_and_empty_blocks():
    text, layout = lay_out([KEEP, 2, KEPT, "a", 2, KEEP, "b", 2, KEEP, "c", 2, KEPT, "d", 2, KEPT, "e"])
    assert text == "a\n\nb\n\nc\n\nd\n\ne"
    assert [text[start:end] for start, end in layout.blocks] == ["b\n\nc\n\nd"]


def test_json_holds_the_whole_layout():
    layout = Layout((Section(0, 1, "Größe"), Section(7, 2, "B")), ((2, 5),))
    assert layout.text == '{"blocks": [[2, 5]], "sections": [[0, 1, "Größe"], [7, 2, "B"]]}'
    assert layout_of(layout.text) == Layout.from_json(json.loads(layout.text), 10) == layout
    assert NO_LAYOUT.text == ""
    assert layout_of("") == layout_of('{"sections": 1}') == layout_of("{") == NO_LAYOUT


@pytest.mark.parametrize(
    "value",
    [
        7,
        {"sections": [[0, 1]]},
        {"sections": [[0, 0, "a"]]},
        {"sections": [[-1, 1, "a"]]},
        {"sections": [[0.5, 1, "a"]]},
        {"sections": [[11, 1, "a"]]},
        {"sections": [[5, 1, "a"], [4, 1, "b"]]},
        {"sections": [[0, 1, 2]]},
        {"sections": "abc"},
        {"blocks": [[1]]},
        {"blocks": [[4, 2]]},
        {"blocks": [[1, 5], [4, 6]]},
        {"blocks": [[1, True]]},
        {"blocks": [["a", "b"]]},
        {"blocks": [[1, "b"]]},
    ],
)
def test_what_is_no_layout_is_refused(value):
    with pytest.raises(ValueError, match="the layout is not valid; expected"):
        Layout.from_json(value, 10)


def test_pages_begin_at_their_offsets():
    assert [page_of({"page_starts": [0, 10, 10, 30]}, place) for place in (0, 9, 10, 29, 30)] == [1, 1, 3, 3, 4]
