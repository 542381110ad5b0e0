"""Test the modules that modules.json declares: known by their full path, and only inside the checkpoint's folder."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import modules
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.util.misc import import_from_string
from torch import nn

from semsearch import Encoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.errors import ModelError

pytestmark = pytest.mark.usefixtures("reference")

Make = Callable[..., Path]

MEAN = {"embedding_dimension": 32, "pooling_mode": "mean"}


def declaring(checkpoint: Make, *types: str, path: Any = None) -> Path:
    """Create a checkpoint whose modules have these types; the second one is in `path` if that is given."""
    listed = [
        {"idx": number, "name": str(number), "path": "" if not number else f"{number}_Module", "type": kind}
        for number, kind in enumerate(types)
    ]
    if path is not None:
        listed[1]["path"] = path
    return checkpoint(files={"modules.json": listed, "1_Module/config.json": MEAN, "inside/config.json": MEAN})


def refused(folder: Path, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        open_checkpoint(str(folder))
    assert "\n" not in str(caught.value)


SPELLINGS = [
    ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"),
    ("sentence_transformers.models.Transformer.Transformer", "sentence_transformers.models.Pooling.Pooling"),
    (
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ),
    ("sentence_transformers.base.modules.Transformer", "sentence_transformers.sentence_transformer.modules.Pooling"),
]


@pytest.mark.parametrize(("transformer", "pooling"), SPELLINGS)
@pytest.mark.parametrize(
    "normalize",
    [
        "sentence_transformers.models.Normalize",
        "sentence_transformers.base.modules.normalize.Normalize",
        "sentence_transformers.sentence_transformer.modules.normalize.Normalize",
    ],
)
def test_every_spelling_that_sentence_transformers_imports_is_accepted(
    checkpoint: Make, transformer: str, pooling: str, normalize: str
) -> None:
    imported = [import_from_string(path).__name__ for path in (transformer, pooling, normalize)]
    assert imported == ["Transformer", "Pooling", "Normalize"]
    assert open_checkpoint(str(declaring(checkpoint, transformer, pooling, normalize))).pooler == "mean"


@pytest.mark.parametrize(
    "path",
    [
        "custom_st.Transformer",
        "Transformer",
        "my_sentence_transformers.models.Transformer",
        "sentence_transformers_extra.models.Transformer",
        "sentence_transformers.sparse_encoder.models.Transformer",
        "sentence_transformers.models.a.b.Transformer",
    ],
)
def test_a_module_of_somebody_else_is_refused_by_name(checkpoint: Make, path: str) -> None:
    refused(
        declaring(checkpoint, path, "sentence_transformers.models.Pooling"),
        rf"declares the modules '{re.escape(path)}', which semsearch cannot run; supported: Transformer, Pooling",
    )


@pytest.mark.parametrize(
    "kind",
    ["WordEmbeddings", "BoW", "CNN", "LSTM", "Router", "Asym", "CLIPModel", "LayerNorm", "WeightedLayerPooling"],
)
def test_other_modules_of_sentence_transformers_are_refused_by_name(checkpoint: Make, kind: str) -> None:
    path = f"sentence_transformers.models.{kind}"
    refused(declaring(checkpoint, SPELLINGS[0][0], path), rf"declares the modules {kind}, which semsearch cannot run")


@pytest.mark.parametrize(
    ("kinds", "complaint"),
    [
        (("Pooling",), "declares the modules Pooling; expected one Transformer"),
        (("Transformer", "Pooling", "Pooling"), "at most one of each other kind but Dense"),
        ((), "declares the modules none; expected one Transformer"),
    ],
)
def test_modules_that_make_no_encoder_are_refused(checkpoint: Make, kinds: tuple[str, ...], complaint: str) -> None:
    refused(checkpoint(files={"modules.json": modules(*kinds)}), complaint)


def test_dropout_changes_nothing(checkpoint: Make) -> None:
    kinds = ("Transformer", "Pooling", "Dropout", "Normalize")
    folder = checkpoint(
        files={
            "modules.json": modules(*kinds),
            "1_Pooling/config.json": MEAN,
            "2_Dropout/config.json": {"dropout": 0.5},
            "3_Normalize/config.json": {},
        }
    )
    expected = SentenceTransformer(str(folder), device="cpu").encode(["A heron waits."])
    np.testing.assert_allclose(Encoder.load(str(folder)).encode_documents(["A heron waits."]), expected, atol=1e-5)


@pytest.mark.parametrize("path", ["../outside", "/etc", "C:\\models", "..\\outside", "inside/../../outside", 3, "a\0b"])
def test_a_module_outside_the_folder_is_refused(checkpoint: Make, path: Any) -> None:
    refused(declaring(checkpoint, *SPELLINGS[0], path=path), "is not the path of a folder inside the checkpoint")


def test_a_link_out_of_the_folder_is_refused_but_a_hubs_snapshot_of_links_is_read(
    checkpoint: Make, tmp_path: Path
) -> None:
    folder = declaring(checkpoint, *SPELLINGS[0], path="inside")
    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    blobs = tmp_path / "hub" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(file for file in folder.rglob("*") if file.is_file()):
        file.rename(blobs / str(number))
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (len(link.relative_to(tmp_path / "hub").parts) - 1), "blobs", str(number)))
    assert open_checkpoint(str(snapshot)).pooler == "mean"
    outside = tmp_path / "outside"
    (snapshot / "inside").rename(outside)
    (snapshot / "inside").symlink_to(outside)
    refused(snapshot, "'inside' is not the path of a folder inside the checkpoint")


def with_dense(checkpoint: Make, tmp_path: Path, activation: nn.Module, **config: Any) -> Path:
    """Create a checkpoint with a Dense module that sentence-transformers saved, and change its config."""
    folder = checkpoint(
        files={"modules.json": modules("Transformer", "Pooling", "Dense"), "1_Pooling/config.json": MEAN}
    )
    dense = folder / "2_Dense"
    dense.mkdir()
    Dense(32, 8, activation_function=activation).save(str(dense))
    given = json.loads((dense / "config.json").read_text())
    (dense / "config.json").write_text(json.dumps({**given, **config}))
    return folder


@pytest.mark.parametrize(
    ("activation", "path"),
    [
        (nn.Tanh(), "torch.nn.modules.activation.Tanh"),
        (nn.Identity(), "torch.nn.modules.linear.Identity"),
        (nn.GELU(), "torch.nn.GELU"),
    ],
)
def test_activations_of_torch_are_applied(checkpoint: Make, tmp_path: Path, activation: nn.Module, path: str) -> None:
    folder = with_dense(checkpoint, tmp_path, activation, activation_function=path)
    expected = SentenceTransformer(str(folder), device="cpu").encode(["A heron waits."])
    ours = Encoder.load(str(folder), normalize=False).encode_documents(["A heron waits."])
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (
            {"activation_function": "my_code.Tanh"},
            r"activation 'my_code.Tanh', which is code outside torch.nn and never",
        ),
        ({"activation_function": "torch.nn.functional.tanh"}, "code outside torch.nn"),
        ({"activation_function": "torch.hub.load"}, "code outside torch.nn"),
        ({"activation_function": 3}, "activation_function is 3; expected text"),
        ({"module_output_name": "other"}, "on token vectors; expected it after the pooler"),
        ({"bias": False}, r"declares linear.weight \[8, 32\], but the weights beside it are linear.bias \[8\]"),
        ({"out_features": 16}, r"declares linear.bias \[16\], linear.weight \[16, 32\], but"),
        ({"in_features": 64}, r"linear.weight \[8, 64\], but"),
        ({"out_features": "8"}, "out_features is '8'; expected a whole number"),
    ],
)
def test_a_dense_module_that_is_not_as_declared_is_refused(
    checkpoint: Make, tmp_path: Path, config: dict[str, Any], complaint: str
) -> None:
    refused(with_dense(checkpoint, tmp_path, nn.Tanh(), **config), complaint)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"pooling_mode": 3}, "pooling_mode is 3; expected a name or a list of names"),
        ({"pooling_mode": ["mean", 3]}, "expected a name or a list of names"),
        ({**MEAN, "include_prompt": "no"}, "include_prompt is 'no'; expected true or false"),
        (None, "declares a Pooling module, but there is no config.json in"),
    ],
)
def test_a_malformed_pooling_module_is_refused(checkpoint: Make, config: Any, complaint: str) -> None:
    files = {"modules.json": modules("Transformer", "Pooling"), "1_Pooling/config.json": config}
    refused(checkpoint(files={name: content for name, content in files.items() if content is not None}), complaint)


def test_a_pooling_module_without_a_mode_is_the_mean(checkpoint: Make) -> None:
    config = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False}
    folder = checkpoint(files={"modules.json": modules("Transformer", "Pooling"), "1_Pooling/config.json": config})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = SentenceTransformer(str(folder), device="cpu").encode(["A heron waits."])
    ours = Encoder.load(str(folder), normalize=False).encode_documents(["A heron waits."])
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_normalize_module_on_other_values_is_refused(checkpoint: Make) -> None:
    files = {
        "modules.json": modules("Transformer", "Pooling", "Normalize"),
        "1_Pooling/config.json": MEAN,
        "2_Normalize/config.json": {"module_input_name": "token_embeddings"},
    }
    refused(checkpoint(files=files), "normalizes 'token_embeddings'")
