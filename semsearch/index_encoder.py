"""The encoder of an index: requested settings combined with the stored ones, loaded on first use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from semsearch.errors import ModelError, UsageError
from semsearch.forks import ForkLock
from semsearch.stores.base import OTHER_ENCODER, Store, refuse_other_encoder
from semsearch.types import EncoderSettings, EncoderSpec, Quantization

if TYPE_CHECKING:
    from semsearch.corpus.chunking import Chunking
    from semsearch.corpus.readers import Record
    from semsearch.encoder.encoder import TextEncoder

AUTO, INT8 = "auto", "int8"

COMPARABLE: tuple[str, ...] = ("max_tokens", "dim", "query_prefix", "passage_prefix")
"""Settings that an index stores in the same form in which they are requested."""

CHANGED_CHECKPOINT = (
    "The checkpoint at {!r} is not the one that the index was built with: restore that one, or rebuild the index"
)

REPLACED = "The open index was replaced by another one; try again"

REMOTE = ("\\\\", "//")
"""Prefixes of a path to another machine, which the creator of an index may have chosen."""


class IndexEncoder:
    """Loads the encoder once for all threads and checks it against the fingerprint of the index."""

    def __init__(self, store: Store, settings: EncoderSettings, given: TextEncoder | None) -> None:
        """Check the requested settings against those of the index, as far as possible without a checkpoint.

        Args:
            store: Store of the index, which may not exist yet.
            settings: Requested settings, which override those of the index or its checkpoint.
            given: An encoder that is already loaded; None to load one.

        Raises:
            MismatchError: If the index was built with another encoder.
        """
        self._store, self._settings, self._encoder, self._given = store, settings, given, given is not None
        self._lock = ForkLock()
        self._fits: EncoderSpec | None = None  # spec of the index when the encoder was last verified against it
        if store.exists():
            self._refuse_contradictions()

    def get(self, advice: str | None = None) -> TextEncoder:
        """Return the encoder, loading it if necessary.

        Args:
            advice: Advice to give if the encoder does not match the index; None to choose it by the settings.

        Raises:
            ModelError: If the checkpoint cannot be loaded.
            MismatchError: If the encoder is not the one that the index was built with.
        """
        with self._lock:
            stored = self._store.spec if self._store.exists() else None
            if self._fits not in (None, stored) and not self._given:  # the index was replaced by another one
                self._encoder = self._fits = None
                self._refuse_contradictions()
            if self._encoder is None:
                self._encoder = self._load()
            if stored and stored != self._fits:
                spec = self._encoder.spec
                if advice is None:
                    asked = self._settings.asked().keys() - {"model"}
                    advice = OTHER_ENCODER if asked else CHANGED_CHECKPOINT.format(spec.model)
                refuse_other_encoder(self._store.location, stored, spec, advice)
                self._fits = stored
            return self._encoder

    def refuse_replaced(self, encoder: TextEncoder) -> None:
        """Check, inside a snapshot, that the index is still the one that the encoder was loaded for.

        Raises:
            MismatchError: If another index with another encoder has replaced it.
        """
        if self._store.spec != self._fits:
            refuse_other_encoder(self._store.location, self._store.spec, encoder.spec, REPLACED)

    def for_corpus(
        self, records: Iterator[Record], chunking: Chunking
    ) -> tuple[TextEncoder, Iterator[Record], Quantization | None]:
        """Return the encoder for documents to be added; for a new 8-bit index, calibrate it on some of them.

        Returns:
            The encoder, all records from the first one on, and the effect of quantization, if there was a calibration.
        """
        if self._settings.precision != INT8 or self._store.exists():
            return self.get(OTHER_ENCODER), records, None
        from semsearch.encoder.load import load_encoder
        from semsearch.ingest import calibrate

        return calibrate(load_encoder(replace(self._settings, precision="float32")), records, chunking)

    def _load(self) -> TextEncoder:
        """Load the encoder that the requested settings and those of the index describe."""
        from semsearch.encoder.checkpoint import canonical_name
        from semsearch.encoder.load import load_encoder

        settings = self._settings
        if not self._store.exists():
            return load_encoder(settings)
        self._store.prepare()
        stored = self._store.spec
        if settings.precision == INT8 and stored.precision.startswith(f"{INT8}:"):
            settings = replace(settings, precision=None)
        if settings.model is None:
            if stored.model.startswith(REMOTE):  # opening it would reveal the user's name, and more, to that machine
                raise ModelError(
                    f"the index names a model on another machine, {stored.model!r}; if you trust it, pass its path as "
                    "`model`"
                )
            return load_encoder(settings, stored, self._store.artifacts)
        try:  # the same checkpoint at another location
            base = replace(stored, model=canonical_name(settings.model))
            return load_encoder(settings, base, self._store.artifacts)
        except (UsageError, ModelError):  # another checkpoint, which the index's settings may not fit
            return load_encoder(settings)

    def _refuse_contradictions(self) -> None:
        spec, asked = self._store.spec, self._settings.asked()
        if self._encoder is not None:
            refuse_other_encoder(self._store.location, spec, self._encoder.spec)
        if "model" in asked:
            return  # the requested settings may be that checkpoint's defaults
        fields: dict[str, Any] = {name: value for name, value in asked.items() if name in COMPARABLE}
        if asked.get("pooler", AUTO) != AUTO:
            from semsearch.encoder.pooling import parse_pooler

            fields["pooler"] = parse_pooler(asked["pooler"], simcse_names=self._settings.simcse_names).name
        refuse_other_encoder(self._store.location, spec, replace(spec, **fields))
