"""The tokenizer that transformers builds from the files of a checkpoint, and the on-disk cache that keeps it.

    <cache>/tokenizers/<key>.json      the definition, unless it is that of tokenizer.json, and the highest token id

Which ids a text gets depends on more than tokenizer.json: transformers 5 rebuilds most tokenizers from their vocabulary
and from tokenizer_config.json, by the rules of a class for each family. Only transformers knows those rules, and
importing it takes seconds, so it does so once, and not at all for the files of the default model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semsearch import interrupts
from semsearch.encoder.cache import cache_folder, warn_of_cache
from semsearch.encoder.checkpoints.json_files import read_json
from semsearch.encoder.checkpoints.locate import EMBEDDED_HASHES, embedded_folder
from semsearch.encoder.normalizers import check_normalizer
from semsearch.encoder.quiet import quiet_transformers
from semsearch.errors import ModelError
from semsearch.files import hash_file, write_bytes
from semsearch.forks import panics_as_errors
from semsearch.messages import first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT = 2
"""Version of the cache's format."""

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"

VOCABULARIES = ("vocab.*", "*.model", "tekken.json")
"""Files that a tokenizer can be built from if there is no tokenizer.json."""

OTHERS = ("special_tokens_map.json", "added_tokens.json", "merges.txt", "bpe.codes")
"""Further files that transformers may read."""

CHOOSES_CLASS = ("model_type", "model_name", "tokenizer_class", "transformers_version")
"""Keys of config.json that decide how the tokenizer is built."""

DEFAULT_HIGHEST = 30_521
"""Highest token id of the default model."""

UNUSED = ("truncation", "padding", "decoder")
"""Parts of a definition that ids do not depend on here."""


@dataclass(frozen=True, slots=True)
class Built:
    """A tokenizer that transformers built.

    Attributes:
        definition: The tokenizer as JSON; empty if it is that in tokenizer.json.
        highest: Highest token id.
        splits_special: Whether special tokens in a text are read as ordinary characters.
    """

    definition: str
    highest: int
    splits_special: bool


def read_tokenizer(folder: Path, name: str, n_tokens: int | None) -> tuple[Tokenizer, str]:
    """Return the tokenizer of a transformer, and the sha256 of its definition.

    Args:
        folder: Folder of the transformer.
        name: Name of the model, for messages.
        n_tokens: Number of tokens that have an embedding, if that is known.

    Raises:
        ModelError: If there is no usable tokenizer, or it gives ids that have no embedding.
    """
    from tokenizers import Tokenizer

    file = folder / FILE
    built = Built("", DEFAULT_HIGHEST, splits_special=False) if _is_default(folder) else _cached(folder, name)
    if n_tokens is not None and built.highest >= n_tokens:
        built = _without_strays(built, file, n_tokens)
    if n_tokens is not None and built.highest >= n_tokens:
        raise ModelError(
            f"model {name!r}: its tokenizer gives ids up to {built.highest:,}, but its weights embed only {n_tokens:,} "
            "tokens; use the tokenizer that belongs to it"
        )
    if built.definition:
        tokenizer, digest = Tokenizer.from_str(built.definition), _sha256(built.definition)
    else:
        tokenizer, digest = Tokenizer.from_file(str(file)), hash_file(file)
    if built.splits_special:
        tokenizer.encode_special_tokens, digest = True, _sha256(f"{digest}, special tokens split")
    return tokenizer, digest


def _is_default(folder: Path) -> bool:
    """Return whether the files are those of the default model, whose tokenizer is that in tokenizer.json."""
    same = all((folder / one).is_file() and hash_file(folder / one) == EMBEDDED_HASHES[one] for one in (FILE, CONFIG))
    if not same or folder == embedded_folder():
        return same
    config = read_json(folder / "config.json") or {}
    return config.get("model_type") == "bert" and not any((folder / one).exists() for one in OTHERS)


