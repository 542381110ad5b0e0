"""Tests for checkpoints that have only an ONNX export: what runs, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from checkpoint_kinds import HIDDEN, TEXTS, by_hand, export_onnx, plain, wordpiece, write_json
from huggingface_hub.utils import filter_repo_objects
from onnx import TensorProto, helper, numpy_helper

from semsearch import Encoder
from semsearch.errors import ModelError, UnsupportedError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::semsearch.PoolingWarning"),
]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    plain(folder)
    export_onnx(folder)
    return folder


def load(folder: Path | str, pooler: str = "mean", **settings: Any) -> Encoder:
    return Encoder.load(folder, pooler, **{"precision": "float32", **settings})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model.onnx", "onnx/model.onnx"),
        ("model.onnx", "model_optimized.onnx"),
        ("model.onnx", "onnx/encoder.onnx"),
    ],
)
def test_an_export_is_found_in_the_usual_places(export, tmp_path, before, after):
    shutil.copytree(export, tmp_path / "model")
    (tmp_path / "model/onnx").mkdir()
    (tmp_path / "model" / before).rename(tmp_path / "model" / after)
    (tmp_path / "model/pytorch_model.bin").write_bytes(b"a pickle")
    expected = by_hand(export, TEXTS[1:])
    np.testing.assert_allclose(load(tmp_path / "model").encode_documents(TEXTS[1:]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model_optimized.onnx"])
def test_an_export_is_downloaded_only_where_there_are_no_safetensors(export, tmp_path, monkeypatch, place):
    hub, cache = tmp_path / "hub", tmp_path / "cache"
    shutil.copytree(export, hub, ignore=shutil.ignore_patterns("plain"))
    (hub / "onnx").mkdir()
    (hub / "model.onnx").rename(hub / place)
    (hub / "onnx/model_q4.onnx").write_bytes(b"another one")

    def download(name: str, allow_patterns: list[str], ignore_patterns: tuple[str, ...] = ()) -> str:
        files = [file.relative_to(hub).as_posix() for file in hub.rglob("*") if file.is_file()]
        for file in filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns):
            (cache / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hub / file, cache / file)
        return str(cache)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    found = load("somebody/model").encode_documents(TEXTS[1:])
    np.testing.assert_allclose(found, by_hand(export, TEXTS[1:]), rtol=0, atol=1e-5)
    assert not (cache / "onnx/model_q4.onnx").exists()
    shutil.rmtree(cache)
    shutil.copy(export / "plain/model.safetensors", hub)
    load("somebody/model")
    assert not list(cache.rglob("*.onnx"))


def test_safetensors_are_preferred_and_several_exports_are_ambiguous(export, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(export, folder)
    for name in ("model_q4.onnx", "model_uint8.onnx"):
        shutil.copy(folder / "model.onnx", folder / name)
    assert load(folder).spec.weights == load(export).spec.weights
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"several ONNX exports \(model_q4.onnx, model_uint8.onnx\)"):
        load(folder)
    shutil.copy(export / "plain/model.safetensors", folder)
    assert "'torch'" in repr(load(folder, runtime="torch"))


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"pooler": "first-last"}, ModelError, "returns only that one; choose another pooler"),
        ({"pooler": "pooler-output"}, ModelError, "has no weights for it"),
        ({"runtime": "torch"}, UnsupportedError, "model.onnx, which runs on openvino alone; torch needs model.safeten"),
        ({"device": "cuda"}, UnsupportedError, "runs only on the CPU, but device 'cuda' was requested"),
    ],
)
def test_what_an_export_cannot_do_is_refused(export, settings, error, said):
    with pytest.raises(error, match=said):
        load(export, **settings)


def test_the_weights_of_an_export_are_part_of_the_fingerprint(export, tmp_path):
    shutil.copytree(export, tmp_path / "model")
    model = onnx.load(tmp_path / "model/model.onnx")
    model.producer_name = "another"
    onnx.save(model, tmp_path / "model/model.onnx")
    assert load(tmp_path / "model").spec.fingerprint != load(export).spec.fingerprint


def test_tensors_beside_an_export_are_read_and_part_of_the_fingerprint(export, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(export, folder)
    onnx.save_model(
        onnx.load(folder / "model.onnx"), folder / "model.onnx", save_as_external_data=True, location="model.onnx_data"
    )
    encoder = load(folder)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS[1:]), by_hand(export, TEXTS[1:]), rtol=0, atol=1e-5)
    data = bytearray((folder / "model.onnx_data").read_bytes())
    data[-4:] = b"\1\1\1\1"
    (folder / "model.onnx_data").write_bytes(data)
    assert load(folder).spec.fingerprint != encoder.spec.fingerprint


def write_graph(folder: Path, nodes: list[Any], inputs: tuple[str, ...], output: str, shape: list[Any]) -> Path:
    """Write an export with these nodes and a table of token vectors, `table`, next to a config and a tokenizer."""
    rows = np.random.default_rng(0).normal(size=(wordpiece().get_vocab_size(), HIDDEN)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(rows, "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")
    config = {"model_type": "bert", "num_hidden_layers": 1, "hidden_size": HIDDEN, "max_position_embeddings": 64}
    write_json(folder / "config.json", config | {"num_attention_heads": 4, "vocab_size": len(rows)})
    wordpiece().save(str(folder / "tokenizer.json"))
    return folder


LOOKUP = helper.make_node("Gather", ["table", "input_ids"], ["states"])
NAMED = helper.make_node("Identity", ["states"], ["last_hidden_state"])
QUANTIZED = [
    helper.make_node("DynamicQuantizeLinear", ["scaled"], ["q", "scale", "zero"]),
    helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["last_hidden_state"]),
]
SCALED = [
    helper.make_node("Cast", ["input_ids"], ["real"], to=TensorProto.FLOAT),
    helper.make_node("Unsqueeze", ["real", "two"], ["column"]),
    helper.make_node("Mul", ["states", "column"], ["scaled"]),
]
TWO = helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2], np.int64)))


def test_positions_and_types_are_made_from_the_ids(tmp_path):
    nodes = [
        LOOKUP,
        helper.make_node("Add", ["token_type_ids", "position_ids"], ["places"]),
        helper.make_node("Cast", ["places"], ["real"], to=TensorProto.FLOAT),
        TWO,
        helper.make_node("Unsqueeze", ["real", "two"], ["column"]),
        helper.make_node("Add", ["states", "column"], ["last_hidden_state"]),
    ]
    inputs = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    folder = write_graph(tmp_path, nodes, inputs, "last_hidden_state", ["n", "t", HIDDEN])
    rows = np.random.default_rng(0).normal(size=(wordpiece().get_vocab_size(), HIDDEN)).astype(np.float32)
    ids = wordpiece().encode("a heron waits").ids
    expected = (rows[ids] + np.arange(len(ids))[:, None]).mean(0)
    found = load(folder, normalize=False).encode_documents(["a heron waits", "bread and butter " * 10])[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "inputs", "output", "said"),
    [
        (
            [LOOKUP, TWO, *SCALED, *QUANTIZED],
            ("input_ids", "attention_mask"),
            "last_hidden_state",
            "gives a text other vectors alone than between other texts, as quantized exports do; use an export in",
        ),
        (
            [LOOKUP, helper.make_node("Identity", ["states"], ["logits"])],
            ("input_ids", "attention_mask"),
            "logits",
            "has the outputs logits; expected the hidden states of all tokens as 'last_hidden_state'",
        ),
        (
            [LOOKUP, NAMED],
            ("input_ids", "attention_mask", "past_key_values.0.key"),
            "last_hidden_state",
            "has the inputs past_key_values.0.key, which an encoder does not have",
        ),
        (
            [LOOKUP, helper.make_node("Nonsense", ["states"], ["last_hidden_state"], domain="nowhere")],
            ("input_ids", "attention_mask"),
            "last_hidden_state",
            "cannot be run by OpenVINO",
        ),
    ],
    ids=["quantized-as-a-batch", "no-states", "a-cache", "an-unknown-operation"],
)
def test_an_export_that_is_not_an_encoder_is_refused_in_one_line(nodes, inputs, output, said, tmp_path):
    folder = write_graph(tmp_path, nodes, inputs, output, ["n", "t", HIDDEN])
    with pytest.raises(UnsupportedError, match=said) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_an_export_of_another_size_or_a_damaged_one_is_refused(export, tmp_path):
    shutil.copytree(export, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    write_json(tmp_path / "model/config.json", config | {"hidden_size": 64})
    with pytest.raises(UnsupportedError, match=r"states of length 32, but config\.json declares 64"):
        load(tmp_path / "model")
    write_json(tmp_path / "model/config.json", config)
    whole = (tmp_path / "model/model.onnx").read_bytes()
    (tmp_path / "model/model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnsupportedError, match="cannot be run by OpenVINO"):
        load(tmp_path / "model")
    (tmp_path / "model/model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.onnx is empty"):
        load(tmp_path / "model")


def test_tensors_outside_the_folder_are_not_read(export, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(export, folder)
    onnx.save_model(
        onnx.load(folder / "model.onnx"), folder / "model.onnx", save_as_external_data=True, location="secret"
    )
    assert np.isfinite(load(folder).encode_document("a heron")).all()
    (folder / "secret").rename(tmp_path / "secret")
    with pytest.raises(ModelError, match="secret', which is not a file beside it"):
        load(folder)
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"\.\./secret', which is not a file beside it"):
        load(folder)
