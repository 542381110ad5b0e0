"""Test inverted indexes and the search in them, against FTS5 on the same texts, and a formula in plain Python."""

from __future__ import annotations

import math
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from fakes import body, tokens
from forking import told

from semsearch.stores.local.array_file import open_arrays, writing_arrays
from semsearch.stores.words import bm25, postings
from semsearch.stores.words.bm25 import KeywordIndex
from semsearch.stores.words.keywords import (
    MAX_QUERY_WORDS,
    as_typed,
    exact_tokens,
    match_expression,
    phrases,
)
from semsearch.stores.words.postings import Postings, build, merge, read
from semsearch.stores.words.tokenizer import EXACT_WORDS, WORDS, tokenizer
from semsearch.types import Term

Row = tuple[int, str, str]

WORDS_OF_MANY_SCRIPTS = """
running Runners ran runs run! "quoted" Straße STRASSE Stra\u00adße crème
CRE\u0300ME naïve ΣΟΦΟΣ σοφ Мой ёж ЕЖ їжак שָׁלוֹם שלום السَّلامُ السلام أحمد
محـــمد می\u200cخواهم خواهم İstanbul ılık C++ c++. (C#) c .NET net snake_case
snake case jane.doe@example.com doe example 3.11.2 3 11 e-mail mail e don't U.S.
ﬁne fine ½ ① 1 Ａ＋ a नमस्ते नमस्त 北京 京北 北京烤鸭 北。京 烤鸭 東京タワー タワー ﾀﾜｰ abc京都def abc
用C++写 京京京 京 김치를 김치 ข้าวผัด ข้าว ກິນເຂົ້າ ခင်ဗျား ខ្ញុំ\u200bទៅ 👩‍👩‍👧family ❤️
1️⃣st 🥰 x² 𠮷野家 𖹀 a𖹀b \u0301 \u0301a 京\u0301都 a\u20ddb ก\u0301า \U000f0041b ܫܠܡܐ
ሰላም \u0e31\u0e31 ゙か a\x00b = =c a=b - the the the a a of
""".split()
"""Words in many scripts, separated by white space."""

COMMON = ["the", "a", "of", "running"]


def texts_of(rng: random.Random, n: int, first: int = 1) -> list[Row]:
    """Return passages of words in many scripts, some of them empty, some without a space between words."""

    def text() -> str:
        words = rng.choices(WORDS_OF_MANY_SCRIPTS + COMMON * 10, k=rng.choice([0, 1, 2, 5, 12, 30]))
        return "".join(word + rng.choice([" ", " ", " ", "", ", ", "\n"]) for word in words)

    return [(number, rng.choice(["", "Title", "京都"]), text()) for number in range(first, first + n)]


class Fts5:
    """The keyword search of indexes of schema 4, in memory: FTS5 tables of these passages."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.n, self._sql = len(rows), sqlite3.connect(":memory:")
        self._sql.execute(f"""CREATE VIRTUAL TABLE keywords USING fts5(body, content='', tokenize="{WORDS}")""")
        self._sql.execute(
            "CREATE VIRTUAL TABLE exact USING fts5(tokens, content='', columnsize=0, detail=none, "
            f'tokenize="{EXACT_WORDS}")'
        )
        for table, make in (("keywords", body), ("exact", tokens)):
            column = {"keywords": "body", "exact": "tokens"}[table]
            values = ((number, make(title, text)) for number, title, text in rows)
            self._sql.executemany(f"INSERT INTO {table} (rowid, {column}) VALUES (?, ?)", values)

    def most(self, every: Sequence[str]) -> float:
        total = 0.0
        for phrase in every:
            sql = "SELECT count(*) FROM keywords WHERE keywords MATCH ?"
            (having,) = self._sql.execute(sql, (phrase,)).fetchone()
            total += max(math.log((self.n - having + 0.5) / (having + 0.5)), 1e-6)
        return 2.2 * total

    def search(self, query: str) -> list[tuple[float, int]]:
        """Return the score and number of every passage found, best first."""
        if not (expression := match_expression(query)):
            return []
        weights = {token: self.most(parts) for token, parts in exact_tokens(query).items()}
        score = "-bm25(keywords)" + " + ? * (rowid IN (SELECT rowid FROM exact WHERE exact MATCH ?))" * len(weights)
        sql = f"SELECT {score} AS score, rowid FROM keywords WHERE keywords MATCH ? ORDER BY score DESC, rowid"
        parameters = [value for token, weight in weights.items() for value in (weight, token)]
        return self._sql.execute(sql, [*parameters, expression]).fetchall()

    def terms(self, query: str, passage: int) -> dict[Term, float]:
        """Return the score of each phrase and exact token for one passage."""
        found = {}
        for phrase, times in Counter(phrases(query)).items():
            sql = "SELECT -bm25(keywords) FROM keywords WHERE keywords MATCH ? AND rowid = ?"
            for (score,) in self._sql.execute(sql, (phrase, passage)):
                found[Term(as_typed(phrase), exact=False)] = times * score
        for token, parts in exact_tokens(query).items():
            if self._sql.execute("SELECT 1 FROM exact WHERE exact MATCH ? AND rowid = ?", (token, passage)).fetchone():
                found[Term(as_typed(token), exact=True)] = self.most(parts)
        return found

    def vocabulary(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield every word with its passages and how often each has it."""
        self._sql.text_factory = bytes
        self._sql.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab(main, keywords, instance)")
        counts = Counter((term or b"", doc) for term, doc in self._sql.execute("SELECT term, doc FROM temp.words"))
        yield from ((term, doc, count) for (term, doc), count in counts.items())

    def lengths(self) -> dict[int, int]:
        counts = Counter[int]()
        for _, doc, count in self.vocabulary():
            counts[doc] += count
        return dict(counts)


