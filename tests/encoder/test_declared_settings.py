"""Test the settings of a checkpoint: vectors are those of sentence-transformers, or one line says why not."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import modules, pair_checkpoint
from sentence_transformers import SentenceTransformer

from semsearch import CheckpointWarning, CrossEncoder, Encoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.errors import ModelError, UsageError

pytestmark = pytest.mark.usefixtures("reference")

TEXTS = ["A heron waits.", "The Grey Heron stands in the shallow water and strikes at a passing fish. " * 3, "Fish"]

Make = Callable[..., Path]

DECLARED = {
    "modules.json": modules("Transformer", "Pooling", "Normalize"),
    "1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "mean"},
}
TEXT = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}


def agrees(folder: Path) -> None:
    """Assert that both roles get the directions that sentence-transformers gives them, from the same files."""
    theirs, ours = SentenceTransformer(str(folder), device="cpu"), Encoder.load(str(folder), device="cpu")
    for actual, expected in (
        (ours.encode_queries(TEXTS), theirs.encode_query(TEXTS)),
        (ours.encode_documents(TEXTS), theirs.encode_document(TEXTS)),
    ):
        unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(actual, unit, atol=1e-5)


def refused(folder: Path, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        open_checkpoint(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("declared", [8, 32, 40])
def test_a_declared_truncation_is_the_default_length_of_vectors(checkpoint: Make, declared: int) -> None:
    folder = checkpoint(files={**DECLARED, "config_sentence_transformers.json": {"truncate_dim": declared}})
    assert Encoder.load(str(folder)).spec.dim == min(declared, 32)
    agrees(folder)
    assert Encoder.load(str(folder), dim=16).spec.dim == 16
    assert Encoder.load(str(folder), transform="truncate:24").spec.dim == 24
    with pytest.warns(UserWarning, match="was trained with pooler 'mean'"):
        assert Encoder.load(str(folder), "cls").spec.dim == 32  # it was declared for another pooler


@pytest.mark.parametrize("truncated", [0, -4, "8", True, 2.5, float("nan")])
def test_a_truncation_that_is_no_length_is_refused(checkpoint: Make, truncated: Any) -> None:
    refused(
        checkpoint(files={"config_sentence_transformers.json": {"truncate_dim": truncated}}),
        r"config_sentence_transformers.json: truncate_dim is .*; expected a whole number from 1 to",
    )


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"])
def test_every_name_of_the_settings_file_is_read(checkpoint: Make, family: str) -> None:
    config = {"max_seq_length": 10, "do_lower_case": True}
    folder = checkpoint(files={**DECLARED, f"sentence_{family}_config.json": config, "sentence_bert_config.json": {}})
    if family == "bert":
        (folder / "sentence_bert_config.json").write_text(json.dumps(config))
    found = open_checkpoint(str(folder))
    assert (found.max_tokens, found.lowercase) == (10, True)
    agrees(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"model_args": {"trust_remote_code": True, "torch_dtype": "float32", "attn_implementation": "eager"}},
        {"config_args": {"use_cache": False, "intermediate_size": 64}, "unpad_inputs": False},
        {"tokenizer_args": {"model_max_length": 9, "padding_side": "right"}, "max_seq_length": 12},
        {"query_length": 9, "document_length": 9, "query_expansion": None},
        {"modality_config": TEXT, "module_output_name": "token_embeddings", "transformer_task": "feature-extraction"},
        {"processing_kwargs": {"text": {"padding": True}, "chat_template": {"add_generation_prompt": True}}},
    ],
)
def test_settings_that_can_be_followed_give_the_same_vectors(checkpoint: Make, settings: dict[str, Any]) -> None:
    agrees(checkpoint(files={**DECLARED, "sentence_bert_config.json": {"max_seq_length": 20, **settings}}))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"query_length": 9}, r"sets query_length 9 and document_length None; .* choose it with `max_tokens`"),
        ({"query_length": 9, "document_length": 40}, "sets query_length 9 and document_length 40"),
        ({"query_expansion": {"strategy": "fixed", "length": 32}}, r"multi-vector \(ColBERT\) model"),
        ({"model_args": {"rotary_scaling_factor": 2}}, "sets rotary_scaling_factor to 2 in model_args"),
        ({"config_kwargs": {"hidden_act": "relu"}}, "sets hidden_act to 'relu' in config_kwargs"),
        ({"tokenizer_args": {"add_eos_token": True}}, "sets add_eos_token for the tokenizer"),
        ({"processing_kwargs": {"text": {"max_length": 5}}}, "sets max_length in processing_kwargs"),
        ({"tokenizer_name_or_path": "bert-base-cased"}, "names another tokenizer, 'bert-base-cased'"),
        ({"colour": "red"}, "sets colour, which sentence-transformers does not know"),
        ({"transformer_task": "fill-mask"}, "declares the task 'fill-mask'"),
        ({"modality_config": {**TEXT, "message": {}}}, "puts texts into a chat template"),
        ({"modality_config": {**TEXT, "image": {}}}, "encodes text, image; semsearch runs models for text alone"),
        ({"modality_config": {"text": {"method": "get_text_features", "method_output_name": None}}}, "takes None of"),
        ({"modality_config": ["text"]}, "expected an object in modality_config"),
        ({"max_seq_length": "12"}, "max_seq_length is '12'; expected a whole number"),
        ({"max_seq_length": -1}, "max_seq_length is -1; expected a whole number"),
        ({"do_lower_case": "yes"}, "do_lower_case is 'yes'; expected true or false"),
        ({"model_args": []}, r"model_args is \[\]; expected an object"),
    ],
)
def test_settings_that_would_change_vectors_otherwise_are_refused(
    checkpoint: Make, settings: dict[str, Any], complaint: str
) -> None:
    refused(checkpoint(files={**DECLARED, "sentence_bert_config.json": settings}), complaint)


@pytest.mark.parametrize("kinds", [("Transformer",), ("Transformer", "Normalize")])
def test_the_vector_of_berts_own_head_is_taken_where_it_is_declared(checkpoint: Make, kinds: tuple[str, ...]) -> None:
    output = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    settings = {"modality_config": output, "module_output_name": "sentence_embedding"}
    folder = checkpoint(files={"modules.json": modules(*kinds), "sentence_bert_config.json": settings})
    assert Encoder.load(str(folder)).spec.pooler == "pooler-output"
    agrees(folder)
    refused(
        checkpoint(files={**DECLARED, "sentence_bert_config.json": settings}), "a Pooling module after BERT's own head"
    )


@pytest.mark.parametrize(
    ("declared", "query", "passage", "others"),
    [
        ({"prompts": {"query": "", "web": "w: "}, "default_prompt_name": "web"}, "", "", ("web",)),
        ({"prompts": {"query": "q: ", "web": "w: "}, "default_prompt_name": "web"}, "q: ", "", ()),
        ({"prompts": {"query": None, "document": "d: "}}, "", "d: ", ()),
        ({"prompts": {"sts": "s: ", "web": "w: ", "none": ""}, "default_prompt_name": "web"}, "", "", ("web", "sts")),
        ({"prompts": {"document": "", "query": ""}, "default_prompt_name": "query"}, "", "", ()),
    ],
)
def test_roles_get_the_prompts_of_sentence_transformers(
    checkpoint: Make, declared: dict[str, Any], query: str, passage: str, others: tuple[str, ...]
) -> None:
    folder = checkpoint(files={**DECLARED, "config_sentence_transformers.json": declared})
    found = open_checkpoint(str(folder))
    assert (found.query_prefix, found.passage_prefix, found.other_prompts) == (query, passage, others)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        agrees(folder)


def test_a_corpus_prompt_is_the_passages_where_nothing_else_is(checkpoint: Make) -> None:
    prompts = {"query": "q: ", "corpus": "c: "}
    found = open_checkpoint(str(checkpoint(files={"config_sentence_transformers.json": {"prompts": prompts}})))
    assert found.passage_prefix == "c: "


def test_prompts_for_other_tasks_are_listed_once_nobody_chose_a_prefix(checkpoint: Make) -> None:
    declared = {"prompts": {"sts": "s: ", "web": "w: "}, "default_prompt_name": "web"}
    folder = str(checkpoint(files={**DECLARED, "config_sentence_transformers.json": declared}))
    with pytest.warns(CheckpointWarning, match=r"prompts for tasks \('web', 'sts'\).* with `query_prefix`"):
        Encoder.load(folder)
    assert Encoder.load(folder, query_prefix="w: ").spec.query_prefix == "w: "  # a warning would be an error


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"prompts": {"query": 7}}, "the prompt 'query' is 7; expected text"),
        ({"prompts": {"query": ["q"]}}, r"the prompt 'query' is \['q'\]; expected text"),
        ({"prompts": ["query"]}, r"prompts is \['query'\]; expected an object"),
        ({"prompts": {"a": "b"}, "default_prompt_name": 3}, "default_prompt_name is 3; expected text"),
        ({"prompts": {"a": "b"}, "default_prompt_name": "web"}, r"default prompt 'web' is not among the prompts \(a\)"),
        ({"model_type": "CrossEncoder"}, "is a cross-encoder, .* pass it as `rerank` 'cross-encoder:"),
        ({"model_type": "SparseEncoder"}, "is a sparse encoder"),
        ({"model_type": "MultiVectorEncoder"}, "is a multi-vector model"),
        ({"model_type": "GraphEncoder"}, "is of the type 'GraphEncoder'"),
    ],
)
def test_what_belongs_to_no_encoder_is_refused(checkpoint: Make, declared: dict[str, Any], complaint: str) -> None:
    refused(checkpoint(files={**DECLARED, "config_sentence_transformers.json": declared}), complaint)


def test_a_cross_encoder_is_sent_to_the_reranker_and_loads_there(tmp_path: Path) -> None:
    folder = pair_checkpoint(tmp_path / "cross")
    refused(folder, r"is a classifier \(BertForSequenceClassification\), .* `rerank` 'cross-encoder:.*cross'")
    settings = {"transformer_task": "sequence-classification", "module_output_name": "scores", "max_seq_length": 40}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    (folder / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    assert CrossEncoder.load(folder).max_tokens == 40


def test_a_masked_language_model_stays_usable(checkpoint: Make) -> None:
    folder = checkpoint(architectures=["BertForMaskedLM"])
    with pytest.warns(UserWarning, match="declares no pooler; using 'mean'"):
        Encoder.load(str(folder))


def test_a_declared_length_that_leaves_no_room_is_refused(checkpoint: Make) -> None:
    folder = checkpoint(files={**DECLARED, "sentence_bert_config.json": {"max_seq_length": 2}})
    with pytest.raises(UsageError, match="length of 2 tokens leaves no room for a text beside 2 special tokens"):
        Encoder.load(str(folder))
