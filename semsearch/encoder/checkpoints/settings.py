"""The settings of the Transformer module of sentence-transformers, in sentence_bert_config.json or under an older name.

They are read as sentence-transformers 6.2 reads them. A setting that would change vectors and is not supported is an
error, never ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semsearch.encoder.checkpoints.dense import VECTOR
from semsearch.encoder.checkpoints.json_files import check_size, read_json, read_setting
from semsearch.errors import ModelError

FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Names of the file, in the order in which they are tried; an empty file counts as none."""

KNOWN = {
    *("max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name"),
    *("query_length", "document_length", "query_expansion", "processing_kwargs", "tokenizer_name_or_path"),
    *("unpad_inputs", "backend", "cache_dir", "model_args", "tokenizer_args", "config_args"),
    *("model_kwargs", "processor_kwargs", "config_kwargs"),
}
"""Every setting that sentence-transformers knows."""

LOADING = {
    *("trust_remote_code", "local_files_only", "revision", "token", "cache_dir", "use_safetensors", "device_map"),
    *("low_cpu_mem_usage", "torch_dtype", "dtype", "attn_implementation", "add_pooling_layer", "use_cache", "use_fast"),
    *("output_hidden_states", "output_attentions", "padding_side", "use_memory_efficient_attention", "unpad_inputs"),
}
"""Arguments for transformers that do not change a vector; sentence-transformers, too, ignores `trust_remote_code`."""

TOKENS = {"method": "forward", "method_output_name": "last_hidden_state"}, "token_embeddings"
OWN_HEAD = {"method": "forward", "method_output_name": "pooler_output"}, VECTOR
"""How a text is run, and what comes of it: the hidden states of its tokens, or the vector of BERT's own head."""

LEFT, RIGHT = "left", "right"

HARMLESS = {"padding", "pad_to_multiple_of", "return_tensors"}
"""Arguments of calls of the tokenizer that change no vector."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a Transformer module.

    Attributes:
        max_tokens: Declared maximum length, special tokens included; None if none is declared.
        lowercase: Whether text is lowercased before tokenization.
        truncation_side: Side on which texts are truncated, `left` or `right`.
        own_head: Whether the module returns the vector of BERT's own head, so that no pooler follows it.
    """

    max_tokens: int | None
    lowercase: bool
    truncation_side: str
    own_head: bool


def read_settings(folder: Path, config: dict[str, Any], name: str, task: str) -> Settings:
    """Read the settings of a Transformer module.

    Args:
        folder: Folder of the module.
        config: Content of its config.json.
        name: Name of the model, for messages.
        task: What the checkpoint is used for: `feature-extraction` for vectors, or `sequence-classification`.

    Raises:
        ModelError: If a setting is malformed, or would change vectors and is not supported.
    """
    file, given = _read_file(folder)
    if unknown := sorted({*given} - KNOWN):
        raise ModelError(f"{file} sets {', '.join(unknown):.200}, which sentence-transformers does not know")
    tokenizer = read_json(folder / "tokenizer_config.json") or {}
    arguments = _tokenizer_arguments(given, file)
    declared = arguments.get("model_max_length") or given.get("max_seq_length")
    if declared is not None:
        max_tokens: int | None = check_size(declared, "max_seq_length", str(file))
    else:
        max_tokens = _model_max_length(tokenizer, folder / "tokenizer_config.json")
    if task == "feature-extraction":
        max_tokens = _one_length(given, max_tokens, file)
        _refuse_arguments(given, config, file)
    return Settings(
        max_tokens,
        read_setting(given, "do_lower_case", bool, False, file),
        _side(arguments, file) or _side(tokenizer, folder / "tokenizer_config.json") or RIGHT,
        task == "feature-extraction" and _has_own_head(given, name, file),
    )


