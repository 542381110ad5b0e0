"""Tests for `WordHashEncoder`: its cosines can be computed by hand and are the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pytest
from fakes import load_encoder

from semsearch import TextEncoder, WordHashEncoder
from semsearch.errors import UsageError

WIDE = WordHashEncoder(65_536)  # so wide that the few words here never share a component


def cosine(a: str, b: str, encoder: WordHashEncoder = WIDE) -> float:
    first, second = encoder.encode_documents([a, b])
    return float(first @ second)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("the grey heron", "the grey heron", 1),
        ("The GREY heron!", "heron, the grey", 1),  # case, order and punctuation do not matter
        ("grey heron", "white heron", 1 / 2),
        ("one two three four", "one", 1 / 2),  # 1 / (sqrt(4) * sqrt(1))
        ("a a b", "a", 2 / np.sqrt(5)),
        ("heron", "bittern", 0),
        ("Größe", "größe", 1),
    ],
)
def test_the_cosine_is_that_of_word_counts(a: str, b: str, expected: float) -> None:
    assert cosine(a, b) == pytest.approx(expected, abs=1e-6)


def test_rows_have_length_one_and_a_text_without_words_is_zeros() -> None:
    vectors = WordHashEncoder(8).encode_documents(["a heron", "one two three four five six seven", "", " …?! "])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 0], atol=1e-6)


def test_nothing_gives_an_empty_matrix() -> None:
    for vectors in (WordHashEncoder(8).encode_queries([]), WordHashEncoder(8).encode_documents([])):
        assert vectors.shape == (0, 8)
        assert vectors.dtype == np.float32


def test_words_behind_max_tokens_are_not_seen() -> None:
    assert cosine("one two three four", "one two", WordHashEncoder(65_536, max_tokens=2)) == pytest.approx(1)


def test_a_word_adds_one_at_the_place_that_its_hash_names() -> None:
    code = int.from_bytes(blake2b(b"heron", digest_size=8).digest(), "little")
    expected = np.zeros(16)
    expected[(code // 2) % 16] = 1 if code % 2 else -1
    np.testing.assert_array_equal(WordHashEncoder(16).encode_queries(["Heron"])[0], expected)


def test_every_process_gives_the_same_vectors() -> None:
    code = "from semsearch import WordHashEncoder as E; print(E(16).encode_queries(['a grey heron waits']).tolist())"
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    ]
    assert printed[0] == printed[1]
    np.testing.assert_allclose(eval(printed[0]), WordHashEncoder(16).encode_queries(["a grey heron waits"]))


def test_progress_counts_texts() -> None:
    done: list[int] = []
    WordHashEncoder(8).encode_documents(["a", "b", "c"], done.append)
    assert sum(done) == 3


def test_the_tokenizer_counts_words_and_marks() -> None:
    encoding = WordHashEncoder(8).tokenizer.encode("A heron, waiting.")
    assert len(encoding.ids) == 5
    assert encoding.offsets == [(0, 1), (2, 7), (7, 8), (9, 16), (16, 17)]


def test_it_is_loaded_by_name_and_by_spec() -> None:
    encoder: TextEncoder = load_encoder(model="hash:32", max_tokens=12)
    assert encoder == WordHashEncoder(32, 12)
    assert load_encoder(base=encoder.spec) == encoder
    assert load_encoder(base=encoder.spec, model="hash:16") == WordHashEncoder(16)
    assert WordHashEncoder(32).spec.fingerprint != WordHashEncoder(16).spec.fingerprint


@pytest.mark.parametrize("model", ["hash:", "hash:0", "hash:65537", "hash:-3", "hash:many", "hash:1.5"])
def test_a_dimension_that_is_none_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match="expected hash:DIM with a dimension from 1 to 65536, such as hash:64"):
        load_encoder(model=model)


def test_max_tokens_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="`max_tokens` must be at least 1, got -3"):
        load_encoder(model="hash:8", max_tokens=-3)


def test_settings_that_it_does_not_have_are_refused() -> None:
    with pytest.raises(UsageError, match="'hash:8' hashes words and does not accept dim, pooler"):
        load_encoder(model="hash:8", pooler="cls", dim=4)
