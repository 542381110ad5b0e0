"""From a model's name, or a stored spec, to the encoder that runs it."""

from __future__ import annotations

from typing import Any

from semsearch.encoder.encode import Encoder, TextEncoder
from semsearch.encoder.hashing import HashEncoder
from semsearch.records import EncoderSpec

HASH = "hash:"


def load_encoder(*, device: str = "auto", base: EncoderSpec | None = None, **asked: Any) -> TextEncoder:
    """Load an encoder: what is asked for, and for the rest what `base` has or the checkpoint declares.

    Args:
        device: `auto`, `cpu`, `cuda`, `mps`.
        base: Of an existing index; the caller compares the fingerprints.
        **asked: As for `Encoder.load`.
    """
    model = asked.get("model") or (base.model if base else None)
    if model and model.startswith(HASH):
        return HashEncoder.parse(model, asked.get("max_tokens") or (base.max_tokens if base else None))
    if base is None:
        return Encoder.load(device=device, **asked)
    return Encoder.from_spec(base, device=device, **asked)
