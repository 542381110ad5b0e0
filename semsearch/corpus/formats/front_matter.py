"""Front matter of Markdown files: YAML between `---`, or TOML between `+++`.

YAML scalars are read as in JSON, so `no`, `007`, `12:30` and dates remain text, and so does a number that would print
differently from how it is written, such as `1.10`.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import yaml

from semsearch.corpus.values import NUMBER, as_json, literal

# The lookahead requires a key, so that a file that merely opens with a horizontal rule is left unchanged.
_KEY = r"""(?:[ \t]*(?:#[^\n]*)?\n)*(?:(?:"[^"\n]*"|'[^'\n]*'|[^\s"'#>*|\[\]{}`-][^\n]*?)[ \t]*:(?=\s)|\{)"""
_YAML = re.compile(
    rf"\A\s*^---[ \t]*\n(?={_KEY}|\s*^---[ \t]*$)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_TOML = re.compile(r"\A\s*^\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """A safe loader with JSON's scalars and without aliases, since a few of these could expand to gigabytes."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own declaration

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:null|~|)\Z"), ["n", "~", ""])
_Loader.add_implicit_resolver("!number", re.compile(rf"{NUMBER.pattern}\Z"), list("-0123456789"))
_Loader.add_constructor("!number", lambda _, node: literal(str(node.value)))


def split_front_matter(source: str) -> tuple[dict[str, Any], str, str]:
    """Split a file into the fields of its front matter, the text after it, and a warning if it is malformed.

    Malformed front matter yields no fields, and the text is still what follows it. Without a problem the warning is
    empty.
    """
    for kind, pattern, load in (("YAML", _YAML, _load_yaml), ("TOML", _TOML, _load_toml)):
        if match := pattern.match(source):
            body = source[match.end() :]
            try:
                fields = load(match[1])
                if not isinstance(fields, dict | None):
                    continue
                plain = as_json(fields or {})
                json.dumps(plain, ensure_ascii=False).encode()  # raises for a lone surrogate
            except Exception as error:  # such as ValueError for a date, RecursionError, or OverflowError
                line = source.count("\n", 0, match.start(1)) + 1
                return {}, body, f"the front matter is not valid {kind} ({_reason(error, line)}); ignoring it"
            return plain, body, ""
    return {}, source, ""


def _reason(error: Exception, first_line: int) -> str:
    """Describe the error on one line, with the line number in the file if YAML reports one."""
    mark = getattr(error, "problem_mark", None)
    reason = f"{getattr(error, 'problem', error)} on line {first_line + mark.line}" if mark else str(error)
    return " ".join(f"{reason:.200}".split()) or type(error).__name__


def _load_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)  # a subclass of SafeLoader


def _load_toml(text: str) -> Any:
    return tomllib.loads(text, parse_float=literal)