def cut(rows: Sequence[Row], *bounds: int) -> list[Postings]:
    """Build inverted indexes of ranges of passages."""
    return [build(rows[start:end]) for start, end in pairwise([0, *bounds, len(rows)])]


def masks(parts: Sequence[Postings], numbers: set[int]) -> list[np.ndarray]:
    """Return which rows of each part have these numbers."""
    return [np.isin(part.passages, list(numbers)) for part in parts]


def found(index: KeywordIndex, query: str, k: int, allowed=()) -> list[tuple[float, int]]:
    scores, ids = index.search(query, k, allowed)
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)
    return list(zip(scores.tolist(), ids.tolist(), strict=True))


def same(ours: list[tuple[float, int]], theirs: list[tuple[float, int]]) -> bool:
    """Return whether passages come in the same order with the same scores."""
    return [number for _, number in ours] == [number for _, number in theirs] and np.allclose(
        [score for score, _ in ours], [score for score, _ in theirs], rtol=1e-6, atol=1e-12
    )


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return texts_of(random.Random(1), 400)


def test_the_terms_of_passages_are_those_of_fts5(rows):
    index, fts5 = build(rows), Fts5(rows)
    listed = {
        (term, int(index.passages[row]), int(count))
        for place, term in enumerate(index.all_terms())
        if b" " not in term and not term.startswith(b"=")
        for row, count in zip(*index.postings(place), strict=True)
    }
    assert listed == set(fts5.vocabulary())
    lengths = fts5.lengths()
    assert index.lengths.tolist() == [lengths.get(number, 0) for number, _, _ in rows]
    assert index.all_terms() == sorted(set(index.all_terms()))
    pairs = [term.decode().split(" ") for term in index.all_terms() if b" " in term]
    assert ["京", "都"] in pairs
    assert all(len(pair) == 2 and min(pair) > "\u0dff" for pair in pairs)


