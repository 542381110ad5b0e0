"""Drafts: the documents of an index with another encoder, in a schema beside the index's, until it adopts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from semsearch.errors import StoreError
from semsearch.stores.base import Store
from semsearch.stores.postgres.address import Address
from semsearch.stores.postgres.connections import Writing
from semsearch.stores.postgres.schema import FOUND

OpenStore: TypeAlias = Callable[[Address], Store]
"""Opens the store at an address."""

ENDING = "_draft"

DIFFERENT = """
    SELECT coalesce(ours.doc_id, theirs.doc_id) FROM documents AS ours
    FULL JOIN {draft}.documents AS theirs ON ours.doc_id = theirs.doc_id AND ours.content_hash = theirs.content_hash
    WHERE ours.doc_id IS NULL OR theirs.doc_id IS NULL LIMIT 1
"""

MOVE = [
    "DELETE FROM vectors",
    "DELETE FROM passages",
    "DELETE FROM terms",
    "INSERT INTO terms SELECT * FROM {draft}.terms",
    """
    INSERT INTO passages
    SELECT theirs.id + {first}, ours.id, ordinal, first, last, n_tokens, n_lost, n_words, terms, counts
    FROM {draft}.passages AS theirs
    JOIN {draft}.documents AS drafted ON drafted.id = theirs.document JOIN documents AS ours USING (doc_id)
    """,
    """
    INSERT INTO vectors SELECT passages.id, passages.document, whole, half, searched
    FROM {draft}.vectors AS theirs JOIN passages ON passages.id = theirs.passage + {first}
    """,
    "UPDATE documents SET n_passages = theirs.n_passages FROM {draft}.documents AS theirs "
    "WHERE theirs.doc_id = documents.doc_id",
    "DELETE FROM artifacts",
    "INSERT INTO artifacts SELECT * FROM {draft}.artifacts",
    "DELETE FROM settings WHERE key IN ('background', 'store_loss', 'spread', 'transform', 'hnsw')",
    """
    INSERT INTO settings SELECT * FROM {draft}.settings WHERE key IN
        ('encoder', 'chunking', 'store_precision', 'counts', 'background', 'store_loss', 'spread', 'transform')
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
    """,
    "SELECT setval(pg_get_serial_sequence('passages', 'id'), {first} + greatest(1, (SELECT max(id) FROM "
    "{draft}.passages)))",
    "SELECT setval(pg_get_serial_sequence('terms', 'id'), greatest(1, (SELECT max(id) FROM terms)))",
]
"""Statements that replace everything that an index has from its encoder; `first` is the highest number of a passage."""


def draft_of(address: Address) -> Address:
    """Return the address of the draft of an index."""
    return address.of(address.schema + ENDING)


def discard(writing: Writing) -> None:
    """Delete the draft of an index, if there is one; must be called inside a change."""
    name = writing.address.schema + ENDING
    if writing.one(FOUND, (name,)):  # nobody else's tables
        writing.execute("SET LOCAL client_min_messages = warning")
        writing.execute(f"DROP SCHEMA {name} CASCADE")


def take_over(writing: Writing, draft: Store) -> None:
    """Replace everything that an index has from its encoder by a draft's; must be called inside a change.

    Raises:
        StoreError: If the draft does not have the documents of the index.
    """
    name = writing.address.schema + ENDING
    if different := writing.rows(DIFFERENT.format(draft=name)):
        raise StoreError(
            f"the index and its draft {draft.location!r} have different documents, such as {different[0][0]!r}; run "
            "the same command again"
        )
    first = int(writing.one("SELECT last_value FROM passages_id_seq"))
    for statement in MOVE:
        writing.execute(statement.format(draft=name, first=first))