def _cached(folder: Path, name: str) -> Built:
    """Return what transformers builds from the files, from the cache if it is there."""
    path = cache_folder() / "tokenizers" / f"{_key(folder)}.json"
    try:
        built = Built(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        built = _build(folder, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, json.dumps(asdict(built)).encode())
        except OSError as error:
            warn_of_cache(f"cannot cache the tokenizer of {name} in {path.parent}: {error.strerror}; it is built anew")
    return built


def _key(folder: Path) -> str:
    """Return a hash of everything that the tokenizer depends on."""
    from importlib.metadata import version  # slow to import

    config = read_json(folder / "config.json") or {}
    files = {file.name: hash_file(file) for file in sorted(_files(folder))}
    parts = [FORMAT, *map(version, ("transformers", "tokenizers")), files, [config.get(key) for key in CHOOSES_CLASS]]
    return _sha256(json.dumps(parts))[:32]


def _files(folder: Path) -> Iterator[Path]:
    for pattern in (FILE, CONFIG, *VOCABULARIES, *OTHERS):
        yield from (file for file in folder.glob(pattern) if file.is_file())


def _build(folder: Path, name: str) -> Built:
    """Build the tokenizer with transformers, without running code of the checkpoint."""
    import transformers
    from tokenizers import Tokenizer

    if not (folder / FILE).is_file() and not any(file for pattern in VOCABULARIES for file in folder.glob(pattern)):
        # transformers would make up a tiny one
        raise _unusable(folder, name, "neither tokenizer.json nor a vocabulary")
    check_normalizer(read_json(folder / FILE) or {}, name)
    try:
        with quiet_transformers(), panics_as_errors():
            whole: Any = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            tokenizer = whole.backend_tokenizer
            definition = tokenizer.to_str()
            highest = _highest(tokenizer)
        as_is = (folder / FILE).is_file() and _same(definition, Tokenizer.from_file(str(folder / FILE)).to_str())
    except Exception as error:  # the tokenizer's files may hold anything, and tokenizers raises nothing narrower
        interrupts.reraise(error)
        raise _unusable(folder, name, _reason(error, folder)) from None
    return Built("" if as_is else definition, highest, bool(whole.split_special_tokens))


def _without_strays(built: Built, file: Path, n_tokens: int) -> Built:
    """Return a tokenizer without special tokens that have no embedding, such as a [MASK] that only its class adds."""
    from tokenizers import Tokenizer

    whole = json.loads(built.definition or file.read_text(encoding="utf-8"))
    kept = [token for token in whole["added_tokens"] if token["id"] < n_tokens or not token["special"]]
    definition = json.dumps(whole | {"added_tokens": kept}, ensure_ascii=False)
    return Built(definition, _highest(Tokenizer.from_str(definition)), built.splits_special)


def _highest(tokenizer: Tokenizer) -> int:
    """Return the highest id that a tokenizer gives, including those that its template adds to a text."""
    added = (one for text in ("", "a") for one in tokenizer.encode(text).ids)
    return max([*tokenizer.get_vocab().values(), *added], default=-1)


def _same(definition: str, other: str) -> bool:
    """Return whether two definitions give the same ids."""
    parts = [{key: value for key, value in json.loads(one).items() if key not in UNUSED} for one in (definition, other)]
    return parts[0] == parts[1]


def _reason(error: Exception, folder: Path) -> str:
    """Return why a tokenizer could not be built."""
    config = read_json(folder / CONFIG) or {}
    if "auto_map" in config:
        return "it is made by code of the checkpoint, which is never run"
    if not (folder / FILE).is_file() and any(folder.glob("*.model")) and not find_spec("sentencepiece"):
        return "it is a SentencePiece model, which needs a library: pip install sentencepiece protobuf"
    if isinstance(error, AttributeError) and "backend_tokenizer" in str(error):
        return f"{config.get('tokenizer_class', 'it')!s:.60} is written in Python"
    if isinstance(error, AttributeError | KeyError | TypeError):  # as raised by code that does not check its input
        return "its files are malformed"
    return f"{first_line(error):.200}"


def _unusable(folder: Path, name: str, reason: str) -> ModelError:
    return ModelError(
        f"model {name!r}: no usable tokenizer in {folder} ({reason}); put the checkpoint's tokenizer.json there"
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
