"""Shards: Parquet files with the passages and vectors of a batch of documents, in a folder that a cluster shares.

The name of a shard follows from the documents in it and from all that determines their passages and vectors, so that a
shard can be made by anyone, at any time, any number of times. It appears under its name once it is complete.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from semsearch.engines.base import EncodedDocument
from semsearch.errors import RecordError, SourceError
from semsearch.messages import first_line
from semsearch.types import Document, Passage
from semsearch.urls import open_location, reason_of, without_secrets
from semsearch.version import __version__

if TYPE_CHECKING:
    from semsearch.corpus.chunking import Chunking
    from semsearch.types import EncoderSpec

log = logging.getLogger(__name__)

ENDING = ".parquet"

KEY = b"semsearch"
"""Entry of a shard's metadata that holds its recipe."""


def recipe_of(spec: EncoderSpec, chunking: Chunking) -> str:
    """Return all that determines passages and vectors besides the documents, as canonical JSON."""
    fields = {"semsearch": __version__, "encoder": spec.fingerprint, "chunking": chunking.to_json()}
    return json.dumps(fields, sort_keys=True)


def shard_name(recipe: str, documents: Sequence[Document]) -> str:
    """Return the name of the shard with these documents."""
    lines = [recipe, *(f"{document.content_hash} {document.doc_id}" for document in documents)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:40]


class ShardFolder:
    """A folder of shards: on a disk that is shared, or in an object store that pyarrow can open."""

    def __init__(self, location: str, recipe: str) -> None:
        """Open the folder, and create it unless it exists.

        Args:
            location: A path, or a URL such as `s3://bucket/folder`.
            recipe: What determines passages and vectors besides the documents.

        Raises:
            UsageError: If pyarrow cannot open the URL.
            SourceError: If the folder cannot be created.
        """
        self.location, self._recipe = location, recipe
        self.name = f"`shards` {without_secrets(location)!r}"
        expected = "a folder, or a URL that pyarrow has a driver for, such as s3://bucket/folder"
        self._files, self._root = open_location(location, self.name, expected)
        try:
            self._files.create_dir(self._root, recursive=True)
        except OSError as error:
            raise SourceError(f"cannot write {self.name}: {reason_of(error, location)}") from None

    def has(self, name: str) -> bool:
        """Return whether there is a shard of this name."""
        return bool(self._files.get_file_info(self._path(name)).is_file)

    def write(self, name: str, documents: Sequence[Document], encoded: Sequence[EncodedDocument | RecordError]) -> None:
        """Write a shard, which appears once it is complete.

        Raises:
            SourceError: If it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [_row(*each) for each in zip(documents, encoded, strict=True)]
        schema = _schema().with_metadata({KEY: self._recipe.encode()})
        temporary = f"{self._path(name)}.{secrets.token_hex(8)}.tmp"
        try:
            pq.write_table(
                pa.Table.from_pylist(rows, schema), temporary, filesystem=self._files, compression={"texts": "zstd"}
            )
            self._files.move(temporary, self._path(name))
        except OSError as error:
            with suppress(OSError):
                self._files.delete_file(temporary)
            raise SourceError(f"cannot write {self.name}: {reason_of(error, self.location)}") from None

    def read(self, name: str, documents: Sequence[Document], dim: int) -> list[EncodedDocument | RecordError] | None:
        """Return the passages and vectors `[passages, dim]` of each document.

        Returns:
            None if the shard is missing, damaged, or made otherwise than its name says.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self._path(name), filesystem=self._files)
            recipe, rows = (table.schema.metadata or {}).get(KEY, b"").decode(), table.to_pylist()
            if recipe != self._recipe or [row["doc_id"] for row in rows] != [one.doc_id for one in documents]:
                raise ValueError("it has other documents, or comes from another encoder")
            return [_encoded(*each, dim) for each in zip(rows, documents, strict=True)]
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            log.warning("ignored the shard %s: %s", self._path(name), first_line(error))
            return None

    def delete(self, name: str) -> None:
        """Delete a shard, if it is there."""
        with suppress(OSError):
            self._files.delete_file(self._path(name))

    def tidy(self, names: set[str]) -> int:
        """Delete what killed workers have left of shards of these names, and the folder if it is empty then.

        Returns:
            The number of other files in the folder.
        """
        from pyarrow.fs import FileSelector

        left = 0
        with suppress(OSError):
            for info in self._files.get_file_info(FileSelector(self._root)):
                if info.base_name.endswith(".tmp") and info.base_name.partition(".")[0] in names:
                    self._files.delete_file(info.path)
                else:
                    left += 1
            if not left:
                self._files.delete_dir(self._root)
        return left

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}{ENDING}"


def _schema() -> Any:
    import pyarrow as pa

    whole = pa.list_(pa.int64())
    columns = {"doc_id": pa.string(), "reason": pa.string(), "starts": whole, "ends": whole, "tokens": whole}
    return pa.schema({**columns, "lost": whole, "texts": pa.list_(pa.string()), "vectors": pa.large_binary()})


def _row(document: Document, encoded: EncodedDocument | RecordError) -> dict[str, Any]:
    if isinstance(encoded, RecordError):
        return {"doc_id": document.doc_id, "reason": encoded.reason}
    passages = encoded.passages
    return {
        "doc_id": document.doc_id,
        "starts": [one.start for one in passages],
        "ends": [one.end for one in passages],
        "tokens": [one.n_tokens for one in passages],
        "lost": [one.n_lost for one in passages],
        "texts": [one.encoded_text for one in passages],
        "vectors": encoded.vectors.astype("<f4", copy=False).tobytes(),
    }


def _encoded(row: dict[str, Any], document: Document, dim: int) -> EncodedDocument | RecordError:
    if row["reason"] is not None:
        return RecordError(document.source, None, row["reason"])
    columns = (row["starts"], row["ends"], row["texts"], row["tokens"], row["lost"])
    passages = tuple(Passage(number, *each) for number, each in enumerate(zip(*columns, strict=True)))
    vectors = np.frombuffer(row["vectors"], "<f4").reshape(len(passages), dim)
    return EncodedDocument(passages, vectors.astype(np.float32, copy=False))