@pytest.mark.parametrize("seed", range(6))
def test_scores_and_ranks_are_those_of_fts5_with_deletions_and_filters(seed):
    rng = random.Random(seed)
    rows = texts_of(rng, rng.choice([1, 40, 400]))
    parts = cut(rows, *sorted(rng.choices(range(len(rows)), k=rng.randint(0, 4))))
    gone = set(rng.sample(range(1, len(rows) + 1), len(rows) // 3)) if seed % 2 else set()
    living = masks(parts, {number for number, _, _ in rows} - gone)
    index = KeywordIndex([(part, mask if gone else None) for part, mask in zip(parts, living, strict=True)])
    fts5 = Fts5([row for row in rows if row[0] not in gone])
    allowed = set(rng.sample(range(1, len(rows) + 1), (len(rows) + 3) // 4))
    for _ in range(60):
        query = " ".join(rng.choices(WORDS_OF_MANY_SCRIPTS, k=rng.choice([1, 2, 4, 9])))
        expected = fts5.search(query)
        for k in (1, 3, 10, len(rows) + 5):
            assert same(found(index, query, k), expected[:k]), (query, k)
        some = [pair for pair in expected if pair[1] in allowed]
        assert same(found(index, query, 5, masks(parts, allowed)), some[:5]), query
        assert all(score <= index.highest(query) for score, _ in expected)
        every = {number: score for score, number in expected}
        asked = [rng.randint(-2, len(rows) + 3) for _ in range(5)]
        assert index.scores(query, asked).tolist() == pytest.approx([every.get(n, 0) for n in asked], rel=1e-6)
        for _, number in expected[:2]:
            assert index.terms(query, number) == pytest.approx(fts5.terms(query, number), rel=1e-9)


@pytest.mark.parametrize("word", WORDS_OF_MANY_SCRIPTS)
def test_a_phrase_is_one_token_or_a_pair_of_characters_without_spaces(word):
    for phrase in phrases(word):
        pieces = phrase.strip('"').split(" ")
        (found,) = [tokenizer(WORDS).tokens([phrase])]
        assert len(found.of(0)) == len(pieces) <= 2


def test_what_the_tokenizers_make_of_texts():
    found = tokenizer(WORDS).tokens(["Running, runs!", "", "crème\x00brûlée ran"])
    assert [found.of(text) for text in range(3)] == [[b"run", b"run"], [], [b"creme", b"brule", b"ran"]]
    assert tokenizer(EXACT_WORDS).tokens(["Running"]).of(0) == [b"running"]
    assert tokenizer(WORDS).tokens([]).starts.tolist() == [0]


def test_common_words_are_looked_up_only_where_they_matter(monkeypatch):
    """The rare words decide, so few of the common ones' 4,000 postings are read, and least in the later parts."""
    rng = random.Random(3)
    rows = [(n, "", " ".join(["the a of", *rng.choices([f"w{m}" for m in range(300)], k=5)])) for n in range(1, 4_001)]
    index = KeywordIndex([(part, None) for part in cut(rows, 3_000, 3_100, 3_200, 3_300, 3_400, 3_500, 3_600)])
    read_rows = []
    original = bm25._Scan._contribution

    def counted(self: object, one: object, some: np.ndarray, counts: np.ndarray) -> np.ndarray:
        read_rows.append(len(some))
        return original(self, one, some, counts)

    monkeypatch.setattr(bm25._Scan, "_contribution", counted)
    expected = Fts5(rows)
    for query in ("the w1 of a w2 w3", "the w5", "a of w7 w7"):
        read_rows.clear()
        assert same(found(index, query, 5), expected.search(query)[:5])
        assert sum(read_rows) < 500  # of 12,000 of the three common words; 1,449 if parts do not share what they know


def test_texts_are_analyzed_some_at_a_time(rows, monkeypatch):
    monkeypatch.setattr(postings, "CHARACTERS_AT_ONCE", 1_000)
    left = iter(rows)
    first = next(postings._parts(left))
    assert sum(len(title) + len(text) for _, title, text in rows[: len(first.passages) - 1]) < 1_000
    assert next(left)[0] == int(first.passages[-1]) + 1


def plain_bm25(words: dict[int, list[str]], query: list[str]) -> list[tuple[float, int]]:
    """Return scores by the formula, best first."""
    mean = sum(map(len, words.values())) / len(words)
    scores = dict.fromkeys(words, 0.0)
    for word in query:
        n = sum(word in own for own in words.values())
        idf = max(1e-6, math.log((len(words) - n + 0.5) / (n + 0.5)))
        for number, own in words.items():
            count = own.count(word)
            scores[number] += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(own) / mean))
    return sorted(((score, number) for number, score in scores.items() if score), key=lambda one: (-one[0], one[1]))


def test_ties_come_by_number_also_where_k_cuts_them_and_across_parts():
    words = {n: ["w1"] * (1 + n % 2) + ["w2"] * (n % 3 == 0) + ["w3"] for n in range(1, 500)}
    rows = [(n, "", " ".join(own)) for n, own in words.items()]
    index = KeywordIndex([(part, None) for part in cut(rows, 3, 400, 401)])
    for query in (["w1"], ["w1", "w2"], ["w3", "w2", "w3"], ["w1", "w2", "w3", "w1"]):
        expected = plain_bm25(words, query)
        assert len({round(score, 9) for score, _ in expected}) < 10
        for k in (0, 1, 7, 200, 498, 499, 600):
            assert same(found(index, " ".join(query), k), expected[:k])


def test_one_passage_may_have_a_word_very_often():
    words = {1: ["w1"] * 300 + ["w2"], 2: ["w1"] * 70_000, 3: ["w1", "w2"], 4: ["w3"], 5: ["w3"]}
    parts = [build([(n, "", " ".join(own))]) for n, own in words.items()]
    assert [part.counts.dtype.str for part in parts] == ["<u2", "<u4", "|u1", "|u1", "|u1"]
    for some in (parts, [merge([(part, None) for part in parts])]):
        index = KeywordIndex([(part, None) for part in some])
        assert same(found(index, "w1 w2", 9), plain_bm25(words, ["w1", "w2"]))
    assert merge([(parts[1], np.array([False])), (parts[2], None)]).counts.dtype == np.uint8


def test_a_query_as_long_as_a_book_is_that_of_fts5(rows):
    rng, index = random.Random(7), KeywordIndex([(part, None) for part in cut(rows, 150)])
    fts5 = Fts5(rows)
    for n in (MAX_QUERY_WORDS, 3 * MAX_QUERY_WORDS):
        query = " ".join(rng.choices(WORDS_OF_MANY_SCRIPTS, k=n))
        assert same(found(index, query, 20), fts5.search(query)[:20])


def test_nothing_is_found_where_nothing_is():
    for parts in ([], [build([])], [build([(1, "", ""), (2, "", "!")])], [build([(1, "", "tea")])] * 0):
        assert all(read(part.arrays()) is not None for part in parts)
        index = KeywordIndex([(part, None) for part in parts])
        for query in ("tea", "", "?!", "京都", "C++", "\ud800 a.\udfff"):
            assert found(index, query, 5) == []
            assert index.scores(query, [1, 2]).tolist() == [0, 0]
            assert index.terms(query, 1) == {}
            assert index.highest(query) >= 0
    index = KeywordIndex([(build([(1, "", "tea"), (2, "", "tea")]), np.array([False, False]))])
    assert (index.n, found(index, "tea", 5)) == (0, [])


@pytest.mark.parametrize("seed", range(4))
def test_merging_gives_what_building_gives(seed, monkeypatch):
    rng = random.Random(seed)
    rows = texts_of(rng, 300, first=7)
    monkeypatch.setattr(postings, "MERGED_AT_ONCE", 50)
    monkeypatch.setattr(postings, "CHARACTERS_AT_ONCE", rng.choice([1, 500, 2**20]))
    parts = cut(rows, *sorted(rng.choices(range(300), k=3)), 300)
    kept = [
        None if rng.random() < 0.3 else np.array([rng.random() < 0.6 for _ in part.passages], bool) for part in parts
    ]
    merged = merge(list(zip(parts, kept, strict=True)))
    flags = [
        flag
        for part, mask in zip(parts, kept, strict=True)
        for flag in ([True] * len(part.passages) if mask is None else mask)
    ]
    left = [row for row, flag in zip(rows, flags, strict=True) if flag]
    monkeypatch.undo()
    expected = build(left).arrays()
    for name, array in merged.arrays().items():
        assert array.dtype.str in postings.DTYPES[name]
        assert array.tolist() == expected[name].tolist(), name
    index, fts5 = KeywordIndex([(merged, None)]), Fts5(left)
    for query in ("the running a", "京都 北京", "C++ snake_case"):
        assert same(found(index, query, 20), fts5.search(query)[:20])


def test_arrays_are_searched_where_they_lie_in_a_file(tmp_path, rows):
    with writing_arrays(tmp_path / "words", {}) as writer:
        for name, array in build(rows).arrays().items():
            writer.add(name, array)
    file = open_arrays(tmp_path / "words", writer.digest)
    assert file is not None
    there = read({name: file.array(name) for name in postings.DTYPES})
    assert there is not None
    assert not any(array.flags.writeable for array in there.arrays().values())
    assert same(found(KeywordIndex([(there, None)]), "the 北京 C++", 9), Fts5(rows).search("the 北京 C++")[:9])


def test_threads_share_an_index(rows):
    queries = [" ".join(random.Random(n).choices(WORDS_OF_MANY_SCRIPTS, k=3)) for n in range(200)]
    fts5, index = Fts5(rows), KeywordIndex([(part, None) for part in cut(rows, 100)])
    with ThreadPoolExecutor(4) as pool:
        for query, pairs in zip(queries, pool.map(lambda query: found(index, query, 5), queries), strict=True):
            assert same(pairs, fts5.search(query)[:5])


def test_a_forked_child_analyzes_while_a_thread_of_its_parent_did():
    assert told("""
from semsearch.stores.words.tokenizer import WORDS, tokenizer
with tokenizer(WORDS)._lock:
    in_child(lambda: tokenizer(WORDS).tokens(["running"]).of(0))
""") == ["[b'run']"]


def damage(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Return an array with random bytes changed, values swapped, or a wrong length or type."""
    kind = rng.integers(5)
    if kind == 0:
        return array[: rng.integers(len(array))]
    if kind == 1:
        return np.concatenate([array, array[:1]])
    if kind == 2:
        return array.astype(rng.choice(["<f4", "<i8", "<u8", "|u1", "<u4"]))
    array = array.copy()
    if kind == 3:
        place = rng.integers(array.nbytes)
        array.view(np.uint8)[place] ^= 1 << rng.integers(8)
    else:
        one, other = rng.integers(len(array), size=2)
        array[[one, other]] = array[[other, one]]
    return array


def test_damaged_arrays_are_refused_or_answer_within_the_passages(rows):
    good, rng = build(rows[:60]).arrays(), np.random.default_rng(0)
    queries = ("the running a", "京都 北京 京", "C++ snake_case", " ".join(WORDS_OF_MANY_SCRIPTS))
    n_refused = n_read = 0
    for _ in range(600):
        name = rng.choice(list(good))
        there = read(good | {name: damage(rng, good[name])})
        if there is None:
            n_refused += 1
            continue
        n_read += 1
        index = KeywordIndex([(there, None)])
        for query in queries:
            with np.errstate(all="raise", under="ignore"):
                pairs = found(index, query, 5)
            assert {number for _, number in pairs} <= set(there.passages.tolist())
            assert all(math.isfinite(score) for score, _ in pairs)
            merge([(there, None), (there, np.ones(60, bool))])
    assert n_refused > 200
    assert n_read > 50


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows", lambda a: a + 60),
        ("rows", lambda a: a[::-1]),
        ("rows", lambda a: a * 0),
        ("counts", lambda a: a * 0),
        ("starts", lambda a: a + 1),
        ("starts", lambda a: a[::-1]),
        ("starts", lambda a: np.where(np.arange(len(a)) == 0, np.uint64(2**64 - 1), a)),
        ("starts", lambda a: np.where(np.arange(len(a)) == 5, np.uint64(2**64 - 1), a)),
        ("term_ends", lambda a: np.where(np.arange(len(a)) == 5, np.uint64(2**64 - 1), a)),
        ("term_ends", lambda a: a[:-1]),
        ("terms", lambda a: a[::-1]),
        ("terms", lambda a: a * 0),
        ("passages", lambda a: a[::-1]),
        ("lengths", lambda a: a[1:]),
        ("peaks", lambda a: a * np.nan),
        ("peaks", lambda a: a + 2),
        ("counts", lambda a: a.reshape(1, -1)),
        ("counts", lambda a: a.astype(np.float32)),
    ],
)
def test_impossible_arrays_are_refused(rows, name: str, change: Callable[[np.ndarray], np.ndarray]):
    good = build(rows[:60]).arrays()
    assert read(good) is not None
    assert read(good | {name: change(good[name])}) is None
    assert read({key: array for key, array in good.items() if key != name}) is None


def test_checking_arrays_reads_across_the_parts_it_takes_at_a_time(rows, monkeypatch):
    monkeypatch.setattr(postings, "AT_ONCE", 3)
    good = build(rows[:60]).arrays()
    assert read(good) is not None
    for place in range(1, 40):
        wrong = good["rows"].copy()
        wrong[place] = wrong[place - 1] if place not in good["starts"] else 60
        assert read(good | {"rows": wrong}) is None


def test_terms_are_checked_beyond_their_first_bytes():
    words = ["a", "ab", "abcdefgh", "abcdefghi", "abcdefghij" * 3, "abcdefghij" * 3 + "k", "b" * 16, "b" * 17]
    good = build([(1, "", " ".join(words))]).arrays()
    assert read(good) is not None
    for first in range(len(words) - 1):
        terms = [word.encode() for word in words]
        terms[first], terms[first + 1] = terms[first + 1], terms[first]
        swapped = {"terms": b"".join(terms), "term_ends": np.cumsum([len(term) for term in terms])}
        twice = {"terms": b"".join([terms[first]] * 8), "term_ends": np.arange(1, 9) * len(terms[first])}
        for wrong in (swapped, twice):
            arrays = {
                "terms": np.frombuffer(wrong["terms"], np.uint8),
                "term_ends": wrong["term_ends"].astype(np.uint64),
            }
            assert read(good | arrays) is None
