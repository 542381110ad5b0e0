"""Settings of an index in a database, as values; the databases differ in how they read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semsearch.errors import DamagedError, StoreError
from semsearch.types import EncoderSpec, Root, Storage, VectorOptions

if TYPE_CHECKING:
    from semsearch.transforms import Transform

REQUIRED = object()
"""Stands for no value, where a setting must have one."""

COUNTED = ("documents", "passages", "tokens", "truncated", "tokens_lost", "words")
"""What is counted; `words` are those of all passages, for keyword search."""


class Settings(ABC):
    """Reads settings; what it has made of them is kept until they change."""

    def __init__(self) -> None:
        self._spec: tuple[Any, EncoderSpec] | None = None

    @property
    @abstractmethod
    def shown(self) -> str:
        """The location of the index, as shown in messages."""

    @abstractmethod
    def setting(self, key: str, otherwise: Any = REQUIRED) -> Any:
        """Return the value of a setting, or the other value if it is missing and may be."""

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return the counts in `COUNTED`."""

    @abstractmethod
    def fields(self) -> list[str]:
        """See `Store.fields`."""

    @abstractmethod
    def storage(self) -> Storage:
        """See `Store.storage`."""

    @abstractmethod
    def transform(self) -> Transform | None:
        """Return the fitted transform; None if there is none (yet)."""

    @abstractmethod
    def damaged(self, what: str) -> DamagedError:
        """Return the error for an index whose content is not what was written."""

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that produced all vectors."""
        stored = self.setting("encoder")
        if self._spec is None or self._spec[0] is not stored:
            try:
                self._spec = stored, EncoderSpec.from_json(stored)
            except (AttributeError, KeyError, TypeError):
                raise self.damaged("its setting 'encoder' does not describe a valid encoder") from None
        return self._spec[1]

    def vector_options(self) -> VectorOptions:
        """Return how vectors are searched."""
        with suppress(TypeError):
            return VectorOptions(**self.setting("vectors", {}))
        raise self.damaged("its setting 'vectors' is not valid")

    def roots(self) -> list[Root]:
        """See `Store.roots`."""
        with suppress(TypeError):
            return [Root(**root) for root in self.setting("roots", [])]
        raise self.damaged("its setting 'roots' is not a valid list of folders")

    def fitted(self) -> Transform | None:
        """See `Readable.fitted`."""
        if not self.spec.transform:
            return None
        transform = self.transform()
        if transform is None:
            raise StoreError(
                f"the transform {self.spec.transform!r} of {self.shown!r} is not fitted yet: the first run did not "
                "finish; run the same semsearch index command again"
            )
        return transform

    def described(self, server: str, size: int | None, segment: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `Store.status` does.

        Args:
            server: The server with its version.
            size: Number of bytes that the index takes; None if the server does not say.
            segment: How vectors are searched, in the form of a folder's segment.
        """
        counts, is_fitted = self.counts(), self.setting("transform", None) is not None
        return {
            "index": self.shown,
            "origin": self.setting("origin"),
            "roots": [root.path for root in self.roots()],
            "created": self.setting("created"),
            "updated": self.setting("updated"),
            **{name: counts[name] for name in COUNTED if name != "words"},
            "fields": self.fields(),
            "bytes": size,
            "server": server,
            "storage": asdict(self.storage()),
            "vectors": {**self.vector_options().to_json(), "segments": [dict(segment)]},
            "transform": self.spec.transform and ("fitted" if is_fitted else "not fitted yet"),
            "encoder": {**self.spec.to_json(), "fingerprint": self.spec.fingerprint},
            "chunking": dict(self.setting("chunking")),
        }
