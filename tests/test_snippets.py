"""Test snippets: verbatim pieces of a passage around the matching words, against answers by hand and brute force."""

from __future__ import annotations

import random

import pytest

from semsearch import Hit
from semsearch.errors import UsageError
from semsearch.snippets import SIZE, Snippet, cut, make_snippets

FILLER = "Some filler stands here. "


def hit(text: str) -> Hit:
    return Hit(1, "d", 0.5, "", text, 0, len(text), {}, "cosine")


def snippet_of(query: str, text: str, size: int = SIZE) -> Snippet:
    (snippet,) = make_snippets(query, [hit(text)], size)
    assert text[snippet.start : snippet.end] == snippet.text
    assert len(snippet.text) <= size
    return snippet


def marked(snippet: Snippet) -> list[str]:
    return [snippet.text[start:end] for start, end in snippet.highlights]


def test_a_short_passage_is_its_own_snippet():
    assert snippet_of("herons", "  The heron waits.\n") == Snippet("  The heron waits.", 0, 18, ((6, 11),))


def test_the_window_stands_around_what_matches():
    text = FILLER * 40 + "The heron waits in the reeds. " + FILLER * 40
    snippet = snippet_of("herons in reeds", text)
    assert marked(snippet) == ["heron", "in", "reeds"]
    assert snippet.text.startswith("Some filler")
    place = snippet.text.index("heron waits")
    assert SIZE / 4 < place < 3 * SIZE / 4


def test_a_rare_word_is_worth_more_than_a_common_one_that_comes_often():
    text = "the the the the. " * 30 + FILLER * 20 + "A heron. " + FILLER * 20
    assert "heron" in marked(snippet_of("the heron", text))


def test_without_a_match_it_is_the_beginning():
    text = FILLER * 40
    snippet = snippet_of("heron", text)
    assert (snippet.start, snippet.highlights) == (0, ())
    assert SIZE - 20 < len(snippet.text) <= SIZE
    assert text[snippet.end] == " "


def test_line_breaks_indentation_and_tables_stay_as_they_are():
    code = (
        "x = 1\n" * 60
        + "\n\nclass Heron:\n    def wait(self):\n        return 1\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        + "y = 2\n" * 60
    )
    snippet = snippet_of("heron", code)
    assert "class Heron:\n    def wait(self):\n        return 1\n\n| a | b |\n|---|---|\n| 1 | 2 |" in snippet.text
    assert marked(snippet) == ["Heron"]


def test_weights_say_what_is_worth_showing():
    text = "".join(f"word{n:03d} " for n in range(200))
    snippet = cut(text, [(0, 7)], [(0, 7, 0.1), (800, 807, 0.5), (1600, 1607, -2)])
    assert snippet.start < 800 < 807 < snippet.end
    assert snippet.highlights == ()


@pytest.mark.parametrize("text", ["", "   \n ", "\n\n"])
def test_a_passage_without_text_has_an_empty_snippet(text: str):
    assert snippet_of("heron", text).text == ""


def test_texts_without_spaces_are_cut_where_they_fit():
    text = "字" * 1_000 + "苍鹭" + "字" * 1_000
    snippet = snippet_of("苍鹭", text)
    assert marked(snippet) == ["苍鹭"]
    assert len(snippet.text) > SIZE - 80


@pytest.mark.parametrize("seed", range(20))
def test_no_window_of_the_same_size_has_more_matches_by_far(seed: int):
    draw = random.Random(seed)
    words = [draw.choice(["heron", *["filler"] * 30]) for _ in range(400)]
    text = "".join(f"{word}{draw.choice([' ', ' ', '. ', chr(10)])}" for word in words)
    spans = [(i, i + 5) for i in range(len(text)) if text.startswith("heron", i)]
    most = max(sum(a >= start and b <= start + SIZE for a, b in spans) for start in range(len(text)))
    snippet = snippet_of("heron", text)
    assert len(snippet.highlights) >= most - 2  # windows start at pieces of a third of their size


@pytest.mark.parametrize("size", [1, 5, 17, 100, 10_000])
def test_every_size_is_kept(size: int):
    draw = random.Random(size)
    for _ in range(50):
        text = "".join(draw.choice("ab é北。.\n\t|") for _ in range(draw.randrange(300)))
        snippet_of("a 北", text, size)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="`size` must be at least 1, got 0"):
        make_snippets("a", [hit("a")], 0)
    with pytest.raises(UsageError, match="`size` is 'big'; expected a whole number"):
        make_snippets("a", [hit("a")], "big")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`query` is None; expected text"):
        make_snippets(None, [hit("a")])  # type: ignore[arg-type]
    assert make_snippets("a", []) == []


def test_a_snippet_as_json():
    assert Snippet("a heron", 3, 10, ((2, 7),)).to_json() == {
        "text": "a heron",
        "start": 3,
        "end": 10,
        "highlights": [[2, 7]],
    }
