"""Tests for token contributions: they sum to the vector, and agree with hand values and transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import tiny_checkpoint
from oracles import forward
from safetensors.torch import save_file
from test_pooling import NAMES, TEXTS, poison

from semsearch import Encoder, WordHashEncoder
from semsearch.encoder.token_states import TokenStates
from semsearch.errors import ModelError, UnsupportedError, UsageError
from semsearch.poolers import POOLERS, parse_pooler

SPLIT = [name for name in NAMES if "pooler-output" not in name]


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=1e-5, rtol=1e-5)


def test_every_pooler_but_the_head_splits():
    assert {name for name in NAMES if parse_pooler(name).split is None} == {"pooler-output", "top2+pooler-output"}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", SPLIT)
def test_the_tokens_of_real_states_sum_to_the_vector_and_padding_brings_nothing(name: str, side: str):
    states, pooler = forward(TEXTS, side), parse_pooler(name)
    assert pooler.split
    parts = pooler.split(poison(states, np.inf))
    assert parts.shape == (len(TEXTS), states.mask.shape[1], 384 * pooler.width)
    close(parts.sum(1), pooler.pool(states))
    assert not parts[states.mask == 0].any()


BY_HAND = {  # the hidden state of layer l (0 to 3) at real token p (1 to 4) is 10 l + p
    "cls": [31, 0, 0, 0],
    "mean": [31 / 4, 32 / 4, 33 / 4, 34 / 4],
    "max": [0, 0, 0, 34],
    "mean-sqrt-len": [31 / 2, 32 / 2, 33 / 2, 34 / 2],
    "weighted-mean": [31 / 10, 64 / 10, 99 / 10, 136 / 10],
    "last": [0, 0, 0, 34],
    "first-last": [21 / 4, 22 / 4, 23 / 4, 24 / 4],
    "embedding-last": [16 / 4, 17 / 4, 18 / 4, 19 / 4],
    "top2": [26 / 4, 27 / 4, 28 / 4, 29 / 4],
    "layer:1+last": [0, 0, 0, 14],
}


def test_every_pooler_that_splits_has_an_answer_by_hand():
    assert {name for name, pooler in POOLERS.items() if pooler.split} == BY_HAND.keys() - {"layer:1+last"}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", BY_HAND)
def test_states_equal_to_their_position_split_into_answers_in_the_head(name: str, side: str):
    padding, real = [0, 0, 0], [1, 2, 3, 4]
    row = torch.tensor(padding + real if side == "left" else real + padding, dtype=torch.float32)
    layers = tuple((10 * layer + row)[None, :, None].expand(1, 7, 2) for layer in range(4))
    split = parse_pooler(name).split
    assert split
    parts = split(TokenStates(layers[-1], (row > 0).long()[None], layers))
    expected = padding + BY_HAND[name] if side == "left" else BY_HAND[name] + padding
    close(parts[0], np.repeat(np.array(expected, float)[:, None], 2, 1))


def test_each_component_of_the_maximum_belongs_to_the_token_that_wins_it():
    states = torch.tensor([[[1.0, -5.0, 2.0], [3.0, -4.0, 2.0], [9.0, 9.0, 9.0]]])
    parts = POOLERS["max"].split(TokenStates(states, torch.tensor([[1, 1, 0]])))
    assert parts.tolist() == [[[0, 0, 2], [3, -4, 0], [0, 0, 0]]]


# --- encoders


@pytest.mark.parametrize("name", ["mean", "max", "cls+mean"])
def test_an_encoder_splits_into_the_tokens_of_plain_transformers(name: str):
    encoder = Encoder.load(pooler=name, runtime="torch", device="cpu", warn_of_pooler=False)
    for text, parts in zip(TEXTS[:2], encoder.split_documents(TEXTS[:2]), strict=True):
        h = forward((text,)).last[0].numpy()
        if name == "mean":
            close(parts.vectors, h / len(h))
        pooled = parts.offset + parts.vectors.sum(0)
        close(pooled / np.linalg.norm(pooled), encoder.encode_document(text))
        assert not parts.offset.any()
        assert parts.n_lost == 0


def test_tokens_have_the_places_of_their_characters(minilm: Encoder):
    text = "Größe 北京 x"
    (parts,) = minilm.split_documents([text])
    assert [span.token for span in parts.spans if span.special] == ["[CLS]", "[SEP]"]
    own = [span for span in parts.spans if not span.special]
    assert [text[span.start : span.end] for span in own] == [span.token for span in own]
    assert "".join(span.token for span in own) == text.replace(" ", "")


@pytest.mark.parametrize("pools", [True, False])
def test_a_prefix_stands_before_the_text_and_brings_what_is_pooled_of_it(tmp_path: Path, pools: bool):
    files = {"1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": pools}}
    files["modules.json"] = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]  # type: ignore[assignment]
    folder = tiny_checkpoint(tmp_path / "model", files=files)
    encoder = Encoder.load(folder, passage_prefix="find this: ", runtime="torch", device="cpu")
    (parts,) = encoder.split_documents(["a heron"])
    close(unit(parts), encoder.encode_document("a heron"))
    before = [span.start < 0 for span in parts.spans]
    assert before == [False, True, True, True, False, *[False] * (len(before) - 5)]  # [CLS] find this : a …
    assert parts.vectors[before].any() == pools


def unit(parts: Any) -> np.ndarray:
    pooled = parts.offset + parts.vectors.sum(0)
    return pooled / np.linalg.norm(pooled)


def test_what_stands_behind_the_limit_is_lost_and_counted(checkpoint: Callable[..., Path]):
    encoder = Encoder.load(checkpoint(), "mean", max_tokens=8, runtime="torch", device="cpu", warn_of_pooler=False)
    text = "one two three four five six seven eight nine"
    (parts,) = encoder.split_documents([text])
    assert [span.token for span in parts.spans] == ["[CLS]", *text.split()[:6], "[SEP]"]
    assert parts.n_lost == 3
    close(unit(parts), encoder.encode_document(text))


def test_the_first_components_alone_are_split_where_dim_keeps_no_more(minilm: Encoder):
    short = Encoder.load(dim=7, runtime="torch", device="cpu")
    (whole,), (first,) = minilm.split_documents(TEXTS[:1]), short.split_documents(TEXTS[:1])
    close(first.vectors, whole.vectors[:, :7])


def dense_checkpoint(folder: Path, activation: str) -> Path:
    """Create a checkpoint with mean pooling and a Dense module from 32 to 8 dimensions."""
    kinds = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_P", "type": "sentence_transformers.models.Pooling"},
    ]
    files: dict[str, Any] = {
        "modules.json": [*kinds, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}],
        "1_P/config.json": {"word_embedding_dimension": 32, "pooling_mode": "mean"},
        "2_Dense/config.json": {"in_features": 32, "out_features": 8, "activation_function": activation},
    }
    torch.manual_seed(1)
    made = tiny_checkpoint(folder, files=files)
    weights = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
    save_file(weights, made / "2_Dense/model.safetensors")
    return made


def test_a_linear_layer_splits_and_its_bias_is_the_offset(tmp_path: Path):
    encoder = Encoder.load(
        dense_checkpoint(tmp_path / "model", "torch.nn.modules.linear.Identity"), runtime="torch", device="cpu"
    )
    (parts,) = encoder.split_documents(["a heron"])
    assert np.abs(parts.offset).min() > 1e-3
    close(unit(parts), encoder.encode_document("a heron"))


def test_what_is_not_linear_is_refused_in_a_line(tmp_path: Path):
    encoder = Encoder.load(dense_checkpoint(tmp_path / "model", "torch.nn.Tanh"), runtime="torch", device="cpu")
    with pytest.raises(UnsupportedError, match="cannot be split exactly: a Dense module with Tanh follows"):
        encoder.split_documents(["a heron"])
    encoder = Encoder.load(pooler="pooler-output", runtime="torch", device="cpu", warn_of_pooler=False)
    with pytest.raises(UnsupportedError, match="'pooler-output' cannot be split exactly"):
        encoder.split_documents(["a heron"])


def test_another_checkpoint_in_its_place_is_not_taken_for_it(checkpoint: Callable[..., Path], tmp_path: Path):
    folder = checkpoint()
    encoder = Encoder.load(folder, "mean", runtime="torch", device="cpu", warn_of_pooler=False)
    tiny_checkpoint(folder, seed=1)
    with pytest.raises(ModelError, match="has changed since it was loaded"):
        encoder.split_documents(["a heron"])


def test_words_that_are_hashed_split_and_keep_their_places():
    text = "İstanbul heron, HERON ς"
    encoder = WordHashEncoder(512)
    (parts,) = encoder.split_documents([text])
    close(unit(parts), encoder.encode_document(text))
    assert [text[span.start : span.end] for span in parts.spans][-3:] == ["heron", "HERON", "ς"]
    (parts,) = WordHashEncoder(512, max_tokens=2).split_documents(["one two three"])
    assert ([span.token for span in parts.spans], parts.n_lost) == (["one", "two"], 1)
    (parts,) = encoder.split_documents(["…"])
    assert (list(parts.spans), parts.vectors.shape) == ([], (0, 512))


@pytest.mark.parametrize("texts", ["one string", [1], None])
def test_what_are_no_texts_are_refused(minilm: Encoder, texts: Any):
    for encoder in (minilm, WordHashEncoder(8)):
        with pytest.raises(UsageError):
            encoder.split_documents(texts)
