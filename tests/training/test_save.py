"""Checkpoints that training writes: sentence-transformers, transformers and semsearch give the same vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fakes import tiny_checkpoint
from making import SENTENCES, recipe, written
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from semsearch import Encoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.errors import ModelError
from semsearch.training import Recipe, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def ours(folder: Path, pooler: str = "auto") -> Encoder:
    return Encoder.load(str(folder), pooler, device="cpu", runtime="torch", warn_of_pooler=False)


def theirs(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def trained(tmp_path: Path, objective: str = "regression", **wishes: Any) -> Path:
    return train(recipe(tmp_path, objective, **{"learning_rate": 1e-3, **wishes}), tmp_path / "out").folder


@pytest.mark.parametrize("pooler", ["mean", "cls", "max", "mean-sqrt-len", "weighted-mean", "last", "cls+mean"])
def test_vectors_equal_those_of_sentence_transformers(tmp_path, pooler):
    folder = trained(tmp_path, pooler=pooler)
    encoder = ours(folder)
    assert encoder.spec.pooler == pooler
    before = Encoder.load(str(tmp_path / "tiny"), pooler, device="cpu", runtime="torch")
    found = encoder.encode_documents(SENTENCES)
    np.testing.assert_allclose(found, theirs(folder).encode(SENTENCES), atol=1e-6)
    assert np.abs(found - before.encode_documents(SENTENCES)).max() > 1e-3, "something was trained"


@pytest.mark.parametrize("pooler", ["first-last", "pooler-output", "layer:2+mean", "mean+cls"])
def test_a_pooler_that_only_semsearch_has_is_refused_elsewhere(tmp_path, pooler):
    folder = trained(tmp_path, pooler=pooler)
    assert ours(folder).spec.pooler == ours(folder, pooler).spec.pooler
    with pytest.raises(ValueError, match="pooling mode"):
        theirs(folder)


@pytest.mark.parametrize("mlp", ["train", "keep"])
def test_an_additional_layer_is_dropped_or_kept(tmp_path, mlp):
    folder = trained(tmp_path, "simcse-unsup", mlp=mlp)
    assert (folder / "2_Dense").exists() == (mlp == "keep")
    np.testing.assert_allclose(ours(folder).encode_documents(SENTENCES), theirs(folder).encode(SENTENCES), atol=1e-6)
    again = train(
        recipe(tmp_path, "simcse-unsup", model=str(folder), pooler="auto", learning_rate=1e-3), tmp_path / "again"
    ).folder
    assert (again / "2_Dense").exists() == (mlp == "keep"), "a declared layer is trained on and kept"
    np.testing.assert_allclose(ours(again).encode_documents(SENTENCES), theirs(again).encode(SENTENCES), atol=1e-6)


def test_prefixes_limits_and_lowercasing_are_declared(tmp_path):
    settings = {"sentence_bert_config.json": {"max_seq_length": 40, "do_lower_case": True}}
    tiny_checkpoint(tmp_path / "tiny", files=settings)
    folder = trained(tmp_path, "mnr", query_prefix="query: ", passage_prefix="passage: ", max_tokens=12)
    encoder, peer = ours(folder), theirs(folder)
    assert (encoder.spec.max_tokens, peer.max_seq_length) == (12, 12)
    long = [" ".join(SENTENCES[:5]), "SHOUTING"]
    np.testing.assert_allclose(encoder.encode_queries(long), peer.encode(long, prompt_name="query"), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_documents(long), peer.encode(long, prompt_name="document"), atol=1e-6)
    assert open_checkpoint(str(folder)).lowercase


@pytest.mark.parametrize("head", [True, False])
def test_a_head_that_was_never_trained_is_not_made_up(tmp_path, head):
    tiny_checkpoint(tmp_path / "tiny", head=head)
    folder = trained(tmp_path)
    assert any(name.startswith("pooler.") for name in load_file(folder / "model.safetensors")) == head
    if not head:
        with pytest.raises(ModelError, match="needs the checkpoint's own head"):
            ours(folder, "pooler-output")


@pytest.mark.parametrize("objective", ["regression", "simcse-unsup"])
def test_adapters_are_merged(tmp_path, objective):
    folder = trained(tmp_path, objective, lora=4, mlm_weight=0.1 if objective == "simcse-unsup" else 0.0)
    assert json.loads((folder / "config.json").read_text("utf-8"))["model_type"] == "bert"
    before, after = load_file(tmp_path / "tiny" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    name = "encoder.layer.0.attention.self.query.weight"
    change = after[name] - before[name]
    assert torch.linalg.matrix_rank(change, tol=1e-6).item() == 4
    assert torch.equal(after["embeddings.word_embeddings.weight"], before["embeddings.word_embeddings.weight"])
    np.testing.assert_allclose(ours(folder).encode_documents(SENTENCES), theirs(folder).encode(SENTENCES), atol=1e-6)


def test_a_classifier_keeps_its_head_and_the_names_of_its_classes(tmp_path):
    folder = trained(tmp_path, "classify", pooler="cls")
    classes = json.loads((folder / "classifier" / "config.json").read_text("utf-8"))["classes"]
    assert (len(classes), classes) == (12, sorted(classes))
    assert load_file(folder / "classifier" / "model.safetensors")["weight"].shape == (12, 32)
    np.testing.assert_allclose(ours(folder).encode_documents(SENTENCES), theirs(folder).encode(SENTENCES), atol=1e-6)


def test_a_masked_language_model_loads_in_transformers(tmp_path):
    folder = trained(tmp_path, "mlm")
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    logits = model(**tokenizer("the heron [MASK] today", return_tensors="pt")).logits
    assert logits.shape == (1, 6, 30_522)
    assert open_checkpoint(str(folder)).pooler is None, "it is raw"
    assert not open_checkpoint(str(folder)).has_head
    assert ours(folder, "mean").encode_documents(SENTENCES).shape == (44, 32)


def test_the_card_is_read_by_the_hub_and_names_the_command(tmp_path):
    from huggingface_hub import ModelCard

    folder = trained(tmp_path, temperature=0.05, batch_size=4)
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "sentence-similarity"
    assert card.data.tags == ["semsearch", "sentence-transformers"]
    assert "semsearch train --objective regression --data" in card.text
    assert "--batch-size 4" in card.text
    assert "--temperature" not in card.text
    assert card.data.base_model is None, "a folder"


def test_the_card_names_a_base_model_of_the_hub(tmp_path, monkeypatch):
    from huggingface_hub import ModelCard

    written(tmp_path, "mlm")
    monkeypatch.chdir(tmp_path)
    one = Recipe(objective="mlm", data="mlm.jsonl", steps=1, batch_size=2, device="cpu")
    card = ModelCard.load(train(one, "out").folder / "README.md")
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    train(recipe(tmp_path), "models/first")
    card = ModelCard.load(train(recipe(tmp_path, model="models/first", pooler="auto"), "second").folder / "README.md")
    assert card.data.base_model is None, "a folder that looks like a name"
