"""The words of passages: their texts in SQLite, and the files of segments with inverted indexes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from semsearch.layout import layout_of
from semsearch.stores.local.array_file import open_arrays, writing_arrays
from semsearch.stores.local.catalog import LAST, SegmentRecord
from semsearch.stores.local.database import Database
from semsearch.stores.words.analysis import Text, heading_of
from semsearch.stores.words.postings import Postings, read

TEXTS = (
    "SELECT passages.id, title, substr(text, start + 1, end - start), start, end, layout "
    "FROM passages JOIN documents ON documents.id = passages.document WHERE passages.id BETWEEN ? AND ? "
    "ORDER BY passages.id"
)


def texts_of(database: Database, first: int, last: int | None) -> Iterator[Text]:
    """Yield the texts of a range of passages, ascending."""
    for number, title, text, start, end, layout in database.execute(TEXTS, (first, LAST if last is None else last)):
        section = layout_of(str(layout)).section(str(title), start, end) if layout else ""
        yield number, heading_of(str(title), section), str(text)


def write_words(path: Path, postings: Postings) -> int:
    """Write the file of an inverted index; return its digest.

    Raises:
        OSError: If the file cannot be written; no partial file is left behind.
    """
    with writing_arrays(path, {}) as out:
        for name, array in postings.arrays().items():
            out.add(name, array)
    return out.digest


def open_words(path: Path, record: SegmentRecord) -> Postings | None:
    """Open the file of an inverted index; None if it is missing, is not the one on record, or is damaged."""
    file = open_arrays(path, record.words_digest)
    postings = read({name: file.array(name) for name in file.names}) if file else None
    if postings is None or len(postings.passages) != record.n_rows:
        return None
    within = record.first <= int(postings.passages[0]) and int(postings.passages[-1]) <= record.last
    return postings if within else None
