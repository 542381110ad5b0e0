"""The encoder of an index: requested settings combined with the stored ones, loaded on first use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from semsearch.errors import MismatchError, ModelError, UsageError
from semsearch.forks import ForkLock
from semsearch.stores.base import OTHER_ENCODER, Store, refuse_other_encoder
from semsearch.types import AUTO, EncoderSettings, EncoderSpec, Quantization

if TYPE_CHECKING:
    from semsearch.corpus.chunking import Chunking
    from semsearch.corpus.readers import Record
    from semsearch.encoder.encoder import TextEncoder

INT8 = "int8"

COMPARABLE: tuple[str, ...] = ("max_tokens", "dim", "query_prefix", "passage_prefix")
"""Settings that an index stores in the same form in which they are requested."""

CHANGED_CHECKPOINT = (
    "The checkpoint at {!r} is not the one that the index was built with: restore that one, or reencode the index "
    "(`semsearch reencode`)"
)

REPLACED = "The open index was replaced by another one; try again"

REMOTE = ("\\\\", "//")
"""Prefixes of a path to another machine, which the creator of an index may have chosen."""


def refuse_remote(stored: EncoderSpec) -> None:
    """Check that an index does not name a model on another machine, whose opening would reveal the user's name to it.

    Raises:
        ModelError: If it does.
    """
    if stored.model.startswith(REMOTE):
        raise ModelError(
            f"the index names a model on another machine, {stored.model!r}; if you trust it, pass its path as `model`"
        )


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
        self._next: tuple[EncoderSpec, TextEncoder | None, EncoderSettings, bool] | None = None
        if store.exists():
            self._refuse_contradictions(store.spec)

    def get(self, advice: str | None = None) -> TextEncoder:
        """Return the encoder, loading it if necessary.

        Args:
            advice: Advice to give if the encoder does not match the index; None to choose it by the settings.

        Raises:
            ModelError: If the checkpoint cannot be loaded.
            MismatchError: If the encoder is not the one that the index was built with.
        """
        while True:
            verified, stored = self._fits, self._stored()  # before the lock, which a thread in a snapshot may wait for
            try:
                with self._lock:
                    if self._fits is verified:
                        return self._verified(stored, advice)
            except (ModelError, MismatchError):
                if self._stored() == stored:  # otherwise the index was moved to another encoder in the meantime
                    raise

    def expect(self, spec: EncoderSpec, encoder: TextEncoder | None, settings: EncoderSettings, *, given: bool) -> None:
        """Use another encoder as soon as the index has it, and until then the one in use.

        Args:
            spec: Spec of the encoder that the index is about to be moved to.
            encoder: That encoder; None to load it when it is needed.
            settings: Settings to load it with.
            given: Whether the caller wants `encoder` and no other one.
        """
        with self._lock:
            self._next = spec, encoder, settings, given

    def fits(self, encoder: TextEncoder) -> bool:
        """Return, inside a snapshot, whether an encoder that `get` returned is still the one of the index."""
        stored = self._store.spec
        is_verified = stored == self._fits and encoder is self._encoder
        return is_verified or stored.fingerprint == encoder.spec.fingerprint

    def refuse_replaced(self, encoder: TextEncoder) -> None:
        """Check, inside a snapshot, that the index is still the one that the encoder was loaded for.

        Raises:
            MismatchError: If another index with another encoder has replaced it.
        """
        if not self.fits(encoder):
            refuse_other_encoder(self._store.location, self._store.spec, encoder.spec, REPLACED)

    def _stored(self) -> EncoderSpec | None:
        return self._store.spec if self._store.exists() else None

    def _verified(self, stored: EncoderSpec | None, advice: str | None) -> TextEncoder:
        """Return the encoder for an index with this spec, loading it if necessary; the caller must hold the lock."""
        if self._next and stored and self._next[0].fingerprint == stored.fingerprint:
            _, self._encoder, self._settings, self._given = self._next
            self._next = self._fits = None
        elif self._fits not in (None, stored) and not self._given and stored:  # another index has replaced it
            self._encoder = self._fits = None
            self._refuse_contradictions(stored)
        if self._encoder is None:
            self._encoder = self._load(stored)
        if stored and stored != self._fits:
            spec = self._encoder.spec
            if advice is None:
                asked = self._settings.asked().keys() - {"model"}
                advice = OTHER_ENCODER if asked else CHANGED_CHECKPOINT.format(spec.model)
            refuse_other_encoder(self._store.location, stored, spec, advice)
            self._fits = stored
        return self._encoder

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

    def _load(self, stored: EncoderSpec | None) -> TextEncoder:
        """Load the encoder that the requested settings and those of the index describe."""
        from semsearch.encoder.checkpoints.locate import canonical_name
        from semsearch.encoder.load import load_encoder

        settings = self._settings
        if stored is None:
            return load_encoder(settings)
        self._store.prepare()
        if settings.precision == INT8 and stored.precision.startswith(f"{INT8}:"):
            settings = replace(settings, precision=None)
        if settings.model is None:
            refuse_remote(stored)
            return load_encoder(settings, stored, self._store.artifacts)
        try:  # the same checkpoint at another location
            base = replace(stored, model=canonical_name(settings.model))
            return load_encoder(settings, base, self._store.artifacts)
        except (UsageError, ModelError):  # another checkpoint, which the index's settings may not fit
            return load_encoder(settings)

    def _refuse_contradictions(self, spec: EncoderSpec) -> None:
        asked = self._settings.asked()
        if self._encoder is not None:
            refuse_other_encoder(self._store.location, spec, self._encoder.spec)
        if "model" in asked:
            return  # the requested settings may be that checkpoint's defaults
        fields: dict[str, Any] = {name: value for name, value in asked.items() if name in COMPARABLE}
        if asked.get("similarity", AUTO) != AUTO:
            fields["similarity"] = asked["similarity"]
        if asked.get("pooler", AUTO) != AUTO:
            from semsearch.encoder.pooling import parse_pooler

            fields["pooler"] = parse_pooler(asked["pooler"], simcse_names=self._settings.simcse_names).name
        refuse_other_encoder(self._store.location, spec, replace(spec, **fields))
