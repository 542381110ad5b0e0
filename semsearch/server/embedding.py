"""Vectors for clients that ask a model for them: which index a model's name means, and the role of a text.

A client names a model; here that is an index, whose encoder is asked, or the encoder's own name. Few protocols tell a
query from a document, and an encoder with prefixes needs to know: `NAME:query` and `NAME:document` say it, and a name
alone means a document.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semsearch.errors import StoreError, UnknownIndexError, UsageError
from semsearch.transforms import unit_rows

if TYPE_CHECKING:
    from semsearch.arrays import Vectors
    from semsearch.server.service import Service
    from semsearch.types import EncoderSpec

ROLES = {
    **dict.fromkeys(("query", "search_query", "retrieval.query"), "query"),
    **dict.fromkeys(("document", "passage", "search_document", "retrieval.passage"), "document"),
}
"""What clients call the role of a text, to what `Service.encode` calls it."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a model's name means.

    Attributes:
        name: As it was asked for, or the index's name where none was.
        index: The index whose encoder answers.
        role: `query` or `document`.
    """

    name: str
    index: str
    role: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts, float32 `[n, dim]`, and how many tokens the encoder saw in all."""

    model: Model
    vectors: Vectors
    tokens: int


async def model_of(service: Service, asked: str | None, role: str = "document") -> Model:
    """The model that a name means; without a name, that of the first index.

    Args:
        service: As whoever asks may see it.
        asked: An index, perhaps with `:query` or `:document` behind it, or the name of an encoder.
        role: Where the name does not say it.

    Raises:
        UnknownIndexError: Nothing of that name is served.
    """
    names = service.names
    if not names:
        raise UnknownIndexError("no index is served to this key")
    if not asked:
        return Model(names[0], names[0], role)
    name = asked
    stem, colon, suffix = name.rpartition(":")
    if name not in names and colon and suffix in (*ROLES, "latest"):  # Ollama's clients put `:latest` behind a name
        name, role = stem, ROLES.get(suffix, role)
    for index in [name] if name in names else names:
        if index == name or name in await _encoder_names(service, index):
            return Model(asked, index, role)
    raise UnknownIndexError(f"the model {asked!r:.100} is not served; expected an index: {', '.join(names)}")


async def embed(
    service: Service,
    asked: str | None,
    texts: Sequence[str],
    *,
    role: str = "document",
    dimensions: int | None = None,
) -> Embedded:
    """Encode texts with the encoder that a model's name means.

    Args:
        service: As whoever asks may see it.
        asked: See `model_of`.
        texts: In the order of the vectors.
        role: Where the name does not say it.
        dimensions: Keep the first components and rescale to unit length (Matryoshka, Kusupati et al. 2022); None for
            all.

    Raises:
        UsageError: More texts than are taken at once, or dimensions that the encoder does not have.
        UnknownIndexError: No such model.
    """
    most = service.settings.max_batch
    if len(texts) > most:
        raise UsageError(f"the input has {len(texts):,} texts; expected at most {most:,} in a request")
    model = await model_of(service, asked, role)
    if dimensions is not None:
        check_dimensions(await service.spec(model.index), dimensions)
    encoded = await service.encode(model.index, texts, model.role)
    vectors = encoded.vectors if dimensions is None else unit_rows(encoded.vectors[:, :dimensions])
    return Embedded(model, vectors, sum(encoded.tokens))


def check_dimensions(spec: EncoderSpec, dimensions: int) -> None:
    """Refuse a number of dimensions that vectors of an encoder cannot be cut to; raises UsageError."""
    if not 1 <= dimensions <= spec.dim:
        raise UsageError(f"`dimensions` is {dimensions}; this model gives vectors of {spec.dim}, expected 1 to that")
    if dimensions < spec.dim and not spec.normalize:
        raise UsageError(
            f"`dimensions` is {dimensions}; the vectors of this index cannot be cut, for its transform "
            f"{spec.transform!r} needs all {spec.dim}: leave it out"
        )


def shown_name(spec: EncoderSpec) -> str:
    """The encoder's name for strangers: of a folder on this machine, only the last part."""
    return os.path.basename(spec.model.rstrip("/\\")) if os.path.isabs(spec.model) else spec.model


async def _encoder_names(service: Service, index: str) -> tuple[str, ...]:
    """What the encoder of an index is called, with and without its author; nothing for an index that is gone."""
    try:
        name = shown_name(await service.spec(index))
    except StoreError:
        return ()
    return name, name.rpartition("/")[2]
