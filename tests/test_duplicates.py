"""Grouping of hits with nearly the same passage, checked against a comparison of all pairs, and with real texts."""

import random
import re
from importlib.metadata import distributions
from itertools import combinations
from pathlib import Path

import pytest
from fakes import index_corpus

from semsearch import Hit, Index, WordHashEncoder
from semsearch.cli import hits as shown
from semsearch.duplicates import SAME_TEXT, distinct, group_similar
from semsearch.errors import UsageError

ENCODER = WordHashEncoder(256)

POEM = " ".join(f"{word}{number}" for number in range(20) for word in ("reed", "pond", "bank"))


def hit(doc_id: str, text: str, title: str = "", rank: int = 1) -> Hit:
    return Hit(rank, doc_id, 1.0 / rank, title, text, 0, len(text), {})


def grouped(*texts: str, titles: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the groups of hits with these texts, whose ids are their numbers."""
    found = [hit(str(n), text, titles[n] if titles else "", n + 1) for n, text in enumerate(texts)]
    return [(one.doc_id, *one.similar) for one in group_similar(found)]


def triples(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[n : n + 3]) for n in range(len(words) - 2)}


def jaccard(one: str, other: str) -> float:
    return len(triples(one) & triples(other)) / len(triples(one) | triples(other))


# --- Which texts are alike


@pytest.mark.parametrize(
    "pair",
    [
        ("Chapter 1", "Chapter 2"),
        ("Introduction to Chapter 1", "Introduction to Chapter 2"),
        ("Dear Mr Smith, we meet on 3 May at noon.", "Dear Mr Jones, we meet on 3 May at noon."),
        ("C", "C++"),
        ("The heron waits.", "The heron waits. It is patient."),
        (POEM, " ".join(POEM.split()[:39])),
        (" ".join(POEM.split()[:38]) + " 2024", " ".join(POEM.split()[:38]) + " 2025"),
        ("第1章 鹭在芦苇中等待", "第2章 鹭在芦苇中等待"),
        ("", "x"),
    ],
)  # fmt: skip
def test_short_texts_that_differ_are_apart(pair):
    assert grouped(*pair) == [("0",), ("1",)]


@pytest.mark.parametrize(
    "pair",
    [
        ("Chapter 1", "Chapter \n 1"),
        (POEM, " ".join(POEM.split()[:40])),
        (POEM, POEM.upper().replace(" ", "\n")),
        (POEM, "A heading comes first.\n\n" + POEM),
        (POEM + " " + POEM[::-1], POEM),
        (POEM.replace("reed7", "2024"), POEM.replace("reed7", "2025")),
        (f"{'鹭在芦苇中等待，河水很冷。' * 5}2024", f"{'鹭在芦苇中等待，河水很冷。' * 5}2025"),
    ],
)
def test_texts_that_are_nearly_the_same_are_one_hit(pair):
    assert grouped(*pair) == grouped(*reversed(pair)) == [("0", "1")]


def test_short_texts_with_other_titles_are_apart():
    assert grouped("Not in stock.", "Not in stock.", titles=("Hat", "Scarf")) == [("0",), ("1",)]
    assert grouped(POEM, POEM, titles=("Hat", "Scarf")) == [("0", "1")]


def test_the_best_stays_with_its_score_and_the_others_move_up():
    first, second = group_similar([hit("a", POEM, rank=1), hit("b", POEM, rank=2), hit("c", "x", rank=3)])
    assert (first.rank, first.doc_id, first.score, first.similar) == (1, "a", 1.0, ("b",))
    assert (second.rank, second.doc_id, second.score, second.similar) == (2, "c", 1 / 3, ())


def test_a_document_is_not_similar_to_itself_and_is_named_once():
    found = group_similar([hit("a", POEM), hit("a", POEM), hit("b", POEM), hit("b", POEM)])
    assert [one.similar for one in found] == [("b",)]


def test_groups_are_those_of_a_comparison_of_all_pairs():
    pick = random.Random(3)
    base = [f"w{n}" for n in range(150)]
    texts = []
    for _ in range(120):
        words = list(base[: pick.choice((60, 100, 150))]) if pick.random() < 0.7 else pick.sample(base, 80)
        for _ in range(pick.randint(0, 3)):
            words[pick.randrange(len(words))] = f"v{pick.randrange(40)}"
        texts.append(" ".join(words))
    alike = {
        (one, other)
        for one, other in combinations(range(len(texts)), 2)
        if jaccard(texts[one], texts[other]) >= SAME_TEXT
        or triples(texts[one]) <= triples(texts[other])
        or triples(texts[other]) <= triples(texts[one])
    }
    expected: list[tuple[str, ...]] = []
    for number in range(len(texts)):
        at = next((n for n, group in enumerate(expected) if (int(group[0]), number) in alike), None)
        if at is None:
            expected.append((str(number),))
        else:
            expected[at] += (str(number),)
    assert 20 < len(expected) < 80  # so that there is something to find, and something to tell apart
    assert grouped(*texts) == expected


def test_texts_with_the_same_words_alone_are_dropped_for_chatbots():
    found = distinct([hit("a", "x y"), hit("b", "x\ny"), hit("c", POEM), hit("d", f"{POEM}!")])
    assert [one.doc_id for one in found] == ["a", "c", "d"]


# --- In an index


def licenses() -> dict[str, str]:
    """Return the license texts of installed packages by file; many are the same but for a name and a year."""
    found: dict[str, str] = {}
    for package in distributions():
        for file in package.files or ():
            path = Path(str(file.locate()))
            if re.match(r"(?i)licen[cs]e|copying", path.name) and path.is_file() and path.stat().st_size < 30_000:
                found[str(file)] = path.read_text("utf-8", "replace").replace("\0", "")
    return dict(sorted(found.items()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("duplicates") / "index"
    corpus = [{"_id": name, "text": text} for name, text in licenses().items() if len(text.split()) > 60]
    corpus += [{"_id": f"chapter {n}", "text": f"Chapter {n} about herons", "year": 2000 + n} for n in range(30)]
    index_corpus(folder, corpus, ENCODER)
    return folder


QUERIES = ["permission is hereby granted, free of charge", "redistribution in binary form", "grant of patent license"]


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
@pytest.mark.parametrize("query", QUERIES)
def test_real_licenses_are_grouped_and_nothing_is_lost(folder, query, mode):
    with Index.open(folder, encoder=ENCODER) as index:
        every = index.search(query, 1_000, mode=mode)
        found = index.search(query, 5, mode=mode, group=True)
    scores = {one.doc_id: (one.score, one.text) for one in every}
    assert found[0].doc_id == every[0].doc_id
    assert all(one.score == pytest.approx(scores[one.doc_id][0], abs=1e-5) for one in found)
    if query == "grant of patent license" and mode != "dense":  # the Apache License, which many packages carry
        assert sum(len(one.similar) for one in found) >= 3
    for one, other in combinations(found, 2):
        assert jaccard(one.text, other.text) < SAME_TEXT
    for one in found:
        for similar in one.similar:
            text = scores[similar][1]
            inside = triples(text) <= triples(one.text) or triples(one.text) <= triples(text)
            assert inside or jaccard(one.text, text) >= SAME_TEXT
    listed = {name for one in found for name in (one.doc_id, *one.similar)}
    last = [one.doc_id for one in every].index(found[-1].doc_id)
    if mode != "hybrid":  # which considers more documents the more hits are asked for
        assert listed >= {one.doc_id for one in every[: last + 1]}


def test_chapters_are_apart_and_filters_apply_and_off_is_as_before(folder):
    with Index.open(folder, encoder=ENCODER) as index:
        found = index.search("chapter about herons", 10, where="year >= 2000", group=True)
        assert [one.similar for one in found] == [()] * 10
        assert [one.doc_id for one in found] == [one.doc_id for one in index.search("chapter about herons", 10)]
        assert all(one.similar == () for one in index.search(QUERIES[0], 10))
        with pytest.raises(UsageError, match="`group` is 'yes'; expected True or False"):
            index.search("herons", group="yes")


@pytest.mark.parametrize("rerank", [None, "reversed"])
def test_behind_many_copies_there_are_still_k_hits(tmp_path, rerank):
    class Reversed:
        kind = "reversed"
        first_share = 0.0

        def scores(self, query, passages):
            return [float(len(text)) for text in passages]

    texts = [f"{POEM} heron"] * 200 + [f"a heron {n}" for n in range(5)]
    index_corpus(tmp_path / "index", [{"_id": f"{n:03}", "text": text} for n, text in enumerate(texts)], ENCODER)
    options = {"rerank": Reversed()} if rerank else {}
    with Index.open(tmp_path / "index", encoder=ENCODER) as index:
        (found, other) = index.search_many([f"{POEM} heron", "a heron 3"], 4, mode="dense", group=True, **options)
        assert (len(found), len(other)) == (4, 4)
        assert sorted((found[0].doc_id, *found[0].similar)) == [f"{n:03}" for n in range(200)]


# --- On screen


def test_a_hit_in_a_pipe_and_on_a_terminal_names_those_like_it(capsys, monkeypatch):
    (one,) = group_similar([hit(f"d{n}", POEM) for n in range(13)])
    shown.show("heron", [one])
    assert capsys.readouterr().out.splitlines()[1].split("\t")[-1] == ", ".join(f"d{n}" for n in range(1, 13))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown.show("heron", [one])
    told = " ".join(re.sub("\x1b[^m]*m", "", capsys.readouterr().out).split())
    assert told.endswith("and 12 more like it: d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, …")
