"""Reading the JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semsearch.errors import ModelError


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


def read_size(config: dict[str, Any], keys: tuple[str, ...], name: str) -> int:
    """Return the value of the first of these keys that the config has."""
    for key in keys:
        if isinstance(config.get(key), int):
            return int(config[key])
    raise ModelError(f"model {name!r}: its config.json has none of {', '.join(keys)}; expected a BERT-like encoder")
