"""The prompts that a checkpoint declares, which become the prefixes of queries and passages.

As in `encode_query` and `encode_document` of sentence-transformers 6.2, a role without a prompt has no prefix: the
default prompt is for texts without a role. Unlike there, a prompt named `passage` or `corpus` is that of passages, as
the documentation of sentence-transformers says; its code prefers an empty `document` that it adds itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semsearch.encoder.checkpoints.json_files import read_setting
from semsearch.errors import ModelError

QUERY = ("query",)

PASSAGE = ("document", "passage", "corpus")
"""Names of the prompt of a role, in order of precedence."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Declared prefixes.

    Attributes:
        query, passage: Prefix of each role, which may be empty.
        others: Names of the prompts that are in no use because neither role has one; the default prompt first.
    """

    query: str
    passage: str
    others: tuple[str, ...]


def read_prompts(config: dict[str, Any], file: Path) -> Prompts:
    """Read the prompts in config_sentence_transformers.json.

    Args:
        config: Content of the file.
        file: The file, for messages.

    Raises:
        ModelError: If a prompt is not text, or the default prompt is not among them.
    """
    prompts = read_setting(config, "prompts", dict, {}, file)
    if wrong := next((prompt for prompt, text in prompts.items() if not isinstance(text, str | None)), None):
        raise ModelError(f"{file}: the prompt {wrong!r:.40} is {prompts[wrong]!r:.40}; expected text")
    default = read_setting(config, "default_prompt_name", str, None, file)
    if default is not None and default not in (*prompts, "query", "document"):
        raise ModelError(
            f"{file}: the default prompt {default!r:.40} is not among the prompts ({', '.join(prompts) or 'none':.200})"
        )
    given = {name: text for name, text in prompts.items() if text is not None}
    query, passage = (next((given[name] for name in names if name in given), None) for names in (QUERY, PASSAGE))
    others = [] if query or passage else [name for name, text in given.items() if text]
    return Prompts(query or "", passage or "", tuple(sorted(others, key=lambda name: name != default)))
