"""Keyword search: what is findable, and ranks and words against FTS5 tables and a formula of the tests' own."""

from __future__ import annotations

import math
import random
import sqlite3
from collections import Counter

import pytest
from fakes import entry, open_reader, open_writer

from semsearch.filters.text import parse
from semsearch.stores.local.keywords import MAX_QUERY_WORDS, body, match_expression
from semsearch.stores.local.store import LocalStore

TOKENIZER = "tokenize='porter unicode61 remove_diacritics 2'"
HOSTILE = ["AND", "OR", "NOT", "NEAR", "NEAR(cat dog)", "cat*", "*", '"', '"cat', "'", "cat'--", "body:cat", "{body}:x"]
HOSTILE += ["cat AND", "(cat", ")", "^cat", "cat + dog", "-cat", "cat;drop table documents", "\\", "%_"]
HOSTILE += ["[cat]", "\x01", "😀", "𖹀", "\u0301", "½ ①", "ﬁ", "\u200b"]
HOSTILE += ["a\u0000b", "{", "NEAR/3", "cat NOT dog", ",", ".", "¿?"]


def found(index: LocalStore, query: str, k: int = 100) -> list[str]:
    """Ids of the documents found, best first."""
    scores, passages = index.search_keywords(query, k, None)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    shown = index.show(passages.tolist())
    return [shown[passage].doc_id for passage in passages.tolist()]


def plain_table(bodies: dict[int, str]) -> sqlite3.Connection:
    """An FTS5 table that keeps its text, of these rows and no others."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE keywords USING fts5(body, {TOKENIZER})")
    connection.executemany("INSERT INTO keywords (rowid, body) VALUES (?, ?)", bodies.items())
    return connection


def vocabulary(connection: sqlite3.Connection) -> list[tuple[str, int, str, int]]:
    """Every word of every row with its place."""
    connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, keywords, instance)")
    return connection.execute("SELECT term, doc, col, offset FROM temp.words ORDER BY 1, 2, 4").fetchall()


@pytest.fixture
def make(tmp_path):
    """Makes an index of texts by id."""

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
    assert match_expression("北京烤 pizza 茶") == '"北 京" OR "京 烤" OR "pizza" OR "茶"'
    assert body("Tea", "茶と緑茶 now") == "Tea  茶 と 緑 茶  now"


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
        weight = max(math.log((len(counts) - having + 0.5) / (having + 0.5)), 1e-6)  # as FTS5: never negative
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
        connection.execute("INSERT INTO keywords (keywords) VALUES ('integrity-check')")  # raises where it is damaged
        rows = connection.execute(
            "SELECT passages.id, title, text, start, end FROM passages JOIN documents ON document = documents.id"
        ).fetchall()
        plain = plain_table({number: body(title, text[start:end]) for number, title, text, start, end in rows})
        assert len(rows) > 50
        assert vocabulary(connection) == vocabulary(plain)
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
        assert sorted(passages.tolist()) == [7, 8]  # the 7th and 8th document; d8 would be the third
        assert writer.search_keywords("tea", 2, parse("year > 2008"))[1].tolist() == []
