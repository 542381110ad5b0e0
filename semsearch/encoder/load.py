"""From a model's name, or a stored spec, to the encoder that runs it."""

from __future__ import annotations

from semsearch.encoder.encode import Encoder, TextEncoder
from semsearch.encoder.hashing import HashEncoder
from semsearch.records import EncoderSpec

HASH = "hash:"


def load_encoder_of(spec: EncoderSpec, *, device: str = "auto") -> TextEncoder:
    """Load the encoder that a spec describes; the caller compares the fingerprints."""
    if spec.model.startswith(HASH):
        return HashEncoder.parse(spec.model, spec.max_tokens)
    return Encoder.from_spec(spec, device=device)
