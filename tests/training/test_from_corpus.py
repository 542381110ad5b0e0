"""Training pairs from documents: titles, neighbors and crops that are known by hand, and what is left out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from semsearch import Encoder, Index, WordHashEncoder
from semsearch.corpus.sources import ReadOptions
from semsearch.encoder.word_hash import word_tokenizer
from semsearch.errors import NoIndexError, RecordError, SourceError, UsageError
from semsearch.training.from_corpus import CorpusPairs, pairs_from_corpus, shares, without_title

HERON = "The heron waits in the shallow water for fish. It does not move for many minutes."
BREAD = "Flour and water and salt make a simple dough. Let it rise slowly over a night."
MOON = "The moon pulls the sea towards it every day. The tide follows twice in that time."
DOCUMENTS = [
    {"_id": "h", "title": "Heron", "text": HERON},
    {"_id": "b", "title": "Bread", "text": BREAD},
    {"_id": "m", "title": "Moon", "text": MOON},
]
"""Each text has two sentences of 8 to 10 tokens, so with at most 12 tokens each is a passage."""


def pairs(corpus: Any, *kinds: str, tokens: int = 12, **wishes: Any) -> CorpusPairs:
    return pairs_from_corpus(
        corpus, tokenizer=word_tokenizer(), kinds=kinds or ("title", "adjacent"), tokens=tokens, **wishes
    )


def told(made: CorpusPairs) -> list[tuple[str, str]]:
    return list(zip(*made.examples.columns, strict=True))


def sentences(text: str) -> tuple[str, str]:
    first, second = text.split(". ")
    return f"{first}.", second


def test_a_title_goes_with_the_first_passage_of_its_body():
    made = pairs(DOCUMENTS, "title")
    assert told(made) == [(one["title"], sentences(one["text"])[0]) for one in DOCUMENTS]
    assert (made.kinds, made.doc_ids, len(made)) == (("title",) * 3, ("h", "b", "m"), 3)
    assert (made.documents, made.passages, made.counts["title"].pairs) == (3, 6, 3)
    assert made.examples.labels is None


def test_adjacent_passages_follow_one_another_in_one_document():
    words = [f"{name} one two three four five six seven eight." for name in ("First", "Second", "Third", "Fourth")]
    made = pairs([{"_id": "1", "text": " ".join(words)}, *DOCUMENTS], "adjacent")
    assert told(made)[:3] == [(words[0], words[1]), (words[1], words[2]), (words[2], words[3])]
    assert told(made)[3:] == [sentences(one["text"]) for one in DOCUMENTS]


def test_crops_are_two_spans_of_a_passage_within_the_shares_of_its_length():
    words = [f"w{n}" for n in range(100)]
    made = pairs([{"_id": "1", "text": " ".join(words)}], "crop", tokens=128, seed=3)
    ((one, other),) = told(made)
    assert one != other
    for crop in (one, other):
        first = words.index(crop.split()[0])
        assert crop.split() == words[first : first + len(crop.split())]
        assert 10 <= len(crop.split()) <= 50


def test_crops_cover_all_lengths_and_places():
    documents = [{"_id": str(n), "text": " ".join(f"{n}x{m}" for m in range(40))} for n in range(300)]
    spans = [text.split() for pair in told(pairs(documents, "crop", tokens=64)) for text in pair]
    assert {len(span) for span in spans} == set(range(8, 21)), "at least 8 words, at most half"
    firsts, lasts = ({int(span[at].split("x")[1]) for span in spans} for at in (0, -1))
    assert (min(firsts), max(lasts)) == (0, 39)


def test_a_crop_of_a_script_without_spaces_counts_characters(minilm: Encoder):
    text = "水要热但不要开否则茶会变苦所以先等一等再倒入茶壶"
    made = pairs_from_corpus([{"_id": "1", "text": text}], tokenizer=minilm.tokenizer, kinds=["crop"])
    assert all(crop in text and 8 <= len(crop) <= 12 for crop in told(made)[0])


def test_crops_depend_on_the_seed_and_the_text_alone():
    first = told(pairs(DOCUMENTS, "crop", tokens=64, seed=1))
    assert first == told(pairs(DOCUMENTS, "crop", tokens=64, seed=1))
    assert sorted(first) == sorted(told(pairs(DOCUMENTS[::-1], "crop", tokens=64, seed=1)))
    assert first != told(pairs(DOCUMENTS, "crop", tokens=64, seed=2))


def test_what_occurs_in_three_documents_is_boilerplate():
    footer = "All rights are reserved by the authors of this page everywhere and for all times to come."
    documents = [{**one, "title": "Home", "text": f"{one['text']}\n\n{footer}"} for one in DOCUMENTS]
    made = pairs(documents, "title", "adjacent", "crop", tokens=20)
    assert made.counts["title"].boilerplate == 3
    assert made.counts["adjacent"].boilerplate == 3
    assert made.counts["crop"].boilerplate == 3
    assert not any("rights" in text or text == "Home" for pair in told(made) for text in pair)
    assert Counter(made.kinds) == {"crop": 3}


def test_a_text_in_two_documents_is_used_once():
    documents = [*DOCUMENTS, {"_id": "x", "title": "heron", "text": BREAD}]
    made = pairs(documents, "title", "adjacent")
    assert [count.repeated for count in made.counts.values()] == [1, 1]
    assert Counter(made.kinds) == {"title": 3, "adjacent": 3}


def test_copies_of_a_document_count_once():
    made = pairs([*DOCUMENTS, {**DOCUMENTS[0], "_id": "copy"}, {**DOCUMENTS[0], "_id": "again"}], "title")
    assert (made.copies, made.documents, made.doc_ids) == (2, 3, ("h", "b", "m"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grey Heron\n\nIt waits.", "It waits."),
        ("# GREY  heron.  It waits.", "It waits."),
        ("Grey herons wait.", "Grey herons wait."),
        ("Grey heron waits.", "Grey heron waits."),
        ("Grey heron", ""),
        ("The grey heron. It waits.", "The grey heron. It waits."),
    ],
)
def test_a_body_that_repeats_its_title_loses_it(text, expected):
    assert without_title(text, "Grey Heron") == expected


def test_no_pair_shares_its_title_with_its_body():
    made = pairs([{**one, "text": f"{one['title']}\n\n{one['text']}"} for one in DOCUMENTS], "title")
    assert told(made) == told(pairs(DOCUMENTS, "title"))


def test_shares_are_as_even_as_the_numbers_allow():
    assert shares({"a": 2, "b": 50, "c": 50}, 20) == {"a": 2, "b": 9, "c": 9}
    assert shares({"a": 2, "b": 3}, 100) == {"a": 2, "b": 3}
    assert sum(shares({"a": 9, "b": 9, "c": 9}, 10).values()) == 10


def test_at_most_so_many_pairs_are_drawn():
    made = pairs(DOCUMENTS, "title", "adjacent", max_pairs=4)
    every = told(pairs(DOCUMENTS, "title", "adjacent"))
    assert Counter(made.kinds) == {"title": 2, "adjacent": 2}
    assert [count.not_drawn for count in made.counts.values()] == [1, 1]
    assert told(made) == [pair for pair in every if pair in told(made)], "in the order of the corpus"
    draws = {tuple(told(pairs(DOCUMENTS, "title", "adjacent", max_pairs=4, seed=seed))) for seed in range(9)}
    assert len(draws) > 1


def test_a_file_and_an_index_give_the_same_pairs(tmp_path: Path):
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in DOCUMENTS), encoding="utf-8")
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(64)) as index:
        index.add(str(file))
        kinds = ("title", "adjacent", "crop")
        expected = told(pairs(DOCUMENTS, *kinds, tokens=64))
        for source in (file, str(file), index, tmp_path / "index", str(tmp_path / "index")):
            assert told(pairs(source, *kinds, tokens=64)) == expected


def test_other_field_names_and_bad_records(tmp_path: Path):
    file = tmp_path / "corpus.jsonl"
    file.write_text(f'{{"_id": "1", "name": "Heron", "body": "{HERON}"}}\n{{"_id": \n', encoding="utf-8")
    options = ReadOptions(text_field="body", title_field="name")
    with pytest.raises(RecordError, match=r"corpus\.jsonl:2"):
        pairs(file, "title", options=options)
    made = pairs(file, "title", options=options, skip_bad=True)
    assert (told(made), made.bad) == ([("Heron", sentences(HERON)[0])], 1)


def test_why_there_is_no_pair_is_said_for_each_kind():
    documents = [{"_id": "1", "text": "Too short."}, {"_id": "2", "title": "Only a title", "text": ""}]
    with pytest.raises(SourceError) as error:
        pairs(documents, "title", "adjacent", "crop")
    assert str(error.value) == (
        "no training pairs from the given documents: 2 documents; title (2 without a title or a body); adjacent "
        "(2 with fewer than 2 passages); crop (2 without a passage of 16 words); see `kinds`"
    )
    with pytest.raises(SourceError, match=r"3 documents; title \(3 boilerplate\)"):
        pairs([{**one, "title": "Home"} for one in DOCUMENTS], "title")


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"kinds": ["title", "body"]}, "`kinds` is 'title, body'; expected some of title, adjacent, crop"),
        ({"kinds": []}, "expected some of title"),
        ({"kinds": "title"}, "`kinds` is 'title'; expected a list"),
        ({"kinds": ["title", "title"]}, "expected each kind once"),
        ({"max_pairs": 0}, "`max_pairs` must be at least 1, got 0"),
        ({"max_pairs": 1.5}, "`max_pairs` is 1.5"),
        ({"tokens": 4}, "`tokens` is 4; expected 8 to 512"),
        ({"tokens": 128, "max_tokens": 64}, "`tokens` is 128; expected 8 to 64"),
        ({"seed": "x"}, "`seed` is 'x'"),
    ],
)
def test_invalid_arguments(wishes, said):
    with pytest.raises(UsageError, match=said):
        pairs_from_corpus(DOCUMENTS, tokenizer=word_tokenizer(), **wishes)


def test_passages_fit_an_encoder_that_reads_less_than_the_default():
    text = " ".join(f"w{n}" for n in range(200))
    made = pairs_from_corpus([{"_id": "1", "text": text}], tokenizer=word_tokenizer(), max_tokens=32)
    assert max(len(text.split()) for pair in told(made) for text in pair) <= 32


def test_sources_without_documents(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="does not exist"):
        pairs(tmp_path / "nowhere.jsonl")
    with pytest.raises(SourceError, match=r"nothing to read|no file"):
        pairs(tmp_path / "empty")
    with pytest.raises(SourceError, match="the given documents: it has no documents"):
        pairs([])
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(64)) as index:
        index.add(DOCUMENTS)
        index.delete(["h", "b", "m"])
        with pytest.raises(SourceError, match="index': it has no documents"):
            pairs(index)
    with pytest.raises(NoIndexError), Index.open(tmp_path / "other") as index:
        pairs(index)
