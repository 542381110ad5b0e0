"""Test keyword search: which documents are found, and ranks and words against FTS5 tables and a separate formula."""

from __future__ import annotations

import math
import random
import sqlite3
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest
import regex
from fakes import (
    body,
    entry,
    index_content,
    index_corpus,
    indexed_words,
    open_reader,
    open_writer,
    reopen_writer,
    tokens,
)
from older_index import make_older_index

from semsearch import WordHashEncoder
from semsearch.filters.text import parse
from semsearch.stores.local.store import LocalStore
from semsearch.stores.words.keywords import MAX_QUERY_WORDS, exact_tokens, fold, match_expression

TOKENIZER = "tokenize='porter unicode61 remove_diacritics 2'"
HOSTILE = ["AND", "OR", "NOT", "NEAR", "NEAR(cat dog)", "cat*", "*", '"', '"cat', "'", "cat'--", "body:cat", "{body}:x"]
HOSTILE += ["cat AND", "(cat", ")", "^cat", "cat + dog", "-cat", "cat;drop table documents", "\\", "%_"]
HOSTILE += ["[cat]", "\x01", "😀", "𖹀", "\u0301", "½ ①", "ﬁ", "\u200b"]
HOSTILE += ["a\u0000b", "{", "NEAR/3", "cat NOT dog", ",", ".", "¿?"]


def found(index: LocalStore, query: str, k: int = 100) -> list[str]:
    """Return the ids of the documents found, best first."""
    scores, passages = index.search_keywords(query, k, None)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    shown = index.show(passages.tolist())
    return [shown[passage].doc_id for passage in passages.tolist()]


def plain_table(bodies: dict[int, str]) -> sqlite3.Connection:
    """Create an FTS5 table that stores its text and contains only these rows."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE keywords USING fts5(body, {TOKENIZER})")
    connection.executemany("INSERT INTO keywords (rowid, body) VALUES (?, ?)", bodies.items())
    return connection


def vocabulary(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Return every word of every row."""
    connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, keywords, instance)")
    return connection.execute("SELECT term, doc FROM temp.words").fetchall()


@pytest.fixture
def make(tmp_path):
    """Return a function that builds an index from texts by document id."""

    def make(texts: dict[str, str], title: str = "") -> LocalStore:
        with open_writer(tmp_path / "index") as writer:
            writer.commit(entry(doc_id, [[1, 0, 0, 0]], text, title) for doc_id, text in texts.items())
        return open_reader(tmp_path / "index")

    return make


