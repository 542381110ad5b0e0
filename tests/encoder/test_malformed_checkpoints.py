"""Test checkpoints that are malformed, incomplete, or of another kind: one line, in bounded time and memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_kinds import transformer, wordpiece
from fakes import family_checkpoint, modules
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from semsearch import CheckpointWarning, Encoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.checkpoints.weights import other_weights
from semsearch.encoder.runtimes.openvino_convert import reason_of
from semsearch.errors import ModelError

pytestmark = pytest.mark.usefixtures("reference")

Make = Callable[..., Path]


def configured(folder: Path, **config: Any) -> Path:
    """Change config.json."""
    given = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**given, **config}))
    return folder


def refused(folder: Path, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        Encoder.load(str(folder), "mean")
    assert "\n" not in str(caught.value)


WHOLE = "expected a whole number from 1 to"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"num_hidden_layers": 10**7}, f"num_hidden_layers is 10000000; {WHOLE} 1,000"),
        ({"num_hidden_layers": 900}, "declares 900 layers, but its weights are those of 4"),
        (
            {"num_hidden_layers": 2},
            r"weights that BertModel of transformers does not use: encoder.layer.2.* and 29 more",
        ),
        ({"num_hidden_layers": True}, f"num_hidden_layers is True; {WHOLE}"),
        ({"num_hidden_layers": float("nan")}, f"num_hidden_layers is nan; {WHOLE}"),
        ({"hidden_size": "32"}, f"hidden_size is '32'; {WHOLE}"),
        ({"hidden_size": [32]}, rf"hidden_size is \[32\]; {WHOLE}"),
        ({"hidden_size": 48}, "declares hidden states of length 48, but no tensor"),
        ({"num_attention_heads": 0}, f"num_attention_heads is 0; {WHOLE}"),
        ({"num_attention_heads": "four"}, f"num_attention_heads is 'four'; {WHOLE}"),
        ({"max_position_embeddings": "512"}, f"max_position_embeddings is '512'; {WHOLE}"),
        ({"max_position_embeddings": -64}, f"max_position_embeddings is -64; {WHOLE}"),
        (
            {"intermediate_size": 10**12},
            r"intermediate.dense.bias .* shape \[64\], but config.json gives it \[1000000000000",
        ),
        ({"vocab_size": 100}, r"word_embeddings.weight .* shape \[30522, 32\], but config.json gives it \[100, 32\]"),
        ({"hidden_act": "magic"}, "names 'magic', which transformers does not know"),
        ({"type_vocab_size": "two"}, "Validation error for field 'type_vocab_size' of its config.json: TypeError"),
        (
            {"position_embedding_type": "relative_key"},
            "sets position_embedding_type to 'relative_key', which BertModel",
        ),
        ({"rope_theta": 10_000.0}, "sets rope_theta to 10000.0, which BertModel of transformers does not support"),
        ({"model_type": "unheard"}, "transformers has no network of the type 'unheard'"),
        (
            {
                "model_type": "new",
                "auto_map": {"AutoConfig": "org/impl--configuration.C", "AutoModel": "org/impl--m.New"},
            },
            r"cannot be loaded: its network, 'new', is code of the checkpoint \(m.New\), which is never run$",
        ),
    ],
)
def test_a_config_that_contradicts_itself_or_the_weights_is_refused(
    checkpoint: Make, config: dict[str, Any], complaint: str
) -> None:
    refused(configured(checkpoint(), **config), complaint)


@pytest.mark.parametrize("file", ["config.json", "modules.json", "sentence_bert_config.json", "tokenizer_config.json"])
def test_deeply_nested_json_is_refused(checkpoint: Make, file: str) -> None:
    folder = checkpoint()
    (folder / file).write_text("[" * 10**6)
    refused(folder, rf"{file} (is nested too deeply|is not valid JSON)")


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the tensors of model.safetensors."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _poison(tensors: dict[str, Any]) -> None:
    tensors["encoder.layer.0.output.dense.weight"][3, 5] = np.nan


def _reshape(tensors: dict[str, Any]) -> None:
    tensors["encoder.layer.1.output.dense.weight"] = np.zeros((32, 48), np.float32)


def _relative(tensors: dict[str, Any]) -> None:
    tensors["encoder.layer.0.attention.self.distance_embedding.weight"] = np.zeros((127, 8), np.float32)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_poison, "has weights that are not finite numbers: encoder.layer.0.output.dense.weight"),
        (
            _reshape,
            r"layer.1.output.dense.weight in model.safetensors has the shape \[32, 48\], but .* gives it \[32, 64\]",
        ),
        (_relative, "does not use: encoder.layer.0.attention.self.distance_embedding.weight"),
        (lambda tensors: tensors.pop("encoder.layer.1.output.dense.weight"), "is missing weights"),
        (lambda tensors: tensors.clear(), r"no tensor of its weights has that size \(0 tensors\)"),
    ],
)
def test_weights_that_do_not_belong_are_refused(
    checkpoint: Make, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    refused(changed(checkpoint(), change), complaint)


def test_weights_of_a_head_and_of_old_buffers_are_left_aside(checkpoint: Make) -> None:
    def add(tensors: dict[str, Any]) -> None:
        tensors |= {
            "cls.predictions.bias": np.zeros(7, np.float32),
            "classifier.weight": np.zeros((2, 32), np.float32),
            "embeddings.position_ids": np.arange(64)[None],
        }

    plain, more = checkpoint(), changed(checkpoint(), add)
    vectors = [Encoder.load(str(one), "mean").encode_documents(["A heron waits."]) for one in (plain, more)]
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_rotary_settings_are_read_by_networks_that_have_them(tmp_path: Path) -> None:
    folder = Path(family_checkpoint(tmp_path / "modern", "ModernBert"))
    Encoder.load(str(configured(folder, rope_theta=10_000.0)), "mean")


@pytest.mark.parametrize(
    ("family", "config", "setting"),
    [
        ("T5", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}, {"rope_theta": 10_000.0}),
        ("DebertaV2", {"type_vocab_size": 0}, {"rope_theta": 10_000.0}),
        ("Llama", {"num_key_value_heads": 2}, {"partial_rotary_factor": 0.5}),
        ("Llama", {"num_key_value_heads": 2}, {"rotary_dim": 4}),
        ("Llama", {"num_key_value_heads": 2}, {"rotary_interleaved": True}),
    ],
)
def test_rotary_settings_that_a_class_ignores_are_refused(
    tmp_path: Path, family: str, config: dict[str, Any], setting: dict[str, Any]
) -> None:
    transformer(tmp_path, family, wordpiece(), **config)
    Encoder.load(str(tmp_path), "mean")
    (name,) = setting
    said = f"sets {name} to .*, which {family}.*Model of transformers does not support"
    refused(configured(tmp_path, **setting), said)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"model_type": ["bert"]}, r"model_type is \['bert'\]; expected text"),
        ({"model_type": {}}, r"model_type is \{\}; expected text"),
        ({"chunk_size_feed_forward": "x"}, "cannot (be loaded|encode texts)"),
    ],
)
def test_settings_of_a_wrong_type_are_refused_on_every_runtime(
    checkpoint: Make, config: dict[str, Any], complaint: str, runtime: str
) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        Encoder.load(str(configured(checkpoint(), **config)), "mean", runtime=runtime)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["return_dict", "output_hidden_states", "output_attentions", "use_cache"])
def test_settings_of_what_a_network_returns_change_nothing(checkpoint: Make, setting: str) -> None:
    folder = checkpoint()
    before = Encoder.load(str(folder), "mean").encode_document("A heron waits.")
    configured(folder, **{setting: setting != "return_dict"})
    np.testing.assert_array_equal(Encoder.load(str(folder), "mean").encode_document("A heron waits."), before)


@pytest.mark.parametrize("activation", ["Transformer", "GLU", "PReLU", "Linear", "Nonsense"])
def test_an_activation_that_is_none_is_refused(checkpoint: Make, tmp_path: Path, activation: str) -> None:
    made = [Transformer(str(checkpoint())), Pooling(32, "mean"), Dense(32, 12)]
    SentenceTransformer(modules=made, device="cpu").save(str(tmp_path / "saved"))
    file = tmp_path / "saved/2_Dense/config.json"
    file.write_text(file.read_text().replace("activation.Tanh", f"activation.{activation}"))
    refused(tmp_path / "saved", f"the activation '{activation}' is not a class of torch.nn that has no weights")


def test_a_path_that_is_too_long_is_one_short_line(checkpoint: Make) -> None:
    folder = checkpoint(files={"modules.json": modules("Transformer", "Pooling")})
    declared = modules("Transformer", "Pooling")
    declared[1]["path"] = "a" * 5_000
    (folder / "modules.json").write_text(json.dumps(declared))
    refused(folder, "cannot be read|is not the path of a folder")


def test_weights_under_other_names_are_named(checkpoint: Make) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    refused(folder, r"only safetensors under other names \(model.fp16.safetensors\); expected model.safetensors")


def test_an_own_network_that_is_not_run_is_a_warning(checkpoint: Make) -> None:
    folder = configured(checkpoint(), auto_map={"AutoModel": "somebody/else--modeling.Fancy"})
    for runtime in ("torch", "openvino", "openvino"):  # the last time from the cache
        with pytest.warns(CheckpointWarning, match=r"own code for the network \(modeling.Fancy\), which is never run"):
            Encoder.load(str(folder), "mean", runtime=runtime)
    assert not open_checkpoint(str(configured(checkpoint(), auto_map={"AutoTokenizer": ["a.B", None]}))).own_code


@pytest.mark.parametrize("weights", [True, False])
def test_an_adapter_is_refused(checkpoint: Make, weights: bool) -> None:
    folder = checkpoint(files={"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "a/b"}})
    (folder / "model.safetensors").rename(folder / ("model.safetensors" if weights else "adapter_model.safetensors"))
    refused(folder, "beside its weights; merge it" if weights else "and no full weights; merge it")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "no weights"),
        (["model.onnx", "onnx/model_int8.onnx"], "only ONNX files (model.onnx, onnx/model_int8.onnx)"),
        (["tiny.Q4.gguf"], "only GGUF files (tiny.Q4.gguf)"),
        (["adapter_model.safetensors"], "only a PEFT adapter (adapter_model.safetensors)"),
        (
            ["pytorch_model.bin", "tf_model.h5"],
            "only pickled weights (pytorch_model.bin), which are never loaded; TensorFlow weights (tf_model.h5)",
        ),
        (
            [f"{letter}.bin" for letter in "abcde"],
            "only pickled weights (a.bin, b.bin, c.bin and 2 more), which are never l",
        ),
        (["openvino/openvino_model.xml"], "only OpenVINO files (openvino/openvino_model.xml)"),
    ],
)
def test_weights_in_other_formats_are_named(tmp_path: Path, files: list[str], expected: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert other_weights(tmp_path).startswith(expected)


@pytest.mark.parametrize("part", ["../other.safetensors", "/etc/passwd", "model-00009.safetensors", 7])
def test_an_index_of_files_elsewhere_is_refused(checkpoint: Make, part: Any) -> None:
    folder = checkpoint(files={"model.safetensors.index.json": {"weight_map": {"a": part}}})
    refused(folder, "which is not a model.*safetensors file beside it")


def test_a_huge_header_is_refused(checkpoint: Make) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").write_bytes((10**12).to_bytes(8, "little") + b"{}")
    refused(folder, "cannot be loaded: .*header")


OPENVINO = """Exception from src/core/src/node.cpp:123:
Check 'false' failed at src/frontends/common/src/frontend.cpp:54:
Converting input model

Check 'is_conversion_successful' failed at src/frontends/pytorch/src/frontend.cpp:181:
FrontEnd API failed with OpConversionFailure:
"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (OPENVINO, "Converting input model"),
        (OPENVINO + "-- No conversion rule found for operations: aten::magic", "-- No conversion rule found for oper"),
        ("plain", "plain"),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_is_not_a_place_in_the_source_of_openvino(message: str, expected: str) -> None:
    assert reason_of(RuntimeError(message)).startswith(expected)


def test_reading_alone_refuses_most(checkpoint: Make) -> None:
    """Sizes are checked before transformers, which would allocate, is even imported."""
    with pytest.raises(ModelError, match="declares 900 layers"):
        open_checkpoint(str(configured(checkpoint(), num_hidden_layers=900)))
