"""Tests for loading checkpoints: declared settings apply as in sentence-transformers, and problems are reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import modules
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from semsearch import Encoder, PoolingWarning
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.errors import UsageError

pytestmark = pytest.mark.usefixtures("reference")

TEXTS = ["A heron waits.", "Fish.", "The grey heron stands in the shallow water and strikes at a passing fish."]

Make = Callable[..., Path]


def agrees(folder: Path, **settings: Any) -> None:
    """Assert that the encoder returns the unnormalized vectors that sentence-transformers returns for the folder."""
    theirs = SentenceTransformer(str(folder), device="cpu")
    ours = Encoder.load(str(folder), normalize=False, device="cpu", **settings)
    for vectors, expected in (
        (ours.encode_queries(TEXTS), theirs.encode_query(TEXTS)),
        (ours.encode_documents(TEXTS), theirs.encode_document(TEXTS)),
    ):
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "pooler"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean-sqrt-len"),
        ({"pooling_mode": ["lasttoken"]}, "last"),
        ({"pooling_mode": ["weightedmean", "max"]}, "weighted-mean+max"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True, "pooling_mode_cls_token": True},
            "cls+max+mean",
        ),
        ({"pooling_mode_lasttoken": True, "pooling_mode_weightedmean_tokens": True}, "weighted-mean+last"),
        ({"pooling_mode_mean_sqrt_len_tokens": True, "pooling_mode_mean_tokens": False}, "mean-sqrt-len"),
        ({"pooling_mode": "max", "pooling_mode_mean_tokens": True}, "max"),
    ],
)
def test_both_pooling_schemas_are_read_as_sentence_transformers_reads_them(
    checkpoint: Make, config: dict[str, Any], pooler: str
) -> None:
    config = {"word_embedding_dimension": 32, **config}
    folder = checkpoint(files={"modules.json": modules("Transformer", "Pooling"), "1_Pooling/config.json": config})
    assert Encoder.load(str(folder)).spec.pooler == pooler
    agrees(folder)


def test_the_folders_that_modules_json_names_are_read(checkpoint: Make) -> None:
    declared = modules("Transformer", "Pooling")
    declared[0]["path"], declared[1]["path"] = "0_Transformer", "elsewhere"
    folder = checkpoint(files={"elsewhere/config.json": {"pooling_mode": "max", "embedding_dimension": 32}})
    (folder / "0_Transformer").mkdir()
    for file in [*folder.glob("*.json"), *folder.glob("*.safetensors")]:
        file.rename(folder / "0_Transformer" / file.name)
    (folder / "modules.json").write_text(json.dumps(declared))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "cls"}')  # a leftover that nothing refers to
    assert Encoder.load(str(folder)).spec.pooler == "max"
    agrees(folder)


@pytest.mark.parametrize(
    "dense",
    [
        [Dense(32, 12)],
        [Dense(32, 12, bias=False, activation_function=torch.nn.Identity())],
        [Dense(32, 48, activation_function=torch.nn.GELU()), Dense(48, 8, activation_function=None)],
    ],
    ids=["tanh", "identity-without-bias", "two"],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_a_model_with_dense_layers_agrees_with_the_one_that_saved_it(
    checkpoint: Make, tmp_path: Path, dense: list[Dense], normalize: bool
) -> None:
    torch.manual_seed(1)
    parts = [Transformer(str(checkpoint())), Pooling(32, "mean"), *dense, *([Normalize()] if normalize else [])]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "saved"))
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    ours = Encoder.load(str(tmp_path / "saved"), normalize=normalize, device="cpu")
    assert ours.spec.dim == dense[-1].out_features
    np.testing.assert_allclose(ours.encode_documents(TEXTS), theirs.encode(TEXTS), atol=1e-5)


def test_dense_layers_belong_to_the_declared_pooler(checkpoint: Make, tmp_path: Path) -> None:
    parts = [Transformer(str(checkpoint())), Pooling(32, "mean"), Dense(32, 12)]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "saved"))
    with pytest.warns(PoolingWarning, match="its Dense layers are not applied"):
        bare = Encoder.load(str(tmp_path / "saved"), "cls", normalize=False, device="cpu")
    plain = SentenceTransformer(modules=[parts[0], Pooling(32, "cls")], device="cpu")
    np.testing.assert_allclose(bare.encode_documents(TEXTS), plain.encode(TEXTS), atol=1e-5)
    assert bare.spec.weights != Encoder.load(str(tmp_path / "saved")).spec.weights


def test_the_fingerprint_covers_the_activation_of_a_dense_layer(checkpoint: Make, tmp_path: Path) -> None:
    parts = [Transformer(str(checkpoint())), Pooling(32, "mean"), Dense(32, 12)]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "saved"))
    before = Encoder.load(str(tmp_path / "saved")).spec.fingerprint
    file = tmp_path / "saved/2_Dense/config.json"
    file.write_text(file.read_text().replace("activation.Tanh", "linear.Identity"))
    assert Encoder.load(str(tmp_path / "saved")).spec.fingerprint != before


@pytest.mark.parametrize(
    ("config", "query", "passage"),
    [
        ({}, "", ""),
        ({"prompts": {}, "default_prompt_name": None}, "", ""),
        ({"prompts": {"query": "query: ", "document": "passage: "}}, "query: ", "passage: "),
        ({"prompts": {"query": "q ", "document": "d ", "passage": "p "}}, "q ", "d "),
        ({"prompts": {"query": "q ", "document": ""}}, "q ", ""),
    ],
)
def test_declared_prompts_become_prefixes_as_in_sentence_transformers(
    checkpoint: Make, config: dict[str, Any], query: str, passage: str
) -> None:
    folder = checkpoint(
        files={
            "config_sentence_transformers.json": config,
            "modules.json": modules("Transformer", "Pooling"),
            "1_Pooling/config.json": {"pooling_mode": "mean", "embedding_dimension": 32},
        }
    )
    spec = Encoder.load(str(folder)).spec
    assert (spec.query_prefix, spec.passage_prefix) == (query, passage)
    agrees(folder)
    other = Encoder.load(str(folder), query_prefix="", passage_prefix="x ").spec
    assert (other.query_prefix, other.passage_prefix) == ("", "x ")


def test_a_passage_prompt_is_the_passages_where_none_is_called_document(checkpoint: Make) -> None:
    """Compare with a call that names the prompt, because sentence-transformers does not apply it by itself."""
    files = {
        "config_sentence_transformers.json": {"prompts": {"passage": "passage: "}},
        "modules.json": modules("Transformer", "Pooling"),
        "1_Pooling/config.json": {"pooling_mode": "mean", "embedding_dimension": 32},
    }
    folder = str(checkpoint(files=files))
    expected = SentenceTransformer(folder, device="cpu").encode(TEXTS, prompt_name="passage")
    ours = Encoder.load(folder, normalize=False, device="cpu")
    np.testing.assert_allclose(ours.encode_documents(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens"])
def test_a_prompt_that_is_not_pooled_is_left_out_as_in_sentence_transformers(checkpoint: Make, mode: str) -> None:
    folder = checkpoint(
        files={
            "config_sentence_transformers.json": {"prompts": {"query": "Represent the question: ", "document": "d: "}},
            "modules.json": modules("Transformer", "Pooling"),
            "1_Pooling/config.json": {"pooling_mode": mode, "embedding_dimension": 32, "include_prompt": False},
        }
    )
    agrees(folder)


def test_a_declared_lowercasing_is_done(checkpoint: Make) -> None:
    """Use a tokenizer that keeps case, so that 'HERON' becomes [UNK] unless it is lowercased first."""
    files = {"sentence_bert_config.json": {"do_lower_case": True}, "1_Pooling/config.json": {"pooling_mode": "mean"}}
    folder = checkpoint(files=files)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    upper, lower = Encoder.load(str(folder)).encode_documents(["A HERON", "a heron"])
    np.testing.assert_allclose(upper, lower, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "tokenizer", "expected"),
    [
        ({"max_seq_length": 48}, {"model_max_length": 16}, 48),
        ({}, {"model_max_length": 16}, 16),
        ({}, {"model_max_length": 10**30}, 64),
        ({"max_seq_length": 512}, {}, 64),
        ({"max_seq_length": None}, {}, 64),
    ],
)
def test_the_declared_length_is_taken_up_to_what_the_position_table_holds(
    checkpoint: Make, settings: dict[str, Any], tokenizer: dict[str, Any], expected: int
) -> None:
    files = {"sentence_bert_config.json": settings, "tokenizer_config.json": tokenizer}
    assert open_checkpoint(str(checkpoint(files=files))).max_tokens == expected


def test_no_declaration_is_the_mean_with_a_warning(checkpoint: Make) -> None:
    with pytest.warns(PoolingWarning, match="declares no pooler; using 'mean'. Compare poolers and choose one"):
        assert Encoder.load(str(checkpoint())).spec.pooler == "mean"


def test_a_named_pooler_needs_no_declaration_and_no_warning(checkpoint: Make) -> None:
    assert Encoder.load(str(checkpoint()), "max").spec.pooler == "max"


def test_a_pooler_against_the_declared_one_is_a_warning() -> None:
    with pytest.warns(PoolingWarning, match="all-MiniLM-L6-v2 was trained with pooler 'mean', but 'cls' was requested"):
        Encoder.load(pooler="cls")


def test_a_declared_mode_that_is_unknown_stops_only_auto(checkpoint: Make) -> None:
    folder = str(checkpoint(files={"1_Pooling/config.json": {"pooling_mode": "zorg"}}))
    with pytest.raises(UsageError, match="unknown pooler 'zorg'"):
        Encoder.load(folder)
    with pytest.warns(PoolingWarning, match="trained with pooler 'zorg'"):
        Encoder.load(folder, "mean")
