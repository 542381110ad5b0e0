"""Tests for many poolers over one pass, against plain transformers and sentence-transformers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fakes import modules, tiny_checkpoint
from safetensors.numpy import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from semsearch import Encoder, EncoderSpec, PoolingWarning
from semsearch.encoder.pooling import SIMCSE_NAMES
from semsearch.errors import ModelError, UsageError
from semsearch.evaluation import VectorCache
from semsearch.evaluation import multi_pooler as many
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.poolers import POOLERS
from semsearch.transforms import unit_rows

pytestmark = pytest.mark.usefixtures("one_thread", "reference")

Make = Callable[..., Path]

TEXTS = ["A heron waits in the reeds.", "x", "bread " * 40, "", "咖啡"]

LAYERS = range(5)
"""Layers of a tiny checkpoint: the embeddings and four more."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny"))


@cache
def plain(model: str) -> tuple[Any, Any]:
    """Load the tokenizer and the backbone with transformers."""
    return transformers.AutoTokenizer.from_pretrained(model), transformers.BertModel.from_pretrained(model).eval()


def hidden_states(model: str, text: str) -> list[np.ndarray]:
    """Compute each layer's hidden states of one text with plain transformers, `[tokens, hidden]`."""
    tokenizer, bert = plain(model)
    with torch.inference_mode():
        ids = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        return [layer[0].numpy() for layer in bert(**ids, output_hidden_states=True).hidden_states]