@pytest.mark.parametrize(
    ("text", "queries", "misses"),
    [
        ("我喜欢北京的烤鸭。", ["北京", "烤鸭", "北京烤鸭", "京", "喜欢"], ["京北", "上海", "鸭烤"]),
        ("東京タワーへ行きました", ["東京", "タワー", "行きました", "東"], ["京東", "ワタ"]),
        ("ฉันชอบกินข้าวผัด", ["ข้าวผัด", "กินข้าว", "ชอบ"], ["ปลา", "ดิน", "บิน"]),
        ("나는 서울에서 김치를 먹었다", ["서울", "김치", "먹었다"], ["부산", "울서"]),
        ("ຂ້ອຍມັກກິນເຂົ້າ", ["ກິນເຂົ້າ"], ["ປາ"]),
        ("abc京都def", ["京都", "abc", "def"], ["bc", "都京"]),
        ("ﾀﾜｰ ＡＢＣ １２３", ["タワー", "abc", "123", "ＡＢＣ"], ["ab"]),
        ("𠮷野家で食べる", ["𠮷野家", "𠮷", "食べる"], ["野𠮷"]),
        ("Crème brûlée in Köln", ["creme", "BRULEE", "Koln", "KÖLN", "crème"], ["brul"]),
        ("The runners were running quickly", ["run", "runs", "runner"], ["walk"]),
        ("Привет, МИР", ["привет", "мир"], ["ми"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"], ["भारत"]),
        ("नदी हद दिन", ["नदी", "दिन"], ["हिन्दी", "न", "दी"]),
        ("snake_case and kebab-case, e-mail: a.b@c.org", ["snake", "kebab-case", "mail", "c.org"], ["snak"]),
        ("Мой ёж, её їжак", ["мой", "ЕЖ", "ее", "їжак"], ["мои", "іжак"]),
        ("Die Straße, STRASSE", ["strasse", "Straße", "STRAẞE"], ["strase"]),
        ("Ο σοφός στην Αθήνα", ["ΣΟΦΟΣ", "σοφοσ", "ΑΘΗΝΑ", "αθηνα"], ["σοφ"]),
        ("Isparta, İstanbul, ılık", ["ısparta", "ISPARTA", "istanbul", "ilik"], ["spart"]),
        ("שָׁלוֹם עֲלֵיכֶם", ["שלום", "שָׁלוֹם", "עליכם"], ["לום"]),
        ("السَّلامُ عَلَيْكُم، أحمد، محـــمد", ["السلام", "عليكم", "احمد", "محمد"], ["لام"]),
        ("می‌خواهم", ["می‌خواهم", "خواهم", "می خواهم"], ["میخواه"]),
        ("ខ្ញុំ​ទៅ​ផ្សារ", ["ទៅផ្សារ", "ទៅ​ផ្សារ", "ខ្ញុំ"], ["ឆ្មា"]),
        ("ภาษา​ไทย", ["ภาษาไทย", "ไทย"], ["ปลา"]),
        ("⚠️Warning 👩‍👩‍👧family❤️ 1️⃣st", ["warning", "⚠️Warning", "family", "1"], ["hot"]),
        ("data­base​⁠﻿ sys‍tem क्‍ष", ["database", "da​ta­base", "system", "क्ष"], ["data"]),
    ],
)
def test_text_of_any_script_is_findable(make, text, queries, misses):
    with make({"the one": text, "another": "nothing of the kind"}) as index:
        for query in queries:
            assert "the one" in found(index, query), query
        for query in misses:
            assert found(index, query) == [], query


def test_a_title_is_found_and_a_word_in_quotes_counts(make):
    with make({"a": "body"}, title="Moby Dick") as index:
        assert found(index, "moby") == found(index, '"moby" dick') == ["a"]


def test_what_cannot_be_seen_is_what_unicode_says():
    ignorable = {chr(c) for c in range(sys.maxunicode + 1) if regex.match(r"\p{Default_Ignorable_Code_Point}", chr(c))}
    gone = {c for c in map(chr, range(sys.maxunicode + 1)) if not 0xD800 <= ord(c) < 0xE000 and fold(f"é{c}b") == "éb"}
    assert ignorable <= gone
    assert {unicodedata.name(c).split()[0] for c in gone - ignorable} == {"ARABIC", "HEBREW"}


EXACT = {
    "scattered": "com example doe jane",
    "exact": "please write to jane.doe@example.com about the invoices of last month",
    "x1": "boats and herons",
    "x2": "bread and butter",
    "v_wrong": "2 lamps, 3 chairs, 11 cups",
    "v_exact": "the interpreter that ships with this image is python 3.11.2 and nothing else",
    "cs": "C# tips",
    "cpp": "many tips for people who write modern C++ at work",
    "c": "c c c c c c",
    "net": "many people who write for the web write for .NET, (F#) and self-made ISO-8859-1",
    "nets": "a net is a net is a net; iso 1 8859; f, f and f; case snake",
    "snake": "many people who write for other people write snake_case, or write nothing at all",
    "zh": "用C++写程序的人很多很多很多很多很多很多很多很多",
}
"""Some cases of shared/cases/exact_tokens.jsonl and similar ones; every wrong answer is shorter than the right one."""


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("jane.doe@example.com", ["exact", "scattered"]),
        ("JANE.DOE@example.com.", ["exact", "scattered"]),
        ("3.11.2", ["v_exact", "v_wrong"]),
        ("C++", ["cpp", "zh", "c"]),
        ("(c++)", ["cpp", "zh", "c"]),
        ("C#", ["cs", "c"]),
        (".NET", ["net", "nets"]),
        ("F#", ["net", "nets"]),
        ("ISO-8859-1", ["net", "nets"]),
        ("snake_case", ["snake", "nets"]),
        ("Ｃ＋＋", ["cpp", "zh", "c"]),
    ],
)
def test_the_exact_token_comes_before_its_pieces_however_long_the_text(make, query, first):
    with make(EXACT) as index:
        assert [doc_id for doc_id in found(index, query) if doc_id in first][: len(first)] == first
        scores, _ = index.search_keywords(query, 100, None)
        assert (scores <= index.highest_keyword_score(query)).all()


