"""The document page: text is escaped, there are no scripts, and the cited passage is highlighted."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser

from semsearch.errors import UsageError
from semsearch.server.routes.document_page import HEADERS, page, span_of
from semsearch.stores.base import StoredDocument

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">&lt;\x1b[31m\u202e'


def shown(text: str, start: int = 0, end: int = 0, title: str = "T", **metadata: object) -> LexborHTMLParser:
    return LexborHTMLParser(page(StoredDocument("id", title, text, metadata, [(0, len(text))]), "notes", start, end))


@pytest.mark.parametrize(
    ("start", "end", "marked"),
    [(4, 9, "heron"), (0, 3, "The"), (10, 100, "waits."), (0, 0, None), (50, 60, None), (9, 4, None)],
)
def test_the_passage_is_highlighted_and_the_text_stays_whole(start, end, marked):
    tree = shown("The heron waits.", start, end)
    mark = tree.css_first("mark#passage")
    assert (mark.text() if mark else None) == marked
    assert tree.css_first(".text").text() == "The heron waits."


def test_nothing_in_a_document_becomes_markup():
    tree = shown(HOSTILE, 3, 9, title=HOSTILE, **{HOSTILE: HOSTILE})
    assert not tree.css("script, img, a, iframe, form")
    visible = HOSTILE.replace("\x1b", " ").replace("\u202e", "")
    assert tree.css_first(".text").text() == tree.css_first("dd").text() == tree.css_first("h1").text() == visible


def test_metadata_is_shown_as_a_reader_expects_it():
    tree = shown("a", tags=["herbs", "drying"], open=True, year=2024, by={"name": "Zoë"}, none=None)
    assert [node.text() for node in tree.css("dd")] == ["herbs, drying", "true", "2024", '{"name": "Zoë"}', "null"]


def test_lines_and_emptiness_are_kept():
    assert shown("a\n\nb").css_first(".text").text() == "a\n\nb"
    assert shown("", title="").css_first("h1").text() == "id"


def test_the_policy_allows_no_script_and_nothing_from_elsewhere():
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("chars", ["a-b", "1", "-1-5", "5-1", "1-2-3", "١-٢", "1-9999999999999", ""])
def test_a_bad_span_is_refused(chars):
    with pytest.raises(UsageError, match="chars"):
        span_of(chars)
