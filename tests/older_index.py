"""An index as semsearch 1 wrote it, created by separate SQL: only the first migration, and FAISS's own files."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from sqlite_utils import Database, Migrations

from semsearch import WordHashEncoder
from semsearch.corpus.chunking import Chunking
from semsearch.stores.local.schema import MIGRATIONS

DIM = 64


def make_older_index(folder: Path, documents: Sequence[dict[str, Any]], origin: str = "") -> Path:
    """Write an index of schema 1 over documents with `_id`, `text` and perhaps `title`, encoded by `hash:64`.

    `origin` is the recorded location of the first corpus.
    """
    folder.mkdir(parents=True)
    encoder = WordHashEncoder(DIM)
    first = Migrations("semsearch")
    first._migrations = MIGRATIONS._migrations[:1]
    texts = [f"{document.get('title', '')} {document['text']}".strip() for document in documents]
    vectors = encoder.encode_documents(texts)
    ids = np.arange(1, len(documents) + 1)
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))
    index.add_with_ids(vectors, ids)
    faiss.write_index(index, str(folder / "vectors.000001.faiss"))
    digest = hashlib.sha256((folder / "vectors.000001.faiss").read_bytes()).hexdigest()
    settings = {"encoder": encoder.spec.to_json(), "chunking": Chunking().to_json(), "origin": origin, "revision": 7}
    settings |= {"created": "2026-01-01T00:00:00+00:00", "updated": "2026-01-01T00:00:00+00:00"}
    with closing(sqlite3.connect(folder / "passages.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA application_id = 0x53656D73")
        first.apply(Database(db))
        db.execute("PRAGMA user_version = 1")
        db.executemany("INSERT INTO settings VALUES (?, ?)", [(k, json.dumps(v)) for k, v in settings.items()])
        for number, (document, vector) in enumerate(zip(documents, vectors, strict=True), 1):
            fields = {key: value for key, value in document.items() if key not in ("_id", "text", "title")}
            title, text = document.get("title", ""), document["text"]
            content = hashlib.sha256(f"{title}\0{text}".encode()).hexdigest()
            metadata = json.dumps(fields, ensure_ascii=False, sort_keys=True)
            row = (number, document["_id"], title, text, metadata, content)
            db.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", row)
            db.execute("INSERT INTO passages VALUES (?, ?, 0, 0, ?, 5, 0)", (number, number, len(text)))
            db.execute("INSERT INTO vectors VALUES (?, ?)", (number, vector.astype("<f4").tobytes()))
            db.execute("INSERT INTO keywords (rowid, body) VALUES (?, ?)", (number, f"{title} {text}"))
            db.executemany("INSERT OR IGNORE INTO fields VALUES (?)", [(name,) for name in fields])
        segment = ("vectors.000001.faiss", "exact", 1, len(documents), len(documents), digest)
        columns = "file, kind, first, last, n_rows, sha256"
        db.execute(f"INSERT INTO segments ({columns}) VALUES (?, ?, ?, ?, ?, ?)", segment)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder
