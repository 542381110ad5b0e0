"""Tests for pseudo-queries: small documents worked out by hand, and invariants on real corpora."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semsearch import Document, read_corpus
from semsearch.errors import SourceError, UsageError
from semsearch.evaluation.pseudo_queries import PseudoTask, TaskCounts, make_pseudo_tasks, split_sentences, standing_in

SAMPLE = Path(__file__).parents[2] / "corpora" / "sample"

HERON = (
    "A bird stands still in the shallow water for hours. ",
    "It strikes at fish with a speed that no eye can follow. ",
    "Cold.",
)
BREAD = (
    "Mix flour, water and salt until no dry spots are left. ",
    "Wait a day, e.g. in the fridge, and bake it until it is brown.\n\n",
    "Good.",
)
TEA = (
    "泡绿茶的水不要烧到沸腾，八十度左右最合适。",
    "第一泡的茶汤颜色很淡，味道却是最鲜的！",
    "茶叶放在阴凉干燥的地方，可以保存半年。",
)


def document(sentences: tuple[str, ...], title: str = "", doc_id: str = "") -> Document:
    return Document(doc_id or title, "".join(sentences), title)


def pairs_of(task: PseudoTask) -> list[tuple[str, str]]:
    return [(query, task.passages[source]) for query, source in zip(task.queries, task.sources, strict=True)]


def all_pairs(documents, **wishes) -> dict[str, list[tuple[str, str]]]:
    tasks, _ = make_pseudo_tasks(documents, **wishes)
    return {task.name: pairs_of(task) for task in tasks}


def squeezed(text: str) -> str:
    return "".join(text.split())


def plain(text: str) -> str:
    return " ".join(text.casefold().split())


def words(n: int, k: int = 3) -> tuple[str, ...]:
    """Return the k sentences of document n, each of 60 characters or more and in no other document."""
    return tuple(f"Bird number {n} sat on the old wall {m} times and then it sang out loud. " for m in range(k))


# --- tasks


def test_the_three_tasks_of_two_documents():
    tasks, report = make_pseudo_tasks([document(HERON, "Patient hunters"), document(BREAD, "A slow loaf")])
    heron, bread = "".join(HERON), "".join(BREAD)
    # "Cold." and "Good." are too short to be queries; taking out another sentence leaves too short a passage.
    assert tasks == [PseudoTask("title", ("Patient hunters", "A slow loaf"), (heron, bread), (0, 1))]
    assert (report.documents, report.sampled) == (2, 2)
    assert report.tasks == {
        "title": TaskCounts(passages=2, queries=2, repeated=0, ambiguous=0),
        "sentence": TaskCounts(0, 0, 0, 0),
        "first": TaskCounts(0, 0, 0, 0),
    }


def test_a_sentence_is_taken_out_and_the_rest_stays_as_it_was():
    more = "Nobody knows how it sees them below the glittering surface."
    tail = "Butter and a little salt are all that it needs on the table."
    found = all_pairs([document((*HERON, more), "Patient hunters"), document((*BREAD, "\n", tail), "A slow loaf")])
    assert found["title"][1] == ("A slow loaf", f"{''.join(BREAD)}\n{tail}")
    assert found["first"] == [
        (HERON[0].strip(), f"{HERON[1]}Cold.{more}"),  # punctuation without white space does not end a sentence
        (BREAD[0].strip(), f"{BREAD[1]}Good.\n{tail}"),
    ]
    heron, bread = found["sentence"]
    assert heron in [(HERON[1].strip(), f"{HERON[0]}Cold.{more}"), (f"Cold.{more}", f"{HERON[0]}{HERON[1]}".strip())]
    assert bread in [
        (BREAD[1].strip(), f"{BREAD[0]}Good.\n{tail}"),
        (tail, f"{BREAD[0]}{BREAD[1]}Good."),
    ]


def test_chinese_sentences_need_no_white_space():
    other = tuple(sentence.replace("茶", "咖啡") for sentence in TEA)
    found = all_pairs([document(TEA, "泡茶"), document(other, "煮咖啡")])
    assert found["title"] == [("泡茶", "".join(TEA)), ("煮咖啡", "".join(other))]
    assert found["first"] == [(TEA[0], TEA[1] + TEA[2]), (other[0], other[1] + other[2])]
    assert found["sentence"][0] in [(TEA[1], TEA[0] + TEA[2]), (TEA[2], TEA[0] + TEA[1])]


def test_a_heading_that_repeats_the_title_is_in_no_passage():
    notes = [document((f"Notes  of day {n}\n\n", *words(n)), f"notes of Day {n}") for n in range(2)]
    bare = [document(words(n), f"notes of Day {n}") for n in range(2)]
    assert all_pairs(notes) == all_pairs(bare) | {"sentence": all_pairs(notes)["sentence"]}  # a different random draw
    assert all_pairs(notes)["title"][1] == ("notes of Day 1", "".join(words(1)).strip())


def test_a_first_sentence_that_is_the_title_is_no_query_for_itself():
    texts = [words(n, 4) for n in range(2)]
    found = all_pairs([document(text, text[0]) for text in texts])
    assert found["title"][0] == (texts[0][0].strip(), "".join(texts[0][1:]).strip())
    assert found["first"][0] == (texts[0][1].strip(), "".join(texts[0][2:]).strip())


@pytest.mark.parametrize(("max_chars", "n_sentences"), [(199, 1), (200, 2), (299, 2), (1000, 10), (9999, 20)])
def test_a_long_document_is_cut_between_sentences(max_chars: int, n_sentences: int):
    texts = [
        tuple(f"{letter}{n} {'sat ' * 22}there. ".rjust(100, "X") for letter in "ABCDEFGHIJKLMNOPQRST") for n in "12"
    ]
    assert {len(sentence) for text in texts for sentence in text} == {100}
    found = all_pairs([document(text, f"Title {n}") for n, text in enumerate(texts)], max_chars=max_chars)
    assert [passage for _, passage in found["title"]] == ["".join(text[:n_sentences]).strip() for text in texts]


def test_a_wide_character_takes_the_room_of_four():
    long = [document(tuple(f"第{n}{m}次，{TEA[0]}" for m in range(9)), f"茶{n}") for n in range(2)]
    passages = make_pseudo_tasks(long, max_chars=300)[0][0].passages
    # A sentence of 2 digits and 24 wide characters counts as 98, so three of them fit into 300.
    assert passages[0] == "".join(f"第0{m}次，{TEA[0]}" for m in range(3))


def test_a_text_without_sentences_is_cut_where_the_room_ends():
    found = all_pairs([Document(str(n), f"{n} " * 900, f"Number {n}") for n in range(2)], max_chars=150)
    assert found == {"title": [(f"Number {n}", f"{n} " * 74 + f"{n}") for n in range(2)]}


# --- dropped queries


@pytest.mark.parametrize(
    ("texts", "queries", "counts"),
    [
        ([("Wall", 0), ("Owls", 1), ("Tits", 2)], ("Owls", "Tits"), (3, 2, 1, 0)),  # its own text contains it
        ([("number  2 SAT", 0), ("Owls", 1), ("Tits", 2)], ("Owls", "Tits"), (3, 2, 1, 0)),  # another text contains it
        ([("Owls", 0), ("Tits", 1), ("oWLS ", 2), ("Wren", 3)], ("Tits", "Wren"), (4, 2, 0, 2)),
        ([("Wall", 0), ("Owls", 1), ("wall", 2), ("Wren", 3)], ("Owls", "Wren"), (4, 2, 2, 0)),
        ([("loud.Bird", 0), ("Owls", 1)], ("loud.Bird", "Owls"), (2, 2, 0, 0)),  # no match across passages
        ([("Owls", 0), ("Tits", 0), ("Wren", 1)], ("Owls", "Wren"), (2, 2, 0, 0)),  # equal texts are used once
    ],
)
def test_a_title_that_does_not_decide_is_dropped_and_its_passage_stays(texts, queries, counts):
    tasks, report = make_pseudo_tasks([document(words(n), title) for title, n in texts])
    assert report.tasks["title"] == TaskCounts(*counts)
    assert tasks[0].queries == queries
    assert tasks[0].passages == tuple("".join(words(n)).strip() for n in dict.fromkeys(n for _, n in texts))
    number = dict(texts)
    assert pairs_of(tasks[0]) == [(query, "".join(words(number[query])).strip()) for query in queries]


def test_a_sentence_that_stands_twice_is_dropped():
    boilerplate = "This page was printed from the archive of the bird society.\n\n"
    documents = [document((boilerplate, *words(n)), "", str(n)) for n in range(4)]
    twice = document((words(5)[0], *words(5)), "", "5")
    _, report = make_pseudo_tasks([*documents, twice, document(words(6)), document(words(7))])
    # Four documents share the boilerplate as their query, and the fifth repeats its own first sentence.
    assert report.tasks["first"] == TaskCounts(passages=7, queries=2, repeated=1, ambiguous=4)


def test_passages_that_read_the_same_have_no_query():
    documents = [document((words(n)[0], *words(9)), "", str(n)) for n in (1, 2)] + [document(words(n)) for n in (3, 4)]
    _, report = make_pseudo_tasks(documents)
    assert report.tasks["first"] == TaskCounts(passages=4, queries=2, repeated=0, ambiguous=2)


def test_near_duplicates_give_no_query_that_the_other_answers():
    documents = [document((*words(1, 6), f"Copy {n}."), "", str(n)) for n in range(2)]
    _, report = make_pseudo_tasks([*documents, document(words(3)), document(words(4))])
    assert report.tasks["sentence"].queries == 2
    assert report.tasks["first"].ambiguous == 2


# --- unusable documents


@pytest.mark.parametrize(
    "text", ["", " \n ", "Short.", "A text of one sentence that has no title but is otherwise long"]
)
def test_documents_without_use_are_met_and_not_sampled(text: str):
    useless = [Document(str(n), text) for n in range(5)]
    _, report = make_pseudo_tasks([*useless, document(words(1)), *useless, document(words(2))], sample=2)
    assert (report.documents, report.sampled) == (12, 2)


def test_space_around_a_text_or_a_missing_title_makes_no_difference():
    documents = [document(words(n)) for n in range(3)]
    again = [Document(f"{document.text[:13]} again", f"\n {document.text}\n", " ") for document in documents]
    tasks, report = make_pseudo_tasks([*documents, *again])
    assert (report.documents, report.sampled, report.tasks["title"].passages) == (6, 3, 0)
    assert [task.name for task in tasks] == ["sentence", "first"]


def test_a_document_of_one_sentence_serves_for_its_title():
    tasks, report = make_pseudo_tasks([document((f"{n} {HERON[0][:-2]}, {BREAD[0]}",), f"Title {n}") for n in range(2)])
    assert [task.name for task in tasks] == ["title"]
    assert report.sampled == 2


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([], "0 documents, 0 of them used"),
        ([Document("1", "", "Owls"), Document("2", "Short.", "Tits")], "2 documents, 0 of them used"),
        ([document(words(1), "Owls")], "1 documents, 1 of them used: title 1 (and 0 that are not unique)"),
        ([document(words(1), "Owls")] * 9, "9 documents, 1 of them used"),
        ([document((*words(8), words(n, 2)[1]), "Wall") for n in range(2)], "title 0 (and 2 that are not unique)"),
    ],
)
def test_too_few_queries_are_one_clear_line(documents, found):
    with pytest.raises(SourceError) as caught:
        make_pseudo_tasks(documents)
    message = str(caught.value)
    assert found in message
    assert "expected at least 2 of a kind" in message
    assert "\n" not in message


@pytest.mark.parametrize("wishes", [{"sample": 1}, {"sample": -5}, {"max_chars": 119}])
def test_a_size_that_leaves_nothing_is_refused(wishes):
    with pytest.raises(UsageError, match="must be at least"):
        make_pseudo_tasks([], **wishes)


def test_half_characters_are_no_reason_to_fail():
    found = all_pairs([document((f"\ud800{words(n)[0]}", *words(n)), f"Title {n}") for n in range(2)])
    assert found["title"][0][1].startswith("\ud800Bird")


# --- sampling


@pytest.mark.parametrize("copies", [1, 30])
def test_every_text_is_sampled_equally_often_however_often_it_stands(copies: int):
    documents = [document(words(n), f"Title {n}") for n in range(20)]
    documents += documents[:1] * (copies - 1)
    met = Counter(query for seed in range(400) for query, _ in all_pairs(documents, sample=5, seed=seed)["title"])
    assert met.total() == 400 * 5
    # With 5 of 20 drawn without replacement, a count has variance 400 * 1/4 * 3/4 = 75, and their sum is constant.
    chi_square = sum((met[f"Title {n}"] - 100) ** 2 for n in range(20)) / 75 * 19 / 20
    assert chi_square < 43.82  # the 99.9th percentile with 19 degrees of freedom


def test_every_sentence_but_the_first_is_held_out_equally_often():
    documents = [document(words(n, 6), "", str(n)) for n in range(20)]
    queries = chain.from_iterable(make_pseudo_tasks(documents, seed=seed)[0][0].queries for seed in range(50))
    met = Counter(query.partition(" wall ")[2].split()[0] for query in queries)
    assert set(met) == {"1", "2", "3", "4", "5"}
    assert sum((count - 200) ** 2 / 200 for count in met.values()) < 18.47  # 99.9th percentile, 4 degrees of freedom


def test_order_decides_nothing_but_the_order():
    documents = list(read_corpus([str(SAMPLE)]))
    forward, backward = all_pairs(documents, sample=50), all_pairs(documents[::-1], sample=50)
    assert {name: pairs[::-1] for name, pairs in backward.items()} == forward
    assert all_pairs(documents, sample=50, seed=1) != forward
    position = {document.title: number for number, document in enumerate(documents)}
    order = [position[title] for title, _ in forward["title"]]
    assert order == sorted(order)


CODE = """
import hashlib, sys
from semsearch import read_corpus
from semsearch.evaluation.pseudo_queries import make_pseudo_tasks
made = make_pseudo_tasks(read_corpus([sys.argv[1]]), sample=60, seed=3)
print(hashlib.sha256(repr(made).encode()).hexdigest())
"""


def test_the_result_is_the_same_from_run_to_run():
    made = make_pseudo_tasks(read_corpus([str(SAMPLE)]), sample=60, seed=3)
    assert made == make_pseudo_tasks(read_corpus([str(SAMPLE)]), sample=60, seed=3)
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", CODE, str(SAMPLE)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == hashlib.sha256(repr(made).encode()).hexdigest()


class Tracked(Document):
    """A document that counts its live instances and their maximum."""

    alive = most = 0

    def __init__(self, *fields: str) -> None:
        super().__init__(*fields)
        Tracked.alive += 1
        Tracked.most = max(Tracked.alive, Tracked.most)

    def __del__(self) -> None:
        Tracked.alive -= 1


def test_a_large_corpus_is_not_held():
    def corpus() -> Iterator[Document]:
        for n in range(50_000):
            yield Tracked(str(n), "".join(words(n, 12)), f"Title {n}")

    tracemalloc.start()
    _, report = make_pseudo_tasks(corpus(), sample=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.documents, report.sampled) == (50_000, 100)
    assert Tracked.most <= 3
    assert peak < 2_000_000  # the texts alone have 40 million characters


# --- real corpora


def made_of(task: str, query: str, passage: str, text: str) -> bool:
    """Tell whether the text starts with the passage with its query put back; white space is already removed."""
    if task == "title":
        return text.startswith(passage)
    where = text.find(query)
    if where < 0 or (where == 0) != (task == "first"):
        return False
    return text.startswith(passage[:where] + query + passage[where:])


def check(documents: list[Document], tasks: list[PseudoTask]) -> None:
    """Assert that no query occurs in any passage, and that query and passage make up the start of a document."""
    texts = [(document.title.strip(), squeezed(document.text)) for document in documents]
    for task in tasks:
        everything = [plain(passage) for passage in task.passages]
        assert max(map(len, task.passages)) <= 1000
        for query, passage in pairs_of(task):
            assert not any(plain(query) in other for other in everything), query
            possible = [text for title, text in texts if task.name != "title" or title == query]
            assert any(made_of(task.name, squeezed(query), squeezed(passage), text) for text in possible), query


@pytest.mark.parametrize("seed", [0, 1])
def test_the_sample_corpus(seed: int):
    documents = list(read_corpus([str(SAMPLE)]))
    tasks, report = make_pseudo_tasks(documents, seed=seed)
    check(documents, tasks)
    assert (report.documents, report.sampled) == (238, 238)
    assert report.tasks["title"] == TaskCounts(238, 238, 0, 0)
    for task in tasks:
        counts = report.tasks[task.name]
        assert counts.passages == counts.queries + counts.repeated + counts.ambiguous == len(task.passages)
        assert counts.queries == len(task.queries) == len(task.sources) == len(set(task.sources)) > 200
        texts = "".join(task.queries)
        assert "。" in texts or task.name == "title"


@pytest.mark.slow
def test_cranfield(data: Path):
    documents = list(read_corpus([str(data / "cranfield")]))
    tasks, report = make_pseudo_tasks(documents)
    check(documents, tasks)
    assert (report.documents, report.sampled) == (1400, 500)
    for task in tasks:
        counts = report.tasks[task.name]
        assert counts.passages == counts.queries + counts.repeated + counts.ambiguous == len(task.passages) > 450
        assert counts.queries == len(task.queries) == len(task.sources) > 450


def test_no_title_of_cranfield_is_dropped_without_a_reason(data: Path):
    documents = [document for document in read_corpus([str(data / "cranfield")]) if document.title]
    task = make_pseudo_tasks(documents, sample=2000)[0][0]
    met = Counter(plain(document.title) for document in documents)
    everything = [plain(passage) for passage in task.passages]
    dropped = set(range(len(task.passages))) - set(task.sources)
    assert dropped
    for passage in (task.passages[number] for number in dropped):
        title = next(plain(document.title) for document in documents if document.text.strip().startswith(passage))
        assert met[title] > 1 or any(title in other for other in everything) or task.passages.count(passage) > 1


# --- sentences


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        ["One. ", "Two! ", "Three? ", "Four… ", "Five"],
        ["It has 3.5 metres, e.g. this one, i.e. that. ", "Good."],
        ["“Stop!” ", "He said (twice.) ", "And went."],
        ["Wait... what is it?! ", "Nothing..."],
        ["一。", "二！", "「三？」", "四"],
        ["version 1.2"],
        ["A heading\n\n", "a line\nthat goes on\n \n", "the end."],
        ["A list.\n\n", "lower case after a blank line\r\n\r\n", "done"],
        ["cut into words . ", "case does not matter ! ", "see"],
        ["  leading space. ", "Then"],
        ["\n\n leading lines. ", "Then"],
        ["Mixed 中文。", "English follows. ", "中文"],
        ["Ends with space.  \n"],
        [" \n "],
        ["क्या है। ", "यह है।"],
    ],
)
def test_sentences_by_hand(pieces: list[str]):
    assert split_sentences("".join(pieces)) == pieces


@given(st.text(st.sampled_from(" \n\r\t.!?…。！？\"')」aB1é中．\u2028\x1c\x85"), max_size=60) | st.text(max_size=60))
def test_pieces_joined_are_the_text_and_none_is_blank(text: str):
    pieces = split_sentences(text)
    assert "".join(pieces) == text
    assert all(piece.strip() for piece in pieces) or len(pieces) == 1
    assert not any(piece[0].isspace() for piece in pieces[1:])


SENTENCE = st.from_regex(r"[A-Z][a-z]{0,5}( [a-z0-9]{1,5}(\.[0-9]|,)?){0,4}[.!?…]", fullmatch=True)
GAP = st.sampled_from([" ", "  ", "\n", "\n\n", "\r\n"])


@given(st.lists(st.tuples(SENTENCE, GAP), max_size=6))
def test_sentences_that_were_joined_are_found_again(parts: list[tuple[str, str]]):
    pieces = [sentence + gap for sentence, gap in parts]
    assert split_sentences("".join(pieces)) == pieces


@pytest.mark.parametrize("unit", [".", "a", "\n", " ", "。", ". ", '."', ".)", "\n a", "! a ", "a\n\n", "…”\n"])
def test_a_hostile_megabyte_takes_no_longer_than_its_length(unit: str):
    text = unit * (1_000_000 // len(unit))
    begin = time.perf_counter()
    assert "".join(split_sentences(text)) == text
    assert make_pseudo_tasks([Document("x", text, "X"), *(document(words(n)) for n in range(2))])[1].documents == 3
    assert time.perf_counter() - begin < 10  # seconds; quadratic time would take hours


@given(st.lists(st.text("ab ", min_size=1, max_size=70), max_size=12), st.lists(st.text("ab ", max_size=90)))
def test_what_stands_in_a_passage_is_what_python_finds_in_it(queries: list[str], passages: list[str]):
    queries += [passage[3:60] for passage in passages if len(passage) > 3]
    assert standing_in(queries, passages) == {q for q in queries if any(q in passage for passage in passages)}


def test_looking_for_many_queries_takes_as_long_as_reading_the_passages():
    words = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(40_000)]
    passages = [f"{one} {other}" for one, other in pairwise(words)]
    begin = time.perf_counter()
    assert standing_in([word[::-1] for word in words], passages) == set()
    assert time.perf_counter() - begin < 20  # seconds; searching each query in all passages would take minutes
