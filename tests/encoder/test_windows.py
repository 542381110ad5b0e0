"""Tests for backbones with windowed attention: correct vectors on every runtime, and never non-finite ones."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from command import call, jsonl
from fakes import WINDOWED, family_checkpoint, tiny_checkpoint
from safetensors.torch import load_file, save_file

from semsearch import Encoder, FallbackWarning, Index, WordHashEncoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.runtimes import openvino_convert, probes, torch_masks
from semsearch.encoder.runtimes.openvino import OpenVinoRuntime
from semsearch.encoder.runtimes.probes import PROBE_TOKENS, Probe, plan_probe
from semsearch.encoder.runtimes.torch_model import PooledModel
from semsearch.encoder.runtimes.torch_packing import Packer
from semsearch.encoder.tokenization import Batching
from semsearch.errors import ModelError, UnsupportedError
from semsearch.evaluation import MultiPooler
from semsearch.poolers import parse_pooler

TEXTS = ["heron water " * 150, "a heron", "bread and butter " * 30]
"""Texts of 302, 4 and 92 tokens: batched with the first, the others are padded by more than half a window of 128."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return family_checkpoint(tmp_path_factory.mktemp("windows") / "model", "ModernBert", **WINDOWED)


@pytest.fixture(scope="module")
def expected(model: str) -> np.ndarray:
    """Compute normalized means of transformers' hidden states, for each text alone so that nothing is padded."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=f"{model}/tokenizer.json")
    backbone = transformers.AutoModel.from_pretrained(model)
    with torch.inference_mode():
        ids = [torch.tensor([tokenizer(text)["input_ids"]]) for text in TEXTS]
        means = torch.stack([backbone(input_ids=each).last_hidden_state[0].mean(0) for each in ids])
    return torch.nn.functional.normalize(means).numpy()


@pytest.fixture
def with_nan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Convert into a separate cache with transformers' own masks, which let padding attend to nothing."""
    monkeypatch.setattr(torch_masks, "attending", lambda _: nullcontext())
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))


