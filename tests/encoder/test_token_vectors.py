"""Tests for token vectors: they are transformers' hidden states, with the character offsets of their tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from fakes import modules

from semsearch import Encoder, WordHashEncoder
from semsearch.errors import UsageError

TEXTS = ["A heron waits, by the water.", "", "Größe: naïve 水!", "Fish. " * 90, "one"]
RUNTIMES = ("openvino", "torch")

Make = Callable[..., Path]


@torch.inference_mode()
def hidden_states(folder: str | Path, text: str, length: int) -> np.ndarray:
    """Compute the last layer's hidden states of a text with transformers."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
    ids = tokenizer(text, truncation=True, max_length=length, return_tensors="pt")["input_ids"]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    return model(ids).last_hidden_state[0].numpy()


def load(model: object, runtime: str = "torch", **settings) -> Encoder:
    return Encoder.load(model, **{"runtime": runtime, "precision": "float32", "device": "cpu", **settings})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_they_are_the_hidden_states_of_transformers(checkpoint: Make, runtime: str) -> None:
    folder = checkpoint()
    tokens = load(folder, runtime, pooler="mean").encode_document_tokens(TEXTS)
    for text, found in zip(TEXTS, tokens, strict=True):
        expected = hidden_states(folder, text, 64)
        assert found.vectors.dtype == np.float32
        assert len(found.offsets) == len(found.vectors)
        np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_mean_of_them_is_the_vector_of_the_default_model(runtime: str) -> None:
    encoder = load(None, runtime)
    means = np.array([one.vectors.mean(0) for one in encoder.encode_query_tokens(TEXTS)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), means, rtol=0, atol=1e-5)


def pieces(text: str, offsets: np.ndarray) -> list[str]:
    return [text[start:end] for start, end in offsets.tolist() if start >= 0]


def test_each_has_its_characters_of_the_text(checkpoint: Make) -> None:
    tokens = load(checkpoint(), pooler="mean").encode_document_tokens(TEXTS)
    assert pieces(TEXTS[0], tokens[0].offsets) == ["A", "heron", "waits", ",", "by", "the", "water", "."]
    assert "".join(pieces(TEXTS[2], tokens[2].offsets)) == TEXTS[2].replace(" ", "")
    assert [one.offsets[0].tolist() for one in tokens] == [[-1, -1]] * 5  # [CLS]
    assert [one.offsets[-1].tolist() for one in tokens] == [[-1, -1]] * 5  # [SEP], even of the truncated text
    assert tokens[1].offsets.shape == (2, 2)
    assert len(tokens[3].vectors) == 64


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("pooled", [True, False])
def test_a_prefix_is_nowhere_in_the_text(checkpoint: Make, runtime: str, pooled: bool) -> None:
    files = {
        "modules.json": modules("Transformer", "Pooling"),
        "1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": pooled},
    }
    encoder = load(checkpoint(files=files), runtime, passage_prefix="find this: ", normalize=False)
    (tokens,) = encoder.encode_document_tokens(["a heron"])
    assert pieces("a heron", tokens.offsets) == ["a", "heron"]
    assert len(tokens.offsets) == (7 if pooled else 3)  # [CLS] find this : only if pooled; [SEP] always
    np.testing.assert_allclose(tokens.vectors.mean(0), encoder.encode_document("a heron"), rtol=0, atol=1e-5)
    (query,) = encoder.encode_query_tokens(["a heron"])
    assert len(query.offsets) == 4


def test_what_makes_no_sense_is_refused(checkpoint: Make) -> None:
    encoder = load(checkpoint(), pooler="mean")
    assert encoder.encode_document_tokens([]) == []
    with pytest.raises(UsageError, match="`texts` is the string 'a heron'"):
        encoder.encode_document_tokens("a heron")


def test_hashed_words_are_one_component_each() -> None:
    encoder = WordHashEncoder(65_536)
    (tokens,) = encoder.encode_document_tokens(["Grey, grey heron!"])
    assert pieces("Grey, grey heron!", tokens.offsets) == ["Grey", "grey", "heron"]
    assert np.abs(tokens.vectors).sum(1).tolist() == [1, 1, 1]
    assert (tokens.vectors @ tokens.vectors.T).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    summed = tokens.vectors.sum(0) / np.linalg.norm(tokens.vectors.sum(0))
    np.testing.assert_allclose(encoder.encode_document("Grey, grey heron!"), summed, atol=1e-6)
    (empty,) = encoder.encode_query_tokens([""])
    assert empty.vectors.shape == (0, 65_536)
    assert empty.offsets.shape == (0, 2)
