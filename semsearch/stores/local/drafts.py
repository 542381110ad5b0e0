"""Drafts: the documents of an index with another encoder, in a folder inside that of the index, until it adopts them.

The folder contains an index of its own, so an interrupted run resumes from its last committed batch. It is adopted in a
single transaction of the index's database rather than by renaming files: SQLite would apply a write-ahead log that is
still open to whatever file has its name, and readers may have the old log open at any time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import TypeAlias

from semsearch.errors import StoreError
from semsearch.files import is_regular, remove, unused_name
from semsearch.stores.local.catalog import Catalog, write_setting
from semsearch.stores.local.database import DATABASE, Database, translated_errors
from semsearch.stores.local.folder import DRAFT
from semsearch.stores.local.guard import PASSAGE, PASSAGE_COLUMNS, checksum, damaged, passage_checksum
from semsearch.stores.local.vectors.table import VectorTable

Passage: TypeAlias = tuple[int, int, int, int, int, int, int, int]
"""The columns of a passage's row, and their checksum."""

AGAIN = "run the same command again"

CONTENT = "SELECT doc_id, content_hash FROM documents ORDER BY doc_id"

COUNT = """
    UPDATE documents SET
        n_passages = (SELECT count(*) FROM passages WHERE document = documents.id),
        checksum = checksum(
            doc_id, metadata, content_hash, (SELECT count(*) FROM passages WHERE document = documents.id), root, file
        )
    WHERE checksum = checksum(doc_id, metadata, content_hash, n_passages, root, file)
"""
"""SQL that counts the passages of each document anew; a damaged row stays as it is, so that it is still recognized."""


def place_of_draft(folder: Path) -> Path:
    """Return the folder for the draft of an index, after removing what does not belong to an index there."""
    draft = folder / DRAFT
    if draft.is_symlink() or not is_regular(draft / DATABASE):  # a link may lead to another index
        with translated_errors():
            remove(draft)
    return draft


def discard_draft(folder: Path) -> None:
    """Delete the draft of an index folder; it gets another name first, so that a crash leaves no part of it."""
    draft = folder / DRAFT
    with translated_errors():
        try:
            unneeded = draft.rename(unused_name(draft, "old"))
        except FileNotFoundError:
            return
        remove(unneeded)


def take_over(database: Database, draft: Path) -> None:
    """Replace everything that an index has from its encoder; must be called inside `Database.change`.

    Args:
        database: The database of the index.
        draft: Folder of the draft.

    Raises:
        StoreError: If the draft does not have the documents of the index.
        DamagedError: If the draft is damaged.
    """
    with closing(Database(draft)) as other, other.snapshot():
        catalog = Catalog(other)
        _refuse_other_documents(database, other)
        (first,) = database.execute(
            "SELECT coalesce(max(seq), 0) FROM (SELECT seq FROM sqlite_sequence WHERE name = 'passages')"
        ).fetchone()
        for table in ("vectors", "passages", "deleted", "segments", "transform"):
            database.execute(f"DELETE FROM {table}")
        columns = ", ".join(PASSAGE_COLUMNS)
        passages, vectors = _passages(database, other, first), _vectors(VectorTable(other, catalog), first)
        transform = other.execute("SELECT name, mean, matrix, checksum FROM transform")
        for into, rows in (
            (f"passages ({columns}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", passages),
            ("vectors (passage, vector, checksum) VALUES (?, ?, ?)", vectors),
            ("transform (name, mean, matrix, checksum) VALUES (?, ?, ?, ?)", transform),
        ):
            database.execute_many(f"INSERT INTO {into}", rows)
        database.execute(COUNT)
        # readers keep what they have read for as long as the identity stays the same
        write_setting(database, "identity", secrets.token_hex(16))
        write_setting(database, "encoder", catalog.spec.to_json())
        write_setting(database, "chunking", catalog.chunking)
        write_setting(database, "store_precision", catalog.store_precision)
        database.execute("DELETE FROM settings WHERE key IN ('background', 'store_loss')")
        if background := catalog.background():
            write_setting(database, "background", background)
        if catalog.storage().measured:
            write_setting(database, "store_loss", catalog.setting("store_loss"))


def _refuse_other_documents(database: Database, other: Database) -> None:
    """Check that two databases have the same documents."""
    for ours, theirs in zip_longest(database.execute(CONTENT), other.execute(CONTENT)):
        if ours != theirs:
            doc_id = (ours or theirs)[0]
            raise StoreError(
                f"the index and its draft {str(other.folder)!r} have different documents, such as {doc_id!r}; {AGAIN}"
            )


def _passages(database: Database, other: Database, first: int) -> Iterator[Passage]:
    """Yield the rows of the draft's passages, numbered from `first` + 1, with the index's numbers of documents."""
    numbers = dict(database.execute("SELECT doc_id, id FROM documents"))
    sql = f"SELECT doc_id, passages.checksum, {PASSAGE} FROM passages JOIN documents ON documents.id = document"
    for doc_id, stored, *row in other.execute(f"{sql} ORDER BY passages.id"):
        if passage_checksum(tuple(row)) != stored:
            raise damaged(other.folder, f"passage {row[0]!r:.30} does not match its checksum", AGAIN)
        number, _, *place = row
        moved = (first + number, numbers[doc_id], *place)
        yield (*moved, passage_checksum(moved))


def _vectors(vectors: VectorTable, first: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield the rows of the draft's vectors, numbered as its passages are."""
    for ids, rows in vectors.parts(vectors.stored):
        for number, row in zip((first + ids).tolist(), rows, strict=True):
            blob = row.tobytes()
            yield number, blob, checksum(number, blob)
