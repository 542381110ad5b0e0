"""Tests for poolers against numpy over plain transformers, sentence-transformers' Pooling module and hand values."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from oracles import ORACLES, forward
from sentence_transformers.sentence_transformer.modules import Pooling

from semsearch import Encoder, PoolingWarning
from semsearch.errors import ModelError, UsageError
from semsearch.poolers import POOLERS, TokenStates, parse_pooler

pytestmark = pytest.mark.usefixtures("reference")

TEXTS = (
    "A heron waits.",
    "The grey heron stands motionless in the shallow water, and then, after many minutes, strikes at a passing fish.",
    "Who?",
    "Birds of the marsh: herons, bitterns, and rails; most are heard long before they are seen by anybody.",
)

COMPOSED = {
    "layer:0+mean": lambda h, head: h[0].mean(0),
    "layer:3+max": lambda h, head: h[3].max(0),
    "layer:6+last": lambda h, head: h[6][-1],
    "layer:-1+mean": lambda h, head: h[6].mean(0),
    "layer:-2+cls": lambda h, head: h[5][0],
    "layer:-7+weighted-mean": lambda h, head: np.average(h[0], axis=0, weights=np.arange(1, len(h[0]) + 1)),
    "cls+mean": lambda h, head: np.concatenate([h[-1][0], h[-1].mean(0)]),
    "layer:-2+mean+cls+max": lambda h, head: np.concatenate([h[5].mean(0), h[-1][0], h[-1].max(0)]),
    "max+layer:-1+mean": lambda h, head: np.concatenate([h[-1].max(0), h[-1].mean(0)]),
    "top2+pooler-output": lambda h, head: np.concatenate([((h[-1] + h[-2]) / 2).mean(0), head]),
}
NAMES = [*POOLERS, *COMPOSED]
SIDES = [  # BERT's own head always reads position 0, so it is never run with padding on the left
    pytest.param(name, side, id=f"{name}-{side}")
    for name in NAMES
    for side in ("right", "left")
    if side == "right" or "pooler-output" not in name
]
ST_MODES = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean-sqrt-len": "mean_sqrt_len_tokens",
    "weighted-mean": "weightedmean",
    "last": "lasttoken",
}


def expected_of(name: str) -> np.ndarray:
    """Run each text through the model alone, without padding, and pool with numpy."""
    oracle = {**ORACLES, **COMPOSED}[name]
    alone = [forward((text,)) for text in TEXTS]
    return np.stack([oracle([h[0].numpy() for h in s.layers], s.pooler_output[0].numpy()) for s in alone])


def poison(states: TokenStates, value: float) -> TokenStates:
    """Return the same states with every padding position set to `value`."""
    padding = (states.mask == 0).unsqueeze(-1)
    layers = tuple(layer.masked_fill(padding, value) for layer in states.layers)
    return TokenStates(states.last.masked_fill(padding, value), states.mask, layers, states.pooler_output)


def close(actual, expected) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=1e-5, rtol=1e-5)


def test_every_registered_pooler_has_an_answer_from_outside() -> None:
    assert set(ORACLES) == set(POOLERS)
    assert all(name == pooler.name and pooler.formula for name, pooler in POOLERS.items())


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_gives_what_transformers_and_numpy_give_alone_and_in_a_batch(name: str) -> None:
    declared = name in ("mean", "layer:-1+mean")
    with contextlib.nullcontext() if declared else pytest.warns(PoolingWarning, match="trained with pooler 'mean'"):
        encoder = Encoder.load(pooler=name, normalize=False, device="cpu")
    expected = expected_of(name)
    close(encoder.encode_documents(TEXTS), expected)
    close(np.concatenate([encoder.encode_queries([text]) for text in TEXTS]), expected)


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_padding_on_either_side_changes_nothing(name: str, side: str) -> None:
    close(parse_pooler(name).pool(forward(TEXTS, side)), expected_of(name))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
@pytest.mark.parametrize(("name", "side"), SIDES)
def test_what_stands_at_the_padding_never_leaks(name: str, side: str, value: float) -> None:
    close(parse_pooler(name).pool(poison(forward(TEXTS, side), value)), expected_of(name))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["cls", "max", "mean", "mean-sqrt-len", "weighted-mean", "last", "cls+mean+max"])
def test_poolers_agree_with_sentence_transformers_own_module(name: str, side: str) -> None:
    states = forward(TEXTS, side)
    module = Pooling(384, pooling_mode=tuple(ST_MODES[part] for part in name.split("+")))
    expected = module({"token_embeddings": states.last, "attention_mask": states.mask})["sentence_embedding"]
    close(parse_pooler(name).pool(states), expected)


@pytest.mark.parametrize("name", ST_MODES)
def test_a_prefix_is_left_out_as_sentence_transformers_does_it(name: str) -> None:
    states, skipped = forward(tuple(f"find this: {text}" for text in TEXTS)), 4  # [CLS] find this :
    module = Pooling(384, pooling_mode=ST_MODES[name], include_prompt=False)
    features = {"token_embeddings": states.last, "attention_mask": states.mask, "prompt_length": skipped}
    mask = states.mask.clone()
    mask[:, :skipped] = 0
    expected = module(features)["sentence_embedding"]
    close(parse_pooler(name).pool(TokenStates(states.last, mask, skipped=skipped)), expected)


BY_HAND = {  # the hidden state of layer l (0 to 3) at real token p (1 to 4) is 10 l + p
    "cls": 31,
    "pooler-output": 0.5,
    "mean": 32.5,
    "max": 34,
    "mean-sqrt-len": (31 + 32 + 33 + 34) / 2,
    "weighted-mean": (1 * 31 + 2 * 32 + 3 * 33 + 4 * 34) / 10,
    "last": 34,
    "first-last": 22.5,
    "embedding-last": 17.5,
    "top2": 27.5,
    "layer:0+max": 4,
    "layer:-2+cls": 21,
    "layer:1+last": 14,
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", [*POOLERS, "layer:0+max", "layer:-2+cls", "layer:1+last"])
def test_states_equal_to_their_position_give_answers_in_the_head(name: str, side: str) -> None:
    padding, real = [0, 0, 0], [1, 2, 3, 4]
    row = torch.tensor(padding + real if side == "left" else real + padding, dtype=torch.float32)
    layers = tuple((10 * layer + row)[None, :, None].expand(1, 7, 2) for layer in range(4))
    states = TokenStates(layers[-1], (row > 0).long()[None], layers, torch.full((1, 2), 0.5))
    close(parse_pooler(name).pool(states), [[BY_HAND[name]] * 2])


def test_the_maximum_of_negative_states_is_negative_beside_padding() -> None:
    states = torch.tensor([[[-3.0], [-2.0], [0.0]]])
    assert parse_pooler("max").pool(TokenStates(states, torch.tensor([[1, 1, 0]]))).item() == -2


def test_a_text_of_one_token_is_its_own_pool() -> None:
    states = torch.tensor([[[7.0], [99.0]]])
    for name in ST_MODES:
        assert parse_pooler(name).pool(TokenStates(states, torch.tensor([[1, 0]]))).item() == 7


def test_a_head_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="does not have"):
        parse_pooler("pooler-output").pool(TokenStates(torch.zeros(1, 1, 2), torch.ones(1, 1)))


@pytest.mark.parametrize(
    ("simcse", "ours"),
    [
        ("cls", "pooler-output"),
        ("cls_before_pooler", "cls"),
        ("avg", "mean"),
        ("avg_top2", "top2"),
        ("avg_first_last", "first-last"),
    ],
)
def test_simcse_names_mean_what_simcse_means(simcse: str, ours: str) -> None:
    assert parse_pooler(simcse, simcse_names=True) is POOLERS[ours]
    if simcse != "cls":
        with pytest.raises(UsageError, match="unknown pooler"):
            parse_pooler(simcse)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("zorg", r"unknown pooler 'zorg'; known: cls, pooler-output, mean, max, mean-sqrt-len, weighted-mean, last"),
        ("weighted_mean", "did you mean 'weighted-mean'"),
        ("Mean", "did you mean 'mean'"),
        ("cls+meen", "unknown pooler 'meen' in 'cls\\+meen'"),
        ("", "unknown pooler ''"),
        ("cls+", "unknown pooler '' in 'cls\\+'"),
        ("layer:2", "no pooler for it; write layer:N\\+NAME"),
        ("layer:two+mean", "'layer:two' needs a whole number"),
        ("layer:2+first-last", "'first-last' has fixed layers"),
        ("layer:2+pooler-output", "'pooler-output' has fixed layers"),
        ("layer:2+layer:3+mean", "unknown pooler 'layer:3'"),
    ],
)
def test_a_name_that_is_none_is_refused_with_what_to_write(name: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_pooler(name)


def test_an_unknown_simcse_name_lists_simcse_names() -> None:
    with pytest.raises(UsageError, match="known: cls, cls_before_pooler, avg, avg_top2, avg_first_last"):
        parse_pooler("mean", simcse_names=True)


@pytest.mark.parametrize(
    ("name", "n_layers", "layers"),
    [
        ("mean", 6, (6,)),
        ("first-last", 6, (1, 6)),
        ("embedding-last", 12, (0, 12)),
        ("top2", 6, (5, 6)),
        ("layer:-7+max", 6, (0,)),
        ("layer:3+cls+top2", 6, (3, 5, 6)),
        ("first-last", 1, (1,)),
    ],
)
def test_layers_count_from_the_embedding_output(name: str, n_layers: int, layers: tuple[int, ...]) -> None:
    assert parse_pooler(name).resolve_layers(n_layers) == layers


@pytest.mark.parametrize("name", ["layer:7+mean", "layer:-8+mean", "cls+layer:7+max"])
def test_a_layer_that_the_model_lacks_is_an_error_that_counts_them(name: str) -> None:
    with pytest.raises(ModelError, match=r"this model has layers 0 to 6 \(or -7 to -1\)"):
        parse_pooler(name).resolve_layers(6)


def test_the_registry_is_there_without_torch() -> None:
    code = "import sys, semsearch.encoder.pooling; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