def unproved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the short probes of earlier versions."""
    monkeypatch.setattr(openvino_convert, "plan_probe", lambda *_: Probe(32, None))


@pytest.mark.parametrize("batching", [None, Batching(10_000)])
def test_a_backbone_with_windows_is_compiled_and_its_vectors_do_not_depend_on_their_neighbors(
    model, expected, monkeypatch, batching
):
    if batching:  # one batch, regardless of padding
        monkeypatch.setattr(OpenVinoRuntime, "batching", batching)
    encoder = Encoder.load(model, "mean", runtime="openvino", precision="float32")
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), expected, rtol=0, atol=1e-5)
    alone = [encoder.encode_document(text) for text in TEXTS]
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)


def test_a_graph_with_nan_is_not_used_and_one_line_says_why(model, expected, monkeypatch, with_nan):
    said = r"gives different vectors than torch \(they are not finite\); falling back to torch"
    with pytest.warns(FallbackWarning, match=said):
        encoder = Encoder.load(model, "mean", device="cpu")
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), expected, rtol=0, atol=1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(openvino_convert, "convert", lambda *_: pytest.fail("converted again"))
        with pytest.warns(FallbackWarning, match=said):
            Encoder.load(model, "mean", device="cpu")
        with pytest.raises(UnsupportedError, match="they are not finite"):
            Encoder.load(model, "mean", runtime="openvino")


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.01), ("float16", 1e-3)])
def test_torch_is_right_for_windows_in_every_precision(model, expected, precision, tolerance):
    vectors = Encoder.load(model, "mean", runtime="torch", device="cpu", precision=precision).encode_documents(TEXTS)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=tolerance)


@torch.inference_mode()
@pytest.mark.parametrize("window", [128, 800])
def test_windows_are_not_packed(tmp_path, window):
    sizes = WINDOWED | {"local_attention": window}
    checkpoint = open_checkpoint(family_checkpoint(tmp_path / "model", "ModernBert", **sizes))
    loaded = PooledModel(checkpoint, [checkpoint.head(parse_pooler("mean"))])
    assert Packer.proven(loaded, checkpoint.first_position, "cpu") is None


@pytest.mark.filterwarnings("ignore::semsearch.FallbackWarning")
@pytest.mark.usefixtures("with_nan")
def test_8_bits_of_a_backbone_that_runs_on_torch_are_refused_and_no_index_is_made(model, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(jsonl([{"_id": str(number), "text": text} for number, text in enumerate(TEXTS)]))
    words = ("--model", model, "--pooler", "mean", "--precision", "int8", "--index", tmp_path / "index")
    done = call("index", corpus, *words)
    assert done.code == 1
    assert "precision 'int8' needs the runtime openvino, but this model runs on torch" in done.err.splitlines()[-1]
    assert not (tmp_path / "index").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("with_nan")
def test_vectors_that_are_not_finite_are_refused_with_the_text_and_what_to_do(model, monkeypatch):
    unproved(monkeypatch)
    monkeypatch.setattr(OpenVinoRuntime, "batching", Batching(1_024))  # one batch, regardless of padding
    settings = {"runtime": "openvino", "precision": "float32", "device": "cpu"}
    encoder = Encoder.load(model, "mean", **settings)
    said = (
        r"the vectors of [12] of 3 texts encoded together are not finite numbers, starting with text "
        rf"[12] \(from 0\), '(a heron|bread and).*: model '{model}' on runtime 'openvino' in float32; use "
        "`runtime` 'torch'"
    )
    with pytest.raises(ModelError, match=said):
        encoder.encode_documents(TEXTS)
    assert np.isfinite(encoder.encode_query(TEXTS[1])).all()
    with pytest.raises(ModelError, match=said):
        MultiPooler.load(model, ["cls", "mean"], **settings).encode_documents(TEXTS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::semsearch.FallbackWarning")
def test_a_checkpoint_whose_weights_are_not_finite_is_refused_by_every_command(tmp_path):
    folder = tiny_checkpoint(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.2.output.dense.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    corpus, pairs = tmp_path / "corpus.jsonl", tmp_path / "pairs.tsv"
    corpus.write_bytes(jsonl([{"_id": "1", "text": "a heron"}]))
    pairs.write_text("sentence1\tsentence2\tscore\na heron\tan egret\t5\nbread\ta plane\t0\n")
    for words in (
        ("index", corpus, "--model", folder, "--pooler", "mean", "--index", tmp_path / "index"),
        ("eval", "sts", "--data", pairs, "--model", folder, "--poolers", "mean", "--cache-mb", 0),
    ):
        done = call(*words)
        assert (done.code, done.out) == (1, "")
        assert "not finite numbers: encoder.layer.2.output.dense.bias; the che" in done.err.splitlines()[-1]


def test_no_encoder_brings_a_vector_into_an_index_that_is_not_finite(tmp_path):
    class Astray(WordHashEncoder):
        def encode_documents(self, texts, progress=None):
            vectors = super().encode_documents(texts, progress)
            vectors[-1, 0] = np.inf
            return vectors

    with Index.open(tmp_path / "index", create=True, encoder=Astray(64)) as index:
        with pytest.raises(ModelError, match=r"1 of 2 texts .* text 1 .*'bread'"):
            index.add([{"_id": "1", "text": "heron"}, {"_id": "2", "text": "bread"}])
        assert index.status()["documents"] == 0


@pytest.mark.parametrize(
    ("config", "limit", "expected"),
    [
        ({}, 510, (510, None)),
        ({}, None, (PROBE_TOKENS, None)),
        ({"local_attention": 128}, 8_192, (PROBE_TOKENS, None)),
        ({"sliding_window": 1_024}, 2_048, (1_024 + 64, None)),
        ({"attention_window": [512, 512, 700]}, 4_098, (PROBE_TOKENS, None)),
        (
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "original_max_position_embeddings": 1_000}},
            4_096,
            (1_000 + 64, None),
        ),
        ({"sliding_window": 4_096}, 32_768, (PROBE_TOKENS, 4_096)),
        ({"sliding_window": 4_096, "local_attention": 1_400}, 32_768, (700 + 64, 4_096)),
        ({"sliding_window": 4_096}, 4_096, (PROBE_TOKENS, None)),
        ({"sliding_window": 4_096}, 1_024, (PROBE_TOKENS, None)),
        ({"sliding_window": None, "use_sliding_window": True}, 32_768, (PROBE_TOKENS, None)),
    ],
)
def test_a_probe_is_longer_than_every_window_that_a_text_can_outgrow_in_a_minute(config, limit, expected):
    assert plan_probe(transformers.PretrainedConfig(**config), limit, 150_000_000) == expected


def test_texts_that_outgrow_a_window_too_wide_to_probe_run_on_torch(tmp_path, monkeypatch):
    folder = family_checkpoint(tmp_path / "model", "ModernBert", **WINDOWED | {"local_attention": 1_200})
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probes, "MAX_WORK", 1)
    settings = {"pooler": "mean", "runtime": "openvino", "precision": "float32"}
    for _ in range(2):  # converted, then from the cache
        with pytest.raises(UnsupportedError, match=r"not verified for longer texts; lower `max_tokens` to 600$"):
            Encoder.load(folder, **settings)
    assert np.isfinite(Encoder.load(folder, **settings, max_tokens=600).encode_document(TEXTS[0])).all()
    with pytest.warns(FallbackWarning, match="falling back to torch"):
        assert "'torch'" in repr(Encoder.load(folder, "mean", max_tokens=601))


@pytest.mark.usefixtures("with_nan")
def test_the_reason_is_kept_without_the_path_of_the_checkpoint(model, tmp_path):
    with pytest.raises(UnsupportedError):
        Encoder.load(model, "mean", runtime="openvino")
    (file,) = (tmp_path / "cache").rglob("*.refused")
    assert model not in file.read_text()
    json.dumps(file.read_text())
