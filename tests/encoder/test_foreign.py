"""Tests for `ForeignEncoder`, which another program computes: here, functions with known results stand in for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semsearch import Index
from semsearch.encoder.foreign import BATCH, ForeignEncoder
from semsearch.errors import MismatchError, ModelError, UnsupportedError, UsageError

Rows = list[list[float]]


def letters(texts: list[str]) -> Rows:
    """Count the letters a, b and c in each text."""
    return [[float(text.count(letter)) for letter in "abc"] for text in texts]


def backwards(texts: list[str]) -> Rows:
    return [row[::-1] for row in letters(texts)]


def test_queries_and_passages_go_to_their_functions_and_come_back_as_unit_rows():
    encoder = ForeignEncoder("letters", backwards, letters)
    assert encoder.encode_documents(["aaac", "b"]).tolist() == [
        pytest.approx([3 / 10**0.5, 0, 1 / 10**0.5]),
        [0, 1, 0],
    ]
    assert encoder.encode_queries(["a"]).tolist() == [[0, 0, 1]]
    assert encoder.encode_queries([]).shape == (0, 3)
    assert encoder.encode_queries(["xyz"]).tolist() == [[0, 0, 0]]
    assert encoder.encode_documents(["a"]).dtype == np.float32


def test_many_texts_go_in_batches_and_are_told():
    sizes: list[int] = []

    def counted(texts: list[str]) -> Rows:
        sizes.append(len(texts))
        return letters(texts)

    told: list[int] = []
    encoder = ForeignEncoder("letters", counted, counted)
    texts = ["ab" * (n % 3) + "c" for n in range(BATCH + 5)]
    vectors = encoder.encode_documents(texts, told.append)
    assert sizes == [1, BATCH, 5]  # the first call determines the dimension
    assert told == [BATCH, 5]
    assert np.array_equal(vectors[-1:], encoder.encode_documents(texts[-1:]))


def test_the_fingerprint_is_the_name_and_the_length():
    spec = ForeignEncoder("letters", letters, letters).spec
    assert (spec.dim, spec.model) == (3, "foreign:letters")
    assert spec.fingerprint == ForeignEncoder("letters", backwards, letters).spec.fingerprint
    assert spec.fingerprint != ForeignEncoder("others", letters, letters).spec.fingerprint
    assert spec.fingerprint != ForeignEncoder("letters", letters, lambda texts: [[1.0]] * len(texts)).spec.fingerprint


@pytest.mark.parametrize(
    "given", [[], [[]], [[1.0], [2.0]], [1.0], None, [["x"]], [[1.0, [2.0]]]], ids=lambda given: repr(given)
)
def test_an_answer_that_is_no_vector_for_each_text_is_one_line(given):
    with pytest.raises(ModelError, match=r"model 'broken' returned .* for 1 texts; expected a vector for each"):
        ForeignEncoder("broken", lambda texts: given, lambda texts: given).encode_documents(["a"])


def test_vectors_of_another_length_are_refused():
    grown = ForeignEncoder("broken", lambda texts: [[1.0]] * len(texts), letters)
    with pytest.raises(ModelError, match="returned vectors of length 1 and 3; expected one length"):
        grown.encode_queries(["a"])
    with pytest.raises(UsageError, match="no 8-bit form"):
        grown.quantize(["a"])
    with pytest.raises(UnsupportedError, match="the contributions of its tokens are unknown"):
        grown.split_documents(["a"])


def test_an_index_is_built_searched_and_refused_to_others(tmp_path: Path):
    encoder = ForeignEncoder("letters", letters, letters, max_words=20)
    with Index.open(tmp_path / "i", create=True, encoder=encoder) as index:
        index.add([{"_id": "1", "text": "aaa"}, {"_id": "2", "text": "abc " * 50}])
        assert [hit.doc_id for hit in index.search("a", mode="dense")] == ["1", "2"]
        assert index.status()["passages"] > 4  # a passage has at most 20 words
        told = [index.explain("aaa", index.search("aaa", 1, mode=mode))[0] for mode in ("keyword", "dense")]
        assert told[0].keyword
        assert "the contributions of its tokens are unknown" in str(told[1].dense)
    with pytest.raises(MismatchError, match="weights foreign:letters, not foreign:others"):
        Index.open(tmp_path / "i", encoder=ForeignEncoder("others", letters, letters))
    with Index.open(tmp_path / "i") as index:
        assert [hit.doc_id for hit in index.search("aaa", mode="keyword")] == ["1"]
        with pytest.raises(
            ModelError, match="vectors of another program's model, 'letters'; open it from that program"
        ):
            index.search("a")