def _read_file(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the first of the files that is not empty, and its content."""
    for file in FILES:
        if content := read_json(folder / file):
            return folder / file, content
    return folder / FILES[0], {}


def _model_max_length(config: dict[str, Any], file: Path) -> int | None:
    """Return the maximum length in tokenizer_config.json; transformers writes 1e30 for none."""
    length = config.get("model_max_length", config.get("max_len"))
    if length is None or (isinstance(length, int | float) and length >= 10**6):
        return None
    return check_size(
        int(length) if isinstance(length, float) and length.is_integer() else length, "model_max_length", str(file)
    )


def _one_length(given: dict[str, Any], max_tokens: int | None, file: Path) -> int | None:
    """Return the maximum length of queries and documents; raise ModelError if there are two."""
    keys = ("query_length", "document_length")
    lengths = {check_size(given[key], key, str(file)) if given.get(key) else max_tokens for key in keys}
    if given.get("query_expansion") is not None:
        raise ModelError(
            f"{file} sets query_expansion: this is a multi-vector (ColBERT) model, not an encoder of vectors"
        )
    if len(lengths) > 1:
        raise ModelError(
            f"{file} sets query_length {given.get('query_length')} and document_length {given.get('document_length')}; "
            "semsearch has one maximum length for both, so remove them from the file and choose it with `max_tokens`"
        )
    (length,) = lengths
    return length


def _tokenizer_arguments(given: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return the arguments for the tokenizer."""
    found: dict[str, Any] = {}
    for key in ("tokenizer_args", "processor_kwargs"):
        found |= read_setting(given, key, dict, {}, file)
    if unknown := sorted({*found} - {*LOADING, "model_max_length", "truncation_side"}):
        raise ModelError(
            f"{file} sets {', '.join(unknown):.200} for the tokenizer; put them into tokenizer_config.json instead"
        )
    return found


def _refuse_arguments(given: dict[str, Any], config: dict[str, Any], file: Path) -> None:
    """Raise ModelError for arguments that would change the model or its input, unless config.json says the same."""
    for key in ("model_args", "model_kwargs", "config_args", "config_kwargs"):
        for argument, value in read_setting(given, key, dict, {}, file).items():
            if argument not in LOADING and config.get(argument, ...) != value:
                raise ModelError(
                    f"{file} sets {argument} to {value!r:.60} in {key}, which semsearch does not pass on; put it into "
                    "config.json if it belongs there"
                )
    calls = read_setting(given, "processing_kwargs", dict, {}, file)
    for key in ("common", "text"):
        if unknown := sorted({*read_setting(calls, key, dict, {}, file)} - HARMLESS):
            raise ModelError(
                f"{file} sets {', '.join(unknown):.200} in processing_kwargs, which semsearch does not support"
            )
    if given.get("tokenizer_name_or_path"):
        raise ModelError(
            f"{file} names another tokenizer, {given['tokenizer_name_or_path']!r:.80}; put its files into the folder"
        )


def _has_own_head(given: dict[str, Any], name: str, file: Path) -> bool:
    """Return whether the module returns the vector of BERT's own head instead of hidden states.

    Raises:
        ModelError: If it returns anything else, or does not take plain texts.
    """
    task = given.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise ModelError(f"{file} declares the task {task!r:.40}; expected 'feature-extraction', which gives vectors")
    kinds = given.get("modality_config")
    if kinds is None:
        return False
    if not isinstance(kinds, dict) or not all(isinstance(kind, dict) for kind in kinds.values()):
        raise ModelError(f"{file}: expected an object in modality_config, with an object for each kind of input")
    if "message" in kinds:
        raise ModelError(f"model {name!r} puts texts into a chat template, which semsearch does not support")
    if [*kinds] != ["text"]:
        raise ModelError(
            f"model {name!r} encodes {', '.join(kinds) or 'nothing':.80}; semsearch runs models for text alone"
        )
    output = given.get("module_output_name")
    for known in (TOKENS, OWN_HEAD):
        if (kinds["text"], output) == known:
            return known is OWN_HEAD
    raise ModelError(
        f"{file} takes {kinds['text'].get('method_output_name')!r:.60} of {kinds['text'].get('method')!r:.40} as "
        f"{output!r:.40}; supported: last_hidden_state as token_embeddings, and pooler_output as {VECTOR}, of forward"
    )


def _side(config: dict[str, Any], file: Path) -> str | None:
    """Return the side on which a file declares that texts are truncated; None if it declares none."""
    side = config.get("truncation_side")
    if side not in (None, LEFT, RIGHT):
        raise ModelError(f"{file}: truncation_side is {side!r:.40}; expected 'left' or 'right'")
    return side