def alone(model: str, pooler: str, **wishes: Any) -> Encoder:
    """Load an encoder with this pooler only, ignoring the warning about an undeclared pooler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoolingWarning)
        return Encoder.load(model, pooler, device="cpu", **wishes)


# --- choice of poolers


def test_a_star_is_every_layer_from_the_embeddings_to_the_last(model: str):
    encoder = MultiPooler.load(model, ["layer:*+mean", "max", "layer:*+cls"], device="cpu")
    assert encoder.n_layers == 4
    assert encoder.names == (
        *(f"layer:{layer}+mean" for layer in LAYERS),
        "max",
        *(f"layer:{layer}+cls" for layer in LAYERS),
    )
    together = encoder.encode_documents(TEXTS)
    for row, text in enumerate(TEXTS):
        states = hidden_states(model, text)
        np.testing.assert_allclose(together["max"][row], states[-1].max(0), atol=1e-5)
        for layer in LAYERS:
            np.testing.assert_allclose(together[f"layer:{layer}+mean"][row], states[layer].mean(0), atol=1e-5)
            np.testing.assert_allclose(together[f"layer:{layer}+cls"][row], states[layer][0], atol=1e-5)


def test_every_layer_is_what_an_encoder_with_that_pooler_gives(model: str):
    for name, rows in MultiPooler.load(model, ["layer:*+mean"], device="cpu").encode_documents(TEXTS).items():
        vectors = alone(model, name).encode_documents(TEXTS)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(unit_rows(rows), vectors, atol=1e-6, err_msg=name)


def test_a_star_may_stand_in_both_parts_of_a_concatenation(model: str):
    encoder = MultiPooler.load(model, ["layer:*+cls+layer:*+mean"], device="cpu")
    assert encoder.names == tuple(f"layer:{layer}+cls+layer:{layer}+mean" for layer in LAYERS)
    states = hidden_states(model, TEXTS[0])
    for layer, rows in enumerate(encoder.encode_documents(TEXTS[:1]).values()):
        np.testing.assert_allclose(rows[0], np.concatenate([states[layer][0], states[layer].mean(0)]), atol=1e-5)


def test_a_name_given_twice_is_one_row_and_two_names_for_one_pooler_are_two(model: str):
    encoder = MultiPooler.load(model, ["mean", "mean", "layer:-1+mean", "layer:*+mean", "layer:2+mean"], device="cpu")
    assert encoder.names == ("mean", "layer:-1+mean", *(f"layer:{layer}+mean" for layer in LAYERS))
    vectors = encoder.encode_documents(TEXTS)
    assert vectors["mean"].tobytes() == vectors["layer:-1+mean"].tobytes() == vectors["layer:4+mean"].tobytes()


def test_what_comes_along_stands_last_and_never_twice(model: str):
    encoder = MultiPooler.load(model, ["max", "layer:1+cls"], device="cpu", also=["layer:*+cls", "max"])
    assert encoder.names == ("max", "layer:1+cls", *(f"layer:{layer}+cls" for layer in (0, 2, 3, 4)))
    assert encoder.also == encoder.names[2:]
    assert tuple(encoder.encode_documents(["a"])) == encoder.names


def test_what_comes_along_and_cannot_be_had_is_left_out_without_a_word(checkpoint: Make):
    encoder = MultiPooler.load(str(checkpoint(head=False)), ["mean"], also=["pooler-output", "layer:9+cls", "cls"])
    assert (encoder.names, encoder.also, encoder.refused) == (("mean", "cls"), ("cls",), {})


def test_simcse_s_names_are_read_as_simcse_reads_them_beside_ours_that_come_along(model: str):
    poolers = ["all", "layer:-2+avg", "cls_before_pooler+avg"]
    encoder = MultiPooler.load(model, poolers, simcse_names=True, device="cpu", also=["layer:0+cls"])
    ours = {
        **SIMCSE_NAMES,
        "layer:-2+avg": "layer:-2+mean",
        "cls_before_pooler+avg": "cls+mean",
        "layer:0+cls": "layer:0+cls",
    }
    assert {name: spec.pooler for name, spec in encoder.specs.items()} == ours
    bert = plain(model)[1]
    states = [torch.from_numpy(layer) for layer in hidden_states(model, TEXTS[0])]
    with torch.inference_mode():  # as in SimCSE's models.py, for one text without padding
        theirs = {
            "cls": bert.pooler(states[-1][None])[0],
            "cls_before_pooler": states[-1][0],
            "avg": states[-1].mean(0),
            "avg_first_last": ((states[1] + states[-1]) / 2).mean(0),
            "avg_top2": ((states[-1] + states[-2]) / 2).mean(0),
            "layer:-2+avg": states[-2].mean(0),
            "cls_before_pooler+avg": torch.cat([states[-1][0], states[-1].mean(0)]),
            "layer:0+cls": states[0][0],
        }
    vectors = encoder.encode_documents(TEXTS[:1])
    assert vectors.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_allclose(vectors[name][0], expected, atol=1e-5, err_msg=name)


# --- refusals


def test_each_refused_pooler_has_its_reason_and_one_good_one_is_enough(checkpoint: Make):
    folder = str(checkpoint(head=False))
    names = ["pooler-output", "layer:5+mean", "layer:-6+cls", "mean+pooler-output", "cls"]
    encoder = MultiPooler.load(folder, names, device="cpu")
    assert (encoder.names, list(encoder.refused)) == (("cls",), names[:-1])
    assert f"{folder!r} has no weights for it" in encoder.refused["pooler-output"]
    assert encoder.refused["layer:5+mean"] == (
        "pooler 'layer:5+mean' reads layer 5, but this model has layers 0 to 4 (or -5 to -1)"
    )
    assert "reads layer -6" in encoder.refused["layer:-6+cls"]
    assert "'mean+pooler-output'" in encoder.refused["mean+pooler-output"]


def test_where_all_are_refused_every_reason_is_said(checkpoint: Make):
    with pytest.raises(
        ModelError, match=r"no requested pooler is available for this checkpoint: .*own head.*; .*reads layer 7"
    ):
        MultiPooler.load(str(checkpoint(head=False)), ["pooler-output", "layer:7+mean"], also=["cls"], device="cpu")


def test_the_same_refused_pooler_twice_over_is_still_an_error(checkpoint: Make):
    files = {
        "modules.json": modules("Transformer", "Dense"),
        "1_Dense/config.json": {"out_features": 3, "activation_function": "torch.nn.modules.linear.Identity"},
    }
    folder = checkpoint(files=files)
    save_file({"linear.weight": np.zeros((3, 32), np.float32)}, folder / "1_Dense/model.safetensors")
    with pytest.raises(ModelError, match=r"takes vectors of length 32, but pooler 'layer:0.* gives 64"):
        MultiPooler.load(str(folder), ["layer:*+cls+mean", "layer:1+cls+mean"], device="cpu")


@pytest.mark.parametrize(
    ("names", "simcse_names", "said"),
    [
        (["mean", "average"], False, "unknown pooler 'average'"),
        (["mean", ""], False, "unknown pooler ''"),
        (["layer:*"], False, "names a layer but no pooler for it"),
        (["layer:*+first-last"], False, "has fixed layers"),
        (["layer:x+mean"], False, "needs a whole number"),
        (["mean"], True, "unknown pooler 'mean'.*avg_first_last"),
        (["avg"], False, "unknown pooler 'avg'"),
    ],
)
def test_an_unknown_name_fails_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, names: list[str], simcse_names: bool, said: str
):
    monkeypatch.setattr(many, "open_checkpoint", lambda name: pytest.fail("a checkpoint was opened"))
    with pytest.raises(UsageError, match=said):
        MultiPooler.load("nowhere", names, simcse_names=simcse_names)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"max_tokens": 7}, "`max_tokens` must be at least 8 and at most 64 for this model, got 7"),
        ({"max_tokens": 65}, "`max_tokens` must be at least 8 and at most 64 for this model, got 65"),
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"device": "gpux"}, "device 'gpux' is not usable here"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_as_by_an_encoder(model: str, wishes: dict[str, Any], said: str):
    for load in (lambda **more: Encoder.load(model, "mean", **more), lambda **more: MultiPooler.load(model, **more)):
        with pytest.raises(UsageError, match=said):
            load(**{"device": "cpu", **wishes})


def test_a_declared_prefix_that_leaves_no_room_is_refused(checkpoint: Make):
    files = {"config_sentence_transformers.json": {"prompts": {"query": "one two three four five six seven: "}}}
    with pytest.raises(UsageError, match="takes 10 of 8 tokens, which leaves no room for a text"):
        MultiPooler.load(str(checkpoint(files=files)), ["mean"], max_tokens=8)


# --- specs, prefixes, linear layers


PREFIXES = {"prompts": {"query": "query: ", "passage": "passage: "}}

DECLARING: dict[str, dict[str, Any]] = {
    "nothing": {},
    "cls": {"1_Pooling/config.json": {"pooling_mode": "cls"}},
    "prefixes": {
        "1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": False},
        "config_sentence_transformers.json": PREFIXES,
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": True},
    },
}


@pytest.mark.parametrize(
    ("declaring", "wishes"),
    [("nothing", {}), ("cls", {"precision": "bfloat16"}), ("prefixes", {}), ("prefixes", {"max_tokens": 16})],
)
def test_specs_are_those_of_an_encoder_that_does_not_rescale(checkpoint: Make, declaring: str, wishes: dict[str, Any]):
    folder = str(checkpoint(files=DECLARING[declaring]))
    names = [*POOLERS, "layer:2+cls", "cls+layer:0+max"]
    encoder = MultiPooler.load(folder, names, device="cpu", **wishes)
    assert encoder.declared == {"nothing": None, "cls": "cls", "prefixes": "mean"}[declaring]
    assert list(encoder.specs) == names
    for name, spec in encoder.specs.items():
        assert isinstance(spec, EncoderSpec)
        assert not spec.normalize
        assert replace(spec, normalize=True) == alone(folder, name, **wishes).spec
    assert encoder.spec == encoder.specs["cls"]
    assert len({spec.fingerprint for spec in encoder.specs.values()}) == len(names)


@pytest.mark.parametrize("pools_prefix", [True, False])
def test_queries_and_passages_have_their_own_prefixes(checkpoint: Make, pools_prefix: bool):
    pooling = {"pooling_mode": "mean", "include_prompt": pools_prefix}
    folder = str(checkpoint(files={"1_Pooling/config.json": pooling, "config_sentence_transformers.json": PREFIXES}))
    encoder = MultiPooler.load(folder, ["mean", "layer:1+mean"], device="cpu")
    found = {"query: ": encoder.encode_queries(TEXTS[:2]), "passage: ": encoder.encode_documents(TEXTS[:2])}
    for prefix, vectors in found.items():
        for row, text in enumerate(TEXTS[:2]):
            states = hidden_states(folder, prefix + text)
            skip = 0 if pools_prefix else 3  # [CLS], the word, the colon
            np.testing.assert_allclose(vectors["mean"][row], states[-1][skip:].mean(0), atol=1e-5)
            np.testing.assert_allclose(vectors["layer:1+mean"][row], states[1][skip:].mean(0), atol=1e-5)


def test_linear_layers_stand_behind_the_declared_pooler_alone(checkpoint: Make, tmp_path: Path):
    torch.manual_seed(1)
    parts = [Transformer(str(checkpoint())), Pooling(32, "mean")]
    dense = [Dense(32, 48, activation_function=torch.nn.GELU()), Dense(48, 8)]
    SentenceTransformer(modules=[*parts, *dense], device="cpu").save(str(tmp_path / "saved"))
    encoder = MultiPooler.load(str(tmp_path / "saved"), ["cls", "mean", "max", "layer:-1+mean"], device="cpu")
    assert encoder.declared == "mean"
    assert {name: spec.dim for name, spec in encoder.specs.items()} == {
        **{"cls": 32, "mean": 8, "max": 32},
        "layer:-1+mean": 8,  # another name for `mean`
    }
    assert len({spec.weights for spec in encoder.specs.values()}) == 2
    vectors = encoder.encode_documents(TEXTS)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(vectors["mean"], theirs, atol=1e-5)
    for mode in ("cls", "max"):
        plain = SentenceTransformer(modules=[parts[0], Pooling(32, mode)], device="cpu")
        np.testing.assert_allclose(vectors[mode], plain.encode(TEXTS), atol=1e-5)


def test_linear_layers_of_a_checkpoint_that_declares_no_pooler_stand_behind_each_that_fits(checkpoint: Make):
    files = {
        "modules.json": modules("Transformer", "Dense"),
        "1_Dense/config.json": {"out_features": 3, "activation_function": "torch.nn.modules.linear.Identity"},
    }
    folder = checkpoint(files=files)
    weight = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
    save_file({"linear.weight": weight}, folder / "1_Dense/model.safetensors")
    encoder = MultiPooler.load(str(folder), ["mean", "cls+mean", "cls"], device="cpu")
    assert encoder.names == ("mean", "cls")
    assert "takes vectors of length 32, but pooler 'cls+mean' gives 64" in encoder.refused["cls+mean"]
    states = hidden_states(str(folder), TEXTS[0])[-1]
    vectors = encoder.encode_documents(TEXTS[:1])
    np.testing.assert_allclose(vectors["mean"][0], weight @ states.mean(0), atol=1e-5)
    np.testing.assert_allclose(vectors["cls"][0], weight @ states[0], atol=1e-5)


# --- many texts


SMALLEST = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


@pytest.mark.parametrize("cached", [False, True])
def test_more_texts_than_one_window_keep_their_order_and_progress_adds_up(
    checkpoint: Make, tmp_path: Path, cached: bool
):
    folder = str(checkpoint(**SMALLEST))
    texts = [f"{number} {'word ' * (number % 5)}" for number in range(5_000)]
    texts[4_500] = texts[7]  # a copy in another window
    texts[4_600] = texts[4_601]
    with VectorCache(tmp_path / "vectors") as kept:
        encoder = MultiPooler.load(folder, ["mean", "cls+max"], device="cpu", cache=kept if cached else None)
        told: list[int] = []
        vectors = encoder.encode_documents(texts, told.append)
        assert sum(told) == len(texts)
        picked = [0, 7, 4_095, 4_096, 4_500, 4_600, 4_601, 4_999]
        singly = [encoder.encode_documents([texts[row]]) for row in picked]
        for name, rows in vectors.items():
            assert (rows.shape, rows.dtype) == ((5_000, encoder.specs[name].dim), np.float32)
            np.testing.assert_allclose(rows[picked], [one[name][0] for one in singly], atol=1e-5)
        for row in (4_095, 4_096):
            np.testing.assert_allclose(vectors["mean"][row], hidden_states(folder, texts[row])[-1].mean(0), atol=1e-5)
        assert len(np.unique(vectors["mean"], axis=0)) > 4_900
        cache = 1 + len(picked) if cached else 0  # 4,500 and its copy are in different windows, unlike 4,600
        assert encoder.counts["from the cache"] == cache
        assert encoder.counts["repeated"] == 1
        assert encoder.counts.total() == len(texts) + len(picked)
        if cached:
            told.clear()
            again = encoder.encode_documents(texts, told.append)
            assert sum(told) == len(texts)
            assert all(again[name].tobytes() == rows.tobytes() for name, rows in vectors.items())


def test_no_texts_give_an_empty_matrix_for_each_pooler(model: str):
    told: list[int] = []
    for vectors in (
        MultiPooler.load(model, ["mean", "cls+mean"], device="cpu").encode_queries([], told.append),
        MultiPooler.load(model, ["mean", "cls+mean"], device="cpu").encode_documents([], told.append),
    ):
        assert {name: (rows.shape, rows.dtype) for name, rows in vectors.items()} == {
            "mean": ((0, 32), np.float32),
            "cls+mean": ((0, 64), np.float32),
        }
    assert sum(told) == 0


def test_a_declared_length_cuts_the_vectors_of_the_declared_pooler_alone(checkpoint: Make):
    files = {"modules.json": modules("Transformer", "Pooling"), "1_Pooling/config.json": {"pooling_mode": "max"}}
    files["1_Pooling/config.json"]["embedding_dimension"] = 32
    folder = str(checkpoint(files={**files, "config_sentence_transformers.json": {"truncate_dim": 12}}))
    vectors = MultiPooler.load(folder, ["max", "cls"], device="cpu", precision="float32").encode_documents(["a heron"])
    expected = SentenceTransformer(folder, device="cpu").encode(["a heron"])
    assert expected.shape == (1, 12)
    np.testing.assert_allclose(vectors["max"], expected, atol=1e-5)
    assert vectors["cls"].shape == (1, 32)
