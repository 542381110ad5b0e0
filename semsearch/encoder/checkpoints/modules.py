"""The modules of sentence-transformers that a checkpoint declares in modules.json: which they are, and their settings.

Both schemas of 1_Pooling/config.json that are in use are read. A module is known by its full path: a class of someone
else whose name is also Transformer is code of the checkpoint, which is never run.
"""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Any, TypeAlias

from semsearch.encoder.checkpoints.dense import VECTOR
from semsearch.encoder.checkpoints.json_files import read_json, read_setting
from semsearch.errors import ModelError

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

DROPOUT = "Dropout"
"""A module that does nothing outside training."""

PACKAGES = r"sentence_transformers\.(?:models|base\.modules|sentence_transformer\.modules)"
"""Packages of sentence-transformers from which versions 0.2 to 6.2 load such modules."""

NAMES = {*MODULES, *STATIC_MODULES, DROPOUT}

PATH = re.compile(rf"{PACKAGES}\.(?:\w+\.)?({'|'.join(sorted(NAMES))})")
"""Full path of a supported module; the module's file may stand between the package and the class."""

OTHER = re.compile(rf"{PACKAGES}\.(?:\w+\.)?(\w+)")
"""The same for any module of sentence-transformers."""

Modules: TypeAlias = list[tuple[str, Path]]
"""The modules that modules.json declares, in order: the kind of each, such as Pooling, and its folder."""


def read_modules(root: Path, name: str) -> Modules:
    """Return the modules that modules.json declares, in order, without those that do nothing; none without that file.

    Raises:
        ModelError: If a module is not supported, is in the wrong place, or is outside the checkpoint's folder.
    """
    file = root / "modules.json"
    declared = read_json(file, list)
    if declared is None:
        return []
    try:
        listed = [(_kind(str(one["type"])), one["path"]) for one in declared]
    except (KeyError, TypeError):
        raise ModelError(f"{file}: expected a list of modules, each with a type and a path") from None
    modules = [(kind, _folder(root, path, file)) for kind, path in listed if kind != DROPOUT]
    kinds = [kind for kind, _ in modules]
    supported = STATIC_MODULES if STATIC_MODULES[0] in kinds else MODULES
    if unsupported := sorted(set(kinds) - set(supported)):
        raise ModelError(
            f"model {name!r} declares the modules {', '.join(unsupported):.200}, which semsearch cannot run; "
            f"supported: {', '.join(supported)} of sentence-transformers"
        )
    if kinds != sorted(kinds, key=supported.index):
        raise ModelError(
            f"model {name!r} declares its modules in the order {', '.join(kinds)}; supported: {', '.join(supported)}"
        )
    if supported[0] not in kinds or any(kinds.count(kind) > 1 for kind in supported if kind != "Dense"):
        raise ModelError(
            f"model {name!r} declares the modules {', '.join(kinds) or 'none'}; expected one {supported[0]}, and at "
            "most one of each other kind but Dense"
        )
    for kind, folder in modules:
        if kind == "Normalize":
            _check_normalize(folder, name)
    return modules


def declared_pooler(config: dict[str, Any], file: Path) -> str:
    """Return the pooler that 1_Pooling/config.json declares, as `pooling_mode` (one or several) or the older booleans.

    Without either it is the mean. An unknown mode keeps its name, so that only the pooler `auto` fails on it.

    Args:
        config: Content of the file.
        file: The file, for messages.

    Raises:
        ModelError: If the mode is not a name or a list of names.
    """
    modes = config.get("pooling_mode") or [mode for key, mode in LEGACY_KEYS.items() if config.get(key)] or "mean"
    if isinstance(modes, str):
        modes = [modes]
    if not isinstance(modes, list) or not all(isinstance(mode, str) for mode in modes):
        raise ModelError(f"{file}: pooling_mode is {modes!r:.40}; expected a name or a list of names")
    return "+".join(ST_POOLERS.get(mode, mode) for mode in modes)


def _kind(path: str) -> str:
    """Return the name of a module of sentence-transformers, and any other path in quotes."""
    if known := PATH.fullmatch(path):
        return known[1]
    other = OTHER.fullmatch(path)
    return other[1] if other and other[1] not in NAMES else repr(path)


def _folder(root: Path, path: object, file: Path) -> Path:
    """Return the folder of a module; raise ModelError if it is not inside the checkpoint's folder."""
    if isinstance(path, str) and "\0" not in path:
        pure = PureWindowsPath(path)  # understands both kinds of slashes
        if not pure.anchor and ".." not in pure.parts and (root / path).resolve().is_relative_to(root.resolve()):
            return root / path
    raise ModelError(f"{file}: {path!r:.80} is not the path of a folder inside the checkpoint")


def _check_normalize(folder: Path, name: str) -> None:
    file = folder / "config.json"
    config = read_json(file) or {}
    names = [read_setting(config, f"module_{end}_name", str, VECTOR, file) for end in ("input", "output")]
    if names != [VECTOR, VECTOR]:
        raise ModelError(f"model {name!r} normalizes {names[0]!r}; expected a Normalize module on the pooled vector")
