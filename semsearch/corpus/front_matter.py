"""Front matter of Markdown files: YAML between `---`, or TOML between `+++`.

YAML scalars are read as in JSON, so `no`, `007`, `12:30` and dates remain text.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

# The look-ahead leaves a file alone that merely opens with a horizontal rule.
_YAML = re.compile(r"\A---[ \t]*\n(?=\w[^\n]*:|#|---)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """A safe loader with the scalars of JSON and without aliases, a few of which could expand to gigabytes."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  yaml's own way to say it

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"-?(?:0|[1-9][0-9]{0,17})", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?", "-0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def split_front_matter(source: str) -> tuple[dict[str, Any], str]:
    """Return the fields of the front matter, if any, and the text after it.

    Raises:
        ValueError: The front matter is malformed.
    """
    for kind, pattern, load in (("YAML", _YAML, _load_yaml), ("TOML", _TOML, tomllib.loads)):
        if match := pattern.match(source):
            try:
                fields = load(match[1])
            except (yaml.YAMLError, tomllib.TOMLDecodeError) as error:
                reason = " ".join(str(error).split())
                raise ValueError(f"the front matter is not valid {kind} ({reason}); fix it") from None
            if isinstance(fields, dict | None):
                return {str(name): _plain(value) for name, value in (fields or {}).items()}, source[match.end() :]
    return {}, source


def _load_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)  # a subclass of SafeLoader


def _plain(value: Any) -> Any:
    """Convert TOML's dates and times to text."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
