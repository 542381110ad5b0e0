"""Reading the JSON files of a checkpoint, which anybody may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semsearch.errors import ModelError

LARGEST = 2**28
"""Size in bytes up to which a file is read; the tokenizers of multilingual models take 17 MB."""

EXPECTED = {str: "text", bool: "true or false", dict: "an object", list: "a list"}
"""Types of a setting, as named in messages."""

MOST_LAYERS, WIDEST = 1_000, 2**20
"""Bounds on the sizes that a config.json may declare, far above those of any encoder."""


def read_json(path: Path, expected: type = dict) -> Any:
    """Return the content of a JSON file, or None if there is no such file.

    Raises:
        ModelError: If the file is too large, is not valid JSON, or holds something else than expected.
    """
    try:
        if not path.is_file():
            return None
        if (size := path.stat().st_size) > LARGEST:
            raise ModelError(f"{path} has {size:,} bytes; expected at most {LARGEST:,}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ModelError(f"{path} is nested too deeply") from None
    except OSError as error:
        raise ModelError(f"{str(path)!r:.200} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error!s:.200})") from None
    if not isinstance(content, expected):
        raise ModelError(f"{path}: expected a JSON {'list' if expected is list else 'object'}")
    return content


def read_size(config: dict[str, Any], keys: tuple[str, ...], name: str, most: int = WIDEST) -> int:
    """Return the value of the first of these keys that the config has, which must be a whole number from 1 to `most`.

    Raises:
        ModelError: If none of the keys is there, or its value is not such a number.
    """
    for key in keys:
        if config.get(key) is not None:
            return check_size(config[key], key, f"model {name!r}", most)
    raise ModelError(f"model {name!r}: its config.json has none of {', '.join(keys)}; expected a BERT-like encoder")


def check_size(value: Any, key: str, where: str, most: int = WIDEST) -> int:
    """Return a declared size; raise ModelError if it is not a whole number from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ModelError(f"{where}: {key} is {value!r:.40}; expected a whole number from 1 to {most:,}")
    return value


def read_setting(config: dict[str, Any], key: str, kind: type, default: Any, where: Path) -> Any:
    """Return a declared setting, or the default if it is missing or null.

    Raises:
        ModelError: If the setting is of another type.
    """
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise ModelError(f"{where}: {key} is {value!r:.40}; expected {EXPECTED[kind]}")
    return value
