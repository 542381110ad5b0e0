"""Test highlights: exactly the words that an index finds, each at its position in the text before folding."""

from __future__ import annotations

import random
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from fakes import body, entry, open_reader, open_writer, tokens

from semsearch.stores.words.keywords import exact_tokens, phrases
from semsearch.stores.words.matches import _body, _tokens, _trace, find_matches, find_terms, merge
from semsearch.types import Term

CHUNKS = """
running Runners ran runs run! "quoted" (run) Straße STRASSE strasse Stra\u00adße
crème Creme CRE\u0300ME naïve σοφός ΣΟΦΟΣ σοφ Мой ёж ЕЖ їжак שָׁלוֹם שלום السَّلامُ
السلام أحمد احمد محـــمد می\u200cخواهم خواهم İstanbul istanbul ılık ILIK C++ C# c
.NET net snake_case snake case jane.doe@example.com doe example 3.11.2 3 11 e-mail
mail e it's don't U.S. ﬁne fine ½ ① 1 Ａ＋ a नमस्ते नमस्त 北京 京北 北京烤鸭 烤鸭 東京タワー タワー
abc京都def abc 김치를 김치 ข้าวผัด ข้าว ខ្ញុំ\u200bទៅ 👩‍👩‍👧family family ❤️ x²
""".split()
"""Words in many scripts, separated by white space."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that tells which of CHUNKS a real index finds for a query; each is a document of its own."""
    folder: Path = tmp_path_factory.mktemp("matches") / "index"
    with open_writer(folder) as writer:
        writer.commit(entry(str(n), [[1, 0, 0, 0]], chunk) for n, chunk in enumerate(CHUNKS))
    with open_reader(folder) as index:

        def ask(query: str) -> set[str]:
            _, passages = index.search_keywords(query, len(CHUNKS) + 1, None)
            return {CHUNKS[int(one.doc_id)] for one in index.show(passages.tolist()).values()}

        yield ask


def highlighted(query: str, text: str) -> list[str]:
    (spans,) = find_matches(query, [text])
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize("query", [*CHUNKS, "running C++ 北京", "the quick runner jane.doe@example.com", "...", "?!"])
def test_a_word_is_highlighted_if_and_only_if_an_index_finds_it(found, query: str):
    text = " zzz ".join(CHUNKS)  # a word in between, because a pair of Chinese characters matches across a space
    places, place = {}, 0
    for chunk in CHUNKS:
        places[chunk] = (place, place + len(chunk))
        place += len(chunk) + 5
    (spans,) = find_matches(query, [text])
    marked = {chunk for chunk, (a, b) in places.items() if any(start < b and end > a for start, end in spans)}
    assert marked == found(query)
    assert all(any(a <= start and end <= b for a, b in places.values()) for start, end in spans)


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("run", "They run, running and runs; runner.", ["run", "running", "runs"]),
        ("strasse", "Die Stra\u00adße!", ["Stra\u00adße"]),
        ("creme", "x Cre\u0300me y", ["Cre\u0300me"]),
        ("C++", "C and C++ and C#", ["C", "C++", "C"]),
        ("北京", "我在北京，京北。", ["北京"]),
        ("京都", "abc京都def", ["京都"]),
        ("doe", "jane.doe@example.com", ["doe"]),
        ("jane.doe@example.com", "mail jane.doe@example.com, jane", ["jane.doe@example.com", "jane"]),
        ("AND OR NOT", 'this and that, not "or"', ["and", "not", "or"]),
        ("it's", "it is; it's", ["it", "it", "s"]),
        ("a\x00b", "a \x00 b\x02 \x03a", ["a", "b", "a"]),
        ("é", "\ud800 é \udc00", ["é"]),
    ],
)
def test_matches_stand_where_they_were_written(query: str, text: str, expected: list[str]):
    assert highlighted(query, text) == expected


def test_pairs_of_characters_are_highlighted_as_pairs(found):
    text = "我喜欢北京的烤鸭和京都"
    (spans,) = find_matches("北京烤鸭", [text])
    marked = {place for start, end in spans for place in range(start, end)}
    wanted = {first + second for first, second in pairwise("北京烤鸭")}
    expected = {n + i for n, pair in enumerate(map("".join, pairwise(text))) if pair in wanted for i in (0, 1)}
    assert marked == expected


def test_a_folded_text_that_is_traced_is_what_the_index_has():
    draw = random.Random(3)
    every = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    some = [
        *"aZ9 ß\u200c\u0301\u0640\u00adี",
        *"ยيقσςΣÅİıﬁ½北タ김각ᄀ",
        "\u1161",
        "\u11a8",
        "\u0308",
        "\uff9e",
        "C++",
        ".",
        "@",
        "#",
    ]
    for n in range(600):
        text = "".join(draw.choice(every if n % 2 else some) for _ in range(draw.randrange(40)))
        traced = _trace(text)
        assert len(traced.text) == len(traced.starts) == len(traced.ends)
        # FTS5 lowercases ASCII and treats a control character as a space
        assert words(_body(traced).text) == words(body("", text)), ascii(text)
        assert dict.fromkeys(words(_tokens(traced).text)) == dict.fromkeys(words(tokens("", text))), ascii(text)
        assert all(0 <= a <= b <= len(text) for a, b in zip(traced.starts, traced.ends, strict=True))


def words(text: str) -> list[str]:
    return text.translate(dict.fromkeys(range(0x20), " ")).lower().split()


def test_terms_have_their_places_by_the_names_that_an_index_gives_them(found):
    text = "Runs of C++ in 北京, run by C"
    every = find_terms("running C++ 北京 nothing", text)
    assert {term: [text[a:b] for a, b in spans] for term, spans in every.items()} == {
        Term("running", exact=False): ["Runs", "run"],
        Term("c", exact=False): ["C", "C"],
        Term("c++", exact=True): ["C++"],
        Term("北京", exact=False): ["北京"],
    }


def test_a_query_without_words_matches_nothing():
    assert find_matches("?!", ["a b", ""]) == [[], []]
    assert find_terms("", "a b") == {}
    assert find_matches("a", []) == []
    assert (phrases("?!"), exact_tokens("?!")) == ([], {})


def test_spans_are_merged():
    assert merge([(4, 6), (0, 2), (2, 3), (5, 9)]) == [(0, 3), (4, 9)]
