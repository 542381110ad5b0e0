"""Loading an encoder by model name or from a stored spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semsearch.encoder.checkpoints.locate import canonical_name
from semsearch.encoder.encoder import Encoder, TextEncoder
from semsearch.encoder.pooling import parse_pooler
from semsearch.encoder.word_hash import WordHashEncoder
from semsearch.errors import ModelError, UsageError
from semsearch.transforms import canonical_transform
from semsearch.types import EncoderSettings, EncoderSpec

HASH = "hash:"

FOREIGN = "foreign:"
"""Prefix of the name of a model that belongs to another program; see `foreign.py`."""


def load_encoder(
    settings: EncoderSettings, base: EncoderSpec | None = None, artifacts: Path | None = None
) -> TextEncoder:
    """Load an encoder from the requested settings, filled in from `base` or from the checkpoint's declarations.

    Args:
        settings: Requested settings; the model `hash:DIM` accepts only `max_tokens`.
        base: Spec stored with an existing index; ignored if another model is requested. The caller compares
            fingerprints.
        artifacts: Folder in which that index stores files of its encoder, such as an 8-bit model.

    Raises:
        UsageError: If a setting is invalid; see `Encoder.load`.
        ModelError: If the checkpoint cannot be loaded.
    """
    asked = settings.asked()
    wanted = asked.pop("model", None)
    model = canonical_name(wanted) if wanted else base.model if base else None
    base = base if base and base.model == model else None
    if model and model.startswith(HASH):
        return _load_hash(model, base, **asked)
    if base and base.model.startswith(FOREIGN):
        name = base.model.removeprefix(FOREIGN)
        raise ModelError(
            f"the index holds vectors of another program's model, {name!r}; open it from that program, or search by "
            "keyword"
        )
    where: dict[str, Any] = {"device": settings.device, "runtime": settings.runtime, "artifacts": artifacts}
    if base is None:
        return Encoder.load(model, **where, **asked)
    chosen = _settings(base, **asked)
    return Encoder.load(model, warn_of_pooler=chosen["pooler"] != base.pooler, **where, **chosen)


def _load_hash(model: str, base: EncoderSpec | None, max_tokens: int | None = None, **other: Any) -> WordHashEncoder:
    if other:
        raise UsageError(f"model {model!r} hashes words and does not accept {', '.join(sorted(other))}")
    return WordHashEncoder.parse(model, max_tokens or (base.max_tokens if base else None))


def _settings(base: EncoderSpec, *, simcse_names: bool = False, **asked: Any) -> dict[str, Any]:
    """Return the arguments for `Encoder.load`: the stored settings, overridden by the requested ones."""
    stored: dict[str, Any] = {
        "pooler": base.pooler,
        "max_tokens": base.max_tokens,
        "dim": base.dim,
        "transform": base.transform,
        "query_prefix": base.query_prefix,
        "passage_prefix": base.passage_prefix,
        "normalize": base.normalize or bool(base.transform),  # a transform implies normalize=False in the spec
        "precision": base.precision,
        "similarity": base.similarity,
    }
    if asked.get("similarity", base.similarity) != base.similarity:
        stored["normalize"] = True  # where the new similarity calls for it
    if canonical_transform(asked.get("transform", base.transform)) != base.transform:
        del stored["similarity"]  # a transform determines it, and the checkpoint without one
    if asked.get("pooler", "auto") != "auto":
        asked["pooler"] = parse_pooler(asked["pooler"], simcse_names=simcse_names).name
        if asked["pooler"] != base.pooler:
            del stored["dim"]  # it may not fit the other pooler, which the fingerprint check rejects anyway
    return {**stored, **asked}
