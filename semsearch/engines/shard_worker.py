"""The part of a cluster's worker that needs semsearch: it encodes batches of documents, and writes them as shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from semsearch.corpus.chunking import Chunking
from semsearch.encoder.load import load_encoder
from semsearch.engines.local import LocalWorkers, chunker_of
from semsearch.engines.shards import ShardFolder
from semsearch.errors import MismatchError
from semsearch.layout import layout_of
from semsearch.types import Document, EncoderSettings, EncoderSpec

Row: TypeAlias = tuple[str, str, str, str]
"""Id, title, text and layout of a document; plain text, so that a worker with another version fails with a message."""


def order_of(
    spec: EncoderSpec, chunking: Chunking, recipe: str, shards: str, device: str, version: str
) -> dict[str, Any]:
    """Return what a worker needs to know, as plain values.

    Args:
        spec: The encoder of the index.
        chunking: How to cut documents into passages.
        recipe: What determines passages and vectors besides the documents.
        shards: Folder of the shards.
        device: Device to encode on.
        version: Version of semsearch.
    """
    fields = {"spec": spec.to_json(), "fingerprint": spec.fingerprint, "chunking": chunking.to_json()}
    return {**fields, "recipe": recipe, "shards": shards, "device": device, "version": version}


def rows_of(documents: Sequence[Document]) -> list[Row]:
    """Return what workers need of documents."""
    return [(one.doc_id, one.title, one.text, one.layout.text) for one in documents]


class ShardWorker:
    """Encodes with one encoder, which is loaded once."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        """Load the encoder, and check that it is the one of the index.

        Raises:
            ModelError: If the checkpoint cannot be loaded.
            MismatchError: If the checkpoint is another one.
            UsageError, SourceError: If the folder of the shards cannot be opened.
        """
        spec, chunking = EncoderSpec.from_json(order["spec"]), Chunking.from_json(order["chunking"])
        encoder = load_encoder(EncoderSettings(device=order["device"]), spec)
        if encoder.spec.fingerprint != order["fingerprint"]:
            differences = "; ".join(encoder.spec.differences(spec))
            raise MismatchError(f"its model {spec.model!r} is not the one of the index: it has {differences}")
        self._workers = LocalWorkers(encoder, chunker_of(encoder, chunking))
        self._folder = ShardFolder(order["shards"], order["recipe"])

    def encode(self, name: str, rows: Sequence[Row]) -> None:
        """Encode documents and write their shard.

        Raises:
            ModelError: If the texts cannot be encoded.
            SourceError: If the shard cannot be written.
        """
        documents = [Document(doc_id, text, title, layout=layout_of(layout)) for doc_id, title, text, layout in rows]
        encoded = self._workers.begin(documents).finish(lambda passages, share: None)
        self._folder.write(name, documents, encoded)