@pytest.mark.parametrize(
    "word", ["don't", "two-dimensional", "e.g.", "U.S.", "rock-and-roll", "End.", "100", "_it_", "#", "++"]
)
def test_ordinary_words_are_no_exact_tokens(word):
    assert tokens("", word) == ""
    assert exact_tokens(word) == {}


def test_a_filter_is_resolved_once_for_all_searches_of_a_snapshot(make):
    with make({f"d{n}": f"tea number {n}" for n in range(30)}) as index:
        asked: list[str] = []
        index._read()._database._connection.set_trace_callback(asked.append)
        with index.snapshot():
            for _ in range(3):
                index.search_keywords("tea number", 5, parse("doc_id != 'd3'"))
                index.search_vectors(np.eye(4, dtype=np.float32), 5, parse("doc_id != 'd3'"))
        assert sum("JOIN passages" in sql and "json_array" in sql for sql in asked) == 1


def test_filters_that_are_equal_in_python_but_not_in_json_are_told_apart(tmp_path):
    with open_writer(tmp_path / "index") as writer:
        writer.commit([entry("one", [[1, 0, 0, 0]], "tea", x=1), entry("true", [[1, 0, 0, 0]], "tea", x=True)])
        for value, number in (("1", 1), ("true", 2), ("1.0", 1)):
            assert writer.search_keywords("tea", 9, parse(f"x = {value}"))[1].tolist() == [number]
        writer.commit([], [entry("one", [[1, 0, 0, 0]], "tea", x=True).document])
        assert writer.search_keywords("tea", 9, parse("x = true"))[1].tolist() == [1, 2]


def test_an_index_of_the_first_schema_is_folded_and_asked_for_exact_tokens_without_encoding(tmp_path):
    texts = EXACT | {"emoji": "⚠️Warning: hot surface", "street": "Straße"}
    documents = [{"_id": name, "title": "Title", "text": text} for name, text in texts.items()]
    index_corpus(tmp_path / "new", documents, WordHashEncoder(64))
    folder = make_older_index(tmp_path / "index", documents)
    with open_reader(folder) as index:
        assert found(index, "warning") == ["emoji"]
        assert found(index, "STRASSE") == ["street"]
        assert found(index, "3.11.2")[0] == "v_exact"
    assert index_content(folder)["words"] == index_content(tmp_path / "new")["words"]
    with reopen_writer(folder) as writer:
        assert writer.delete(["emoji", "cpp"]) == ["emoji", "cpp"]
        assert found(writer, "warning") == []
        assert found(writer, "C++")[0] == "zh"


@pytest.mark.parametrize("query", HOSTILE)
def test_operators_and_quotes_in_a_query_are_harmless(make, query):
    with make({"cat": "the cat sat near it", "words": "and or not", "other": "drop documents"}) as index:
        wanted = {
            "AND": {"words"}, "OR": {"words"}, "NOT": {"words"}, "NEAR": {"cat"}, "cat*": {"cat"}, '"cat': {"cat"},
            "cat AND": {"cat", "words"}, "cat NOT dog": {"cat", "words"}, "NEAR(cat dog)": {"cat"}, "-cat": {"cat"},
            "(cat": {"cat"}, "cat;drop table documents": {"cat", "other"}, "body:cat": {"cat"}, "^cat": {"cat"},
            "[cat]": {"cat"}, "cat + dog": {"cat"}, "cat'--": {"cat"}, "NEAR/3": {"cat"},
        }.get(query, set())  # fmt: skip
        assert set(found(index, query)) == wanted


def test_what_a_query_becomes():
    assert match_expression("") == match_expression(" \t?! * _ ") == ""
    assert match_expression('say "hi" twice, hi') == '"say" OR "hi" OR "twice" OR "hi"'
    assert match_expression("1⃣st a⃝b") == '"1" OR "st" OR "a" OR "b"'  # enclosing marks separate words in texts, too
    assert match_expression("北京烤 pizza 茶") == '"北 京" OR "京 烤" OR "pizza" OR "茶"'
    assert body("Tea", "茶と緑茶 now") == "tea  茶 と 緑 茶  now"


def test_a_query_as_long_as_a_book_is_answered(make):
    with make({"a": "needle", "b": "straw"}) as index:
        assert found(index, "needle " + "hay " * 50_000) == ["a"]
        words = " ".join(f"word{number}" for number in range(MAX_QUERY_WORDS - 1))
        assert found(index, f"{words} straw and more") == ["b"]
        assert found(index, "京都" * 30_000) == []


