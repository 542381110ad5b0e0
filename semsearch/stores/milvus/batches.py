"""Batches on their way into the collections of an index: rows, and what they change in counts, fields and spread."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np

from semsearch.arrays import Vectors
from semsearch.similarity import Spread
from semsearch.stores.base import Entry
from semsearch.stores.codecs import FLOAT32, refuse_unstorable
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.commits import Change, Writing, new_name
from semsearch.stores.milvus.driver import Row, Session
from semsearch.stores.milvus.rows import About, abouts_of, document_rows, in_parts
from semsearch.stores.milvus.schema import FOREVER, Kind, create_passages
from semsearch.stores.milvus.states import load, read_root
from semsearch.stores.milvus.vectors import VectorSearch, decode, encode
from semsearch.stores.milvus.words import word_fields
from semsearch.stores.words.analysis import heading_of
from semsearch.transforms import Transform
from semsearch.types import Document, Passage

PRECISION = "float32"
"""The precision of stored vectors."""

AT_ONCE = 1_000
"""Number of documents or rows that are in memory at a time."""


class Batches:
    """Adds batches to changes."""

    def __init__(self, writing: Writing, catalog: Catalog, vectors: VectorSearch) -> None:
        self._writing, self._catalog, self._vectors = writing, catalog, vectors
        self.n_long = 0

    def remove(self, change: Change, abouts: Sequence[About]) -> None:
        """Mark the rows of documents as dead."""
        if not abouts:
            return
        passages = []
        for some in in_parts([about.number for about in abouts], AT_ONCE):
            change.dead_documents += self._rows(self._writing.state.documents, f"document in {some}")
            passages += self._rows(self._writing.state.passages, f"document in {some}")
        change.dead_passages += passages
        change.counts.subtract(_counted(passages))
        if passages:
            self._change_spread(change, np.array([row["vector"] for row in passages], np.float32), sign=-1)

    def insert(self, change: Change, entries: Sequence[Entry], known: Mapping[str, About]) -> None:
        """Add the rows of documents and their passages."""
        if not entries:
            return
        state, given = self._writing.state, self._parent([entry.document.doc_id for entry in entries])
        documents = itertools.count(state.next_document)
        flat: list[tuple[Document, Passage, Row]] = []
        for entry in entries:
            one = entry.document
            number, facts = given.get(one.doc_id, (0, {}))
            number = known[one.doc_id].number if one.doc_id in known else number or next(documents)
            rows = document_rows(one, number, change.rows, change.commit)
            rows[0] |= facts
            change.documents += rows
            shared = {"document": number, "facts": rows[0]["facts"], "values": rows[0]["values"]}
            flat += [(one, passage, shared) for passage in entry.passages]
        change.counts["documents"] += sum(entry.document.doc_id not in known for entry in entries)
        change.state |= {"next_document": next(documents), "next_passage": state.next_passage + len(flat)}
        if flat:
            vectors = np.concatenate([entry.vectors for entry in entries if entry.passages])
            self._insert_passages(change, flat, vectors)

    def _insert_passages(self, change: Change, flat: Sequence[tuple[Document, Passage, Row]], vectors: Vectors) -> None:
        refuse_unstorable([one.doc_id for one, _, _ in flat], vectors, FLOAT32.encode(vectors), PRECISION)
        spec, transform = self._catalog.spec, self._catalog.transform()
        searched = transform(vectors) if transform else vectors
        if spec.transform and not transform:  # `fit` follows
            searched = np.zeros((len(vectors), self._vectors.dim), np.float32)
        else:
            self._change_spread(change, searched, sign=1)
        texts = [
            (heading_of(one.title, one.layout.section(one.title, p.start, p.end)), one.text[p.start : p.end])
            for one, p, _ in flat
        ]
        counts = Counter(self._catalog.counts())
        counts.update(change.counts)
        words, n_long = word_fields(texts, counts["passages"], counts["words"])
        self.n_long += n_long
        rows = [
            {
                **shared,
                **fields,
                **{"row": next(change.rows), "born": change.commit, "died": FOREVER, "passage": passage},
                **{"ordinal": p.ordinal, "first": p.start, "last": p.end, "n_tokens": p.n_tokens, "n_lost": p.n_lost},
                **{"vector": vector.tolist(), "encoded": encode(given) if spec.transform else ""},
            }
            for passage, (_, p, shared), fields, vector, given in zip(
                itertools.count(self._writing.state.next_passage), flat, words, searched, vectors, strict=False
            )
        ]
        change.passages += rows
        change.counts.update(_counted(rows))

    def _parent(self, doc_ids: Sequence[str]) -> dict[str, tuple[int, Row]]:
        """Return what documents of a draft take from the index: number, facts and values; nothing if it is none."""
        address = self._writing.session.address
        if address.drafted is None:
            return {}
        with closing(Session(address.drafted)) as session:
            state = read_root(session)
            if state is None:
                return {}
            index = Writing(session, state)
            known = abouts_of(index, doc_ids)
            facts = facts_of(index, [about.number for about in known.values()])
            return {doc_id: (about.number, facts[about.number]) for doc_id, about in known.items()}

    def describe(self, change: Change, fields: Mapping[int, Row]) -> None:
        """Replace fields of documents, given by their numbers, and those of them that their passages have, too."""
        state = self._writing.state
        for some in in_parts(list(fields), AT_ONCE):
            for collection, condition, new, dead in (
                (state.documents, f"part == 0 and document in {some}", change.documents, change.dead_documents),
                (state.passages, f"document in {some}", change.passages, change.dead_passages),
            ):
                rows = self._rows(collection, condition)
                dead += rows
                for row in rows:
                    own = {key: value for key, value in fields[row["document"]].items() if key in row}
                    new.append({**row, **own, "row": next(change.rows), "born": change.commit})

    def count_fields(self, change: Change, before: Sequence[About], after: Sequence[Document]) -> None:
        """Count the metadata fields that documents had before and have now."""
        fields = Counter(self._catalog.setting("fields", {}))
        for about in before:
            fields.subtract(json.loads(about.metadata).keys())
        for document in after:
            fields.update(document.metadata.keys())
        kept = {name: n for name, n in fields.items() if n > 0}
        if kept != self._catalog.setting("fields", {}):
            change.settings["fields"] = kept

    def _change_spread(self, change: Change, rows: Vectors, *, sign: int) -> None:
        stored = change.settings.get("spread", self._catalog.setting("spread", None))
        before = None if stored is None else Spread.from_json(stored, self._vectors.dim)
        own = Spread.of(self._catalog.spec.similarity, rows)
        after = own if before is None else before + own if sign > 0 else before - own
        change.settings["spread"] = after.to_json() if after.n > 0 else None

    def rewrite(self, change: Change, kind: Kind, transform: Transform | None = None) -> None:
        """Copy all passages to a new collection, with another vector index or searched by another transform."""
        session, spec, spread = self._writing.session, self._catalog.spec, None
        name = new_name(session.address, "passages", change.commit)
        create_passages(session, name, self._vectors.dim, spec.similarity, kind)
        load(session, name)
        for some in self.passages():
            if transform:
                searched = transform(np.stack([decode(row["encoded"]) for row in some]))
                own = Spread.of(spec.similarity, searched)
                spread = own if spread is None else spread + own
                some = [{**row, "vector": vector.tolist()} for row, vector in zip(some, searched, strict=True)]
            session.insert(name, some)
        if transform:
            change.settings["spread"] = spread.to_json() if spread else None
        change.state["passages"] = name

    def passages(self, fields: Sequence[str] = ("*",)) -> Iterator[list[Row]]:
        """Yield all passages, some at a time."""
        state = self._writing.state
        rows = self._writing.session.rows(state.passages, state.visible(), fields)
        while some := list(itertools.islice(rows, AT_ONCE)):
            yield some

    def _rows(self, collection: str, condition: str) -> list[Row]:
        """Return whole rows."""
        return list(self._writing.session.rows(collection, self._writing.state.visible(condition), ("*",)))


def facts_of(reading: Writing, documents: Sequence[int]) -> dict[int, Row]:
    """Return facts and values of documents by their numbers."""
    state, found = reading.state, dict[int, Row]()
    for some in in_parts(documents, AT_ONCE):
        condition = state.visible(f"part == 0 and document in {some}")
        for row in reading.session.rows(state.documents, condition, ("document", "facts", "values")):
            found[row["document"]] = {"facts": list(row["facts"]), "values": row["values"]}
    return found


def _counted(rows: Sequence[Row]) -> dict[str, int]:
    """Return what is counted of passages."""
    return {
        "passages": len(rows),
        "tokens": sum(row["n_tokens"] for row in rows),
        "truncated": sum(row["n_lost"] > 0 for row in rows),
        "tokens_lost": sum(row["n_lost"] for row in rows),
        "words": sum(row["n_words"] for row in rows),
    }
