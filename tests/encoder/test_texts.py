"""Tests for the inputs of encoders: one text or a list of texts, and a one-line error for anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import load_encoder, tiny_checkpoint

from semsearch import Encoder, WordHashEncoder
from semsearch.encoder.checkpoints.locate import canonical_name
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.errors import UsageError
from semsearch.evaluation import MultiPooler

pytestmark = pytest.mark.usefixtures("one_thread", "reference")

TEXTS = ["A heron waits.", "", "Fish."]

WRONG = {
    "a heron": "`texts` is the string 'a heron'; expected a list of strings",
    b"a heron": "`texts` has a value of type int at position 0",
    5: "`texts` is of type int; expected a list of strings",
    None: "`texts` is of type NoneType; expected a list of strings",
    frozenset(TEXTS): "`texts` is of type frozenset; expected a list of strings",
    ("a", "b", 3): r"`texts` has a value of type int at position 2 \(from 0\); expected only strings",
    (None,): "`texts` has a value of type NoneType at position 0",
    (("a",),): "`texts` has a value of type tuple at position 0",
    ("ä", "b\ud800"): r"`texts` has 'b\\ud800' at position 1 \(from 0\), which is not valid Unicode",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def encoders(folder: Path) -> list:
    several = MultiPooler.load(folder, ["mean"], device="cpu", runtime="torch")
    return [Encoder.load(folder, "mean", device="cpu", runtime="torch"), WordHashEncoder(64), several]


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("role", ["encode_queries", "encode_documents"])
def test_what_is_no_list_of_texts_is_refused_by_every_encoder(encoders, role, given):
    for encoder in encoders:
        with pytest.raises(UsageError, match=WRONG[given]) as error:
            getattr(encoder, role)(given)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [["a heron"], 5, None, b"a heron"])
@pytest.mark.parametrize("role", ["encode_query", "encode_document"])
def test_one_text_is_a_string(encoders, role, given):
    for encoder in encoders[:2]:
        with pytest.raises(UsageError, match=f"`text` is of type {type(given).__name__}; expected one string"):
            getattr(encoder, role)(given)


@pytest.mark.parametrize("texts", [tuple(TEXTS), np.array(TEXTS), [np.str_(text) for text in TEXTS]])
def test_any_sequence_of_strings_is_a_list_of_texts(encoders, texts):
    for encoder in encoders[:2]:
        np.testing.assert_array_equal(encoder.encode_documents(texts), encoder.encode_documents(TEXTS))
    np.testing.assert_array_equal(*(encoders[2].encode_queries(each)["mean"] for each in (texts, TEXTS)))


def test_the_vector_of_one_text_is_its_row_with_the_prefix_of_its_role(folder):
    prefixed = Encoder.load(folder, "mean", query_prefix="find: ", passage_prefix="read: ")
    plain = Encoder.load(folder, "mean")
    for text in TEXTS:
        for vector, expected in (
            (prefixed.encode_query(text), plain.encode_documents(["find: " + text])[0]),
            (prefixed.encode_document(text), plain.encode_documents(["read: " + text])[0]),
        ):
            assert (vector.shape, vector.dtype) == ((32,), np.float32)
            np.testing.assert_allclose(vector, expected, atol=1e-6)
    words = WordHashEncoder(65_536)
    assert float(words.encode_query("grey heron") @ words.encode_document("white heron")) == pytest.approx(0.5)


def test_a_model_is_a_string_or_a_path(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    expected = Encoder.load(str(folder), "mean").spec
    for model in (folder, Path(folder.name), str(folder)):
        assert Encoder.load(model, "mean").spec == load_encoder(model=model, pooler="mean").spec == expected
        assert MultiPooler.load(model, ["mean"]).spec.model == open_checkpoint(model).name == str(folder)
        assert canonical_name(model) == str(folder)
    assert load_encoder(model=Path("tiny"), base=expected).spec == expected


@pytest.mark.parametrize("model", [5, b"model", ["model"]])
def test_a_model_of_another_type_is_refused(model):
    for load in (Encoder.load, MultiPooler.load, open_checkpoint, lambda model: load_encoder(model=model)):
        with pytest.raises(UsageError, match=f"`model` is of type {type(model).__name__}; expected a local directory"):
            load(model)


def test_an_encoder_shows_itself_in_one_line(folder, minilm):
    name = "sentence-transformers/all-MiniLM-L6-v2"
    assert repr(minilm) == f"Encoder({name!r}, pooler='mean', dim=384, precision='float32', runtime='torch')"
    whitened = Encoder.load(folder, "cls", transform="whiten:8", runtime="openvino", precision="float32")
    shown = "pooler='cls', dim=32, transform='whiten:8', precision='float32', runtime='openvino'"
    assert repr(whitened) == f"Encoder({str(folder)!r}, {shown})"
    assert repr(WordHashEncoder(64)) == "WordHashEncoder(dim=64, max_tokens=256)"


def test_words_have_no_8_bits():
    with pytest.raises(UsageError, match="model 'hash:64' has no 8-bit form; omit `precision`"):
        WordHashEncoder(64).quantize(TEXTS)
    assert dict(WordHashEncoder(64).artifacts) == {}
