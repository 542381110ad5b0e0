"""The one encoder of an index: what is asked for over what the index has, loaded when it is first needed."""

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
"""Settings that an index has in the words in which they are asked for."""

CHANGED_CHECKPOINT = (
    "What is now at {!r} is not what the index was built with: bring that back, or build the index again"
)

REPLACED = "Another index took the place of the one that was open; ask again"

REMOTE = ("\\\\", "//")
"""Beginnings of a path to another machine, which whoever made an index may have chosen."""


class IndexEncoder:
    """Loads an encoder once for all threads, and compares it with the fingerprint of the index."""

    def __init__(self, store: Store, settings: EncoderSettings, given: TextEncoder | None) -> None:
        """Compare what is asked for with what the index has, as far as that needs no checkpoint.

        Args:
            store: Where the index is, or will be.
            settings: What is asked of the encoder, over what the index has or its checkpoint declares.
            given: An encoder that is loaded already.

        Raises:
            MismatchError: The index belongs to another encoder.
        """
        self._store, self._settings, self._encoder, self._given = store, settings, given, given is not None
        self._lock = ForkLock()
        self._fits: EncoderSpec | None = None  # what the index had when the encoder was found to be its own
        if store.exists():
            self._refuse_contradictions()

    def get(self, advice: str | None = None) -> TextEncoder:
        """The encoder.

        Args:
            advice: What to do where it does not belong to the index; None for what the settings suggest.

        Raises:
            ModelError: The checkpoint cannot be loaded.
            MismatchError: It is not the one that the index was built with.
        """
        with self._lock:
            stored = self._store.spec if self._store.exists() else None
            if self._fits not in (None, stored) and not self._given:  # another index took the place of that one
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
        """Check, inside a snapshot, that the index still is the one that the encoder was loaded for.

        Raises:
            MismatchError: Another index took its place.
        """
        if self._store.spec != self._fits:
            refuse_other_encoder(self._store.location, self._store.spec, encoder.spec, REPLACED)

    def for_corpus(
        self, records: Iterator[Record], chunking: Chunking
    ) -> tuple[TextEncoder, Iterator[Record], Quantization | None]:
        """The encoder for documents to be added; a new index in 8 bits gets one that is calibrated on some of them.

        Returns:
            The encoder, the records from the first one on, and what 8-bit integers cost.
        """
        if self._settings.precision != INT8 or self._store.exists():
            return self.get(OTHER_ENCODER), records, None
        from semsearch.encoder.load import load_encoder
        from semsearch.ingest import calibrate

        return calibrate(load_encoder(replace(self._settings, precision="float32")), records, chunking)

    def _load(self) -> TextEncoder:
        """What is asked for, over what the index has."""
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
            if stored.model.startswith(REMOTE):  # asking for it would send this user's name, and more, to that machine
                raise ModelError(
                    f"the index names a model on another machine, {stored.model!r}; if you trust that, pass its path "
                    "as `model`"
                )
            return load_encoder(settings, stored, self._store.artifacts)
        try:  # the same checkpoint in another place
            base = replace(stored, model=canonical_name(settings.model))
            return load_encoder(settings, base, self._store.artifacts)
        except (UsageError, ModelError):  # another one, which the index's settings need not fit
            return load_encoder(settings)

    def _refuse_contradictions(self) -> None:
        spec, asked = self._store.spec, self._settings.asked()
        if self._encoder is not None:
            refuse_other_encoder(self._store.location, spec, self._encoder.spec)
        if "model" in asked:
            return  # what is asked for may be that checkpoint's own
        fields: dict[str, Any] = {name: value for name, value in asked.items() if name in COMPARABLE}
        if asked.get("pooler", AUTO) != AUTO:
            from semsearch.encoder.pooling import parse_pooler

            fields["pooler"] = parse_pooler(asked["pooler"], simcse_names=self._settings.simcse_names).name
        refuse_other_encoder(self._store.location, spec, replace(spec, **fields))
