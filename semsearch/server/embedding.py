"""Vectors for clients of embedding APIs: maps the name of a model to an index and a role.

Clients name a model; here, that is the name of an index, whose encoder is used, or the name of the encoder itself. Few
protocols distinguish queries from documents, but an encoder with prefixes needs to know the role: `NAME:query` and
`NAME:document` specify it, and a name alone means a document.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semsearch.errors import StoreError, UnknownIndexError, UsageError
from semsearch.transforms import unit_rows
from semsearch.types import COSINE

if TYPE_CHECKING:
    from semsearch.arrays import Vectors
    from semsearch.server.service import Service
    from semsearch.types import EncoderSpec

ROLES = {
    **dict.fromkeys(("query", "search_query", "retrieval.query"), "query"),
    **dict.fromkeys(("document", "passage", "search_document", "retrieval.passage"), "document"),
}
"""Maps the names that clients use for the role of a text to those of `Service.encode`."""


@dataclass(frozen=True, slots=True)
class Model:
    """The index and the role that a model's name stands for.

    Attributes:
        name: The requested name, or the name of the index if none was requested.
        index: The index whose encoder is used.
        role: `query` or `document`.
    """

    name: str
    index: str
    role: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts, float32 `[n, dim]`, and the total number of tokens that the encoder saw."""

    model: Model
    vectors: Vectors
    tokens: int


async def model_of(service: Service, asked: str | None, role: str = "document") -> Model:
    """Return the model that a name stands for; without a name, that of the first index.

    Args:
        service: The service, restricted to what the request's key allows.
        asked: The name of an index or of an encoder, optionally followed by `:query` or `:document`.
        role: Role to use if the name does not specify one.

    Raises:
        UnknownIndexError: If no served index or encoder has that name.
    """
    names = service.names
    if not names:
        raise UnknownIndexError("this key does not allow access to any index")
    if not asked:
        return Model(names[0], names[0], role)
    name = asked
    stem, colon, suffix = name.rpartition(":")
    if name not in names and colon and suffix in (*ROLES, "latest"):  # Ollama's clients append `:latest`
        name, role = stem, ROLES.get(suffix, role)
    for index in [name] if name in names else names:
        if index == name or name in await _encoder_names(service, index):
            return Model(asked, index, role)
    raise UnknownIndexError(f"unknown model {asked!r:.100}; expected the name of an index: {', '.join(names)}")


async def embed(
    service: Service,
    asked: str | None,
    texts: Sequence[str],
    *,
    role: str = "document",
    dimensions: int | None = None,
) -> Embedded:
    """Encode texts with the encoder that a model's name stands for.

    Args:
        service: The service, restricted to what the request's key allows.
        asked: Name of the model; see `model_of`.
        texts: Texts to encode, in the order of the vectors.
        role: Role to use if the name does not specify one.
        dimensions: Number of leading components to keep (Matryoshka, Kusupati et al. 2022), rescaled to unit length if
            the encoder's vectors are ranked by cosine; None for all.

    Raises:
        UsageError: If there are more texts than a request may have, or vectors cannot be cut to `dimensions`.
        UnknownIndexError: If there is no such model.
    """
    most = service.settings.max_batch
    if len(texts) > most:
        raise UsageError(f"the input has {len(texts):,} texts; expected at most {most:,} per request")
    model = await model_of(service, asked, role)
    spec = await service.spec(model.index)
    if dimensions is not None:
        check_dimensions(spec, dimensions)
    encoded = await service.encode(model.index, texts, model.role)
    vectors = encoded.vectors[:, :dimensions]
    if dimensions is not None and spec.similarity == COSINE:
        vectors = unit_rows(vectors)
    return Embedded(model, vectors, sum(encoded.tokens))


def check_dimensions(spec: EncoderSpec, dimensions: int) -> None:
    """Check that the vectors of an encoder can be cut to `dimensions`; raise UsageError if not."""
    if not 1 <= dimensions <= spec.dim:
        raise UsageError(f"`dimensions` is {dimensions}; expected 1 to {spec.dim} for this model")
    if dimensions < spec.dim and spec.transform:
        raise UsageError(
            f"`dimensions` is {dimensions}; the vectors of this index cannot be cut because its transform "
            f"{spec.transform!r} needs all {spec.dim} dimensions; omit `dimensions`"
        )


def shown_name(spec: EncoderSpec) -> str:
    """Return the name of the encoder as shown to clients: for a local folder, only the last part of its path."""
    return os.path.basename(spec.model.rstrip("/\\")) if os.path.isabs(spec.model) else spec.model


async def _encoder_names(service: Service, index: str) -> tuple[str, ...]:
    """Return the names of an index's encoder, with and without its author; none if the index is gone."""
    try:
        name = shown_name(await service.spec(index))
    except StoreError:
        return ()
    return name, name.rpartition("/")[2]