def corpus(rng: random.Random, n: int) -> dict[str, str]:
    words = [f"w{number}" for number in range(40)]
    return {f"d{number}": " ".join(rng.choices(words, range(40, 0, -1), k=rng.randint(1, 60))) for number in range(n)}


def test_scores_are_those_of_the_bm25_formula(make):
    texts = corpus(random.Random(5), 60)
    with make(texts) as index:
        scores, passages = index.search_keywords("w3 w17 w38", 100, None)
        names = {passage: shown.doc_id for passage, shown in index.show(passages.tolist()).items()}
    counts = {doc_id: Counter(text.split()) for doc_id, text in texts.items()}
    mean = sum(c.total() for c in counts.values()) / len(counts)
    expected = Counter()
    for word in ("w3", "w17", "w38"):
        having = sum(word in c for c in counts.values())
        weight = max(math.log((len(counts) - having + 0.5) / (having + 0.5)), 1e-6)  # never negative, as in FTS5
        for doc_id, c in counts.items():
            if c[word]:
                expected[doc_id] += weight * c[word] * 2.2 / (c[word] + 1.2 * (0.25 + 0.75 * c.total() / mean))
    assert {names[p]: s for p, s in zip(passages.tolist(), scores.tolist(), strict=True)} == pytest.approx(
        dict(expected), rel=1e-5, abs=1e-7
    )


def test_updates_and_deletions_leave_nothing_in_the_keyword_index(tmp_path):
    rng = random.Random(1)
    texts = corpus(rng, 80) | {"zh": "我喜欢北京。𠮷", "emoji": "smile 😀 w1", "accents": "crème ﬁn w2", "empty": ""}
    with open_writer(tmp_path / "index") as writer:
        writer.commit(entry(name, [[1, 0, 0, 0]] * 2, text, f"Title {name}") for name, text in texts.items())
        changed = {name: f"{text} newword" for name, text in rng.sample(sorted(texts.items()), 20)} | {"zh": "北京好"}
        writer.commit(entry(name, [[0, 1, 0, 0]], text, "Other title") for name, text in changed.items())
        writer.delete([*rng.sample(sorted(texts), 30), "emoji", "accents"])
        writer.commit([entry("new", [[1, 0, 0, 0]], "w1 w2 w3 😀")])

    with open_reader(tmp_path / "index") as index:
        connection = sqlite3.connect(tmp_path / "index" / "passages.sqlite")
        rows = connection.execute(
            "SELECT passages.id, title, text, start, end FROM passages JOIN documents ON document = documents.id"
        ).fetchall()
        plain = plain_table({number: body(title, text[start:end]) for number, title, text, start, end in rows})
        assert len(rows) > 50
        words = indexed_words(tmp_path / "index").items()
        assert sorted((t.decode(), n, count) for (t, n), count in words if b" " not in t and t[:1] != b"=") == sorted(
            (term, number, count) for (term, number), count in Counter(vocabulary(plain)).items()
        )
        connection.close()
        for query in ("w1 w9 w30", "newword", "title w3", "北京", "😀 smile"):
            sql = "SELECT rowid, -rank FROM keywords WHERE keywords MATCH ? ORDER BY rank, rowid"
            expected = plain.execute(sql, (match_expression(query),)).fetchall()
            scores, passages = index.search_keywords(query, 1_000, None)
            assert passages.tolist() == [number for number, _ in expected]
            assert scores.tolist() == pytest.approx([score for _, score in expected], rel=1e-6)
        plain.close()


def test_equal_scores_come_by_age_and_k_cuts_the_list(make):
    with make({name: "same words" for name in "zyxwv"}) as index:
        assert found(index, "words") == list("zyxwv")
        assert found(index, "words", 2) == ["z", "y"]


def test_a_filter_holds_back_documents_before_k_is_counted(tmp_path):
    with open_writer(tmp_path / "index") as writer:
        writer.commit(entry(f"d{n}", [[1, 0, 0, 0]], "tea " * (9 - n), year=2000 + n) for n in range(9))
        _, passages = writer.search_keywords("tea", 2, parse("year >= 2006"))
        assert sorted(passages.tolist()) == [7, 8]  # the 7th and 8th documents; d8 would be the third hit
        assert writer.search_keywords("tea", 2, parse("year > 2008"))[1].tolist() == []
