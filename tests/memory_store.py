"""A tiny in-memory store with brute-force search, which shows that the protocol does not depend on the local store."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from python_filters import matches

from semsearch.arrays import Ids, Vectors
from semsearch.errors import LockedError, NoIndexError, RecordError, StoreError
from semsearch.filters.syntax import Filter, check_fields
from semsearch.stores.base import (
    Entry,
    Plan,
    StoredDocument,
    StoredPassage,
    refuse_other_chunking,
    refuse_other_encoder,
    refuse_other_precision,
)
from semsearch.stores.codecs import CODECS
from semsearch.transforms import fit_transform
from semsearch.types import Document, EncoderSpec, Origin, Passage, Root, Storage, Term

Row = tuple[int, Document, Passage, Vectors]
"""The number of a document, the document, one of its passages, and the passage's vector `[dim]`."""


class MemoryStore:
    """An index in the memory of this process; see `Store`."""

    artifacts: Path | None = None
    modes: Sequence[str] = ("hybrid", "dense", "keyword")

    def __init__(self, location: str = "memory") -> None:
        self.location = location
        self._about: tuple[EncoderSpec, Mapping[str, Any], str] | None = None
        self.roots: Sequence[Root] = ()
        self.numbers: dict[str, int] = {}
        self.rows: dict[int, Row] = {}
        self.documents_by_id: dict[str, Document] = {}
        self.transform: Any = None
        self.background: Mapping[str, Any] | None = None
        self.taken = Lock()
        self.draft: MemoryStore | None = None
        self.storage = Storage()
        self.n_documents = self.n_passages = 0

    def _get(self, place: int) -> Any:
        if self._about is None:
            raise NoIndexError(f"no index in {self.location!r}")
        return self._about[place]

    @property
    def spec(self) -> EncoderSpec:
        return self._get(0)

    @property
    def chunking(self) -> Mapping[str, Any]:
        return self._get(1)

    @property
    def origin(self) -> str:
        return self._get(2)

    def files_of(self, root: str, n: int) -> dict[str, str]:
        own = [one for one in self.documents_by_id.values() if one.origin and one.origin.doc_id == one.doc_id]
        found = {one.origin.file: one.content_hash for one in own if one.origin and one.origin.key[0] == root}
        return dict(sorted(found.items())[:n])

    def file_of(self, doc_id: str) -> str:
        origin = self.documents_by_id[doc_id].origin if doc_id in self.documents_by_id else None
        return str(origin) if origin and origin.root else ""

    def entries(self, doc_ids: Sequence[str]) -> list[Entry]:
        found = []
        for doc_id in (one for one in doc_ids if one in self.documents_by_id):
            own = [row for row in self.rows.values() if row[1].doc_id == doc_id]
            passages = [dataclasses.replace(passage, encoded_text="") for _, _, passage, _ in own]
            vectors = np.stack([row[3] for row in own]) if own else np.zeros((0, self.spec.dim), np.float32)
            found.append(Entry(self.documents_by_id[doc_id], passages, vectors))
        return found

    def exists(self) -> bool:
        return self._about is not None

    def fields(self) -> list[str]:
        return sorted({name for document in self.documents_by_id.values() for name in document.metadata})

    def facets(self, n: int) -> dict[str, list[tuple[Any, int]]]:
        counts: dict[str, Counter[tuple[type, Any]]] = {}
        for document in self.documents_by_id.values():
            for name, value in document.metadata.items():
                members = value if isinstance(value, list) else [value]
                simple = {(type(one), one) for one in members if isinstance(one, str | int | float)}
                counts.setdefault(name, Counter()).update(simple)
        ranked = {
            name: sorted(every.items(), key=lambda item: (-item[1], isinstance(item[0][1], str), item[0][1]))
            for name, every in sorted(counts.items())
        }
        return {name: [(value, count) for (_, value), count in some[:n]] for name, some in ranked.items() if some}

    def counts(self) -> dict[str, int]:
        passages = [passage for _, _, passage, _ in self.rows.values()]
        return {
            "documents": len(self.documents_by_id),
            "passages": len(passages),
            "tokens": sum(passage.n_tokens for passage in passages),
            "truncated": sum(passage.n_lost > 0 for passage in passages),
            "tokens_lost": sum(passage.n_lost for passage in passages),
        }

    def status(self) -> dict[str, Any]:
        return {**self.counts(), "encoder": self.spec.to_json(), "chunking": dict(self.chunking)}

    def snapshot(self) -> Any:
        return nullcontext()

    def migrate(self) -> tuple[int, int]:
        return 1, 1

    def prepare(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _allowed(self, where: Filter | None) -> list[int]:
        if where is not None:
            check_fields(where, self.fields())
        return [
            number
            for number, (_, document, _, _) in sorted(self.rows.items())
            if where is None or matches(where, document.doc_id, document.title, dict(document.metadata))
        ]

    def search_vectors(self, queries: Vectors, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        numbers = self._allowed(where)
        if not numbers:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        scores = self.similarities(queries, numbers)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, best, 1), np.array(numbers)[best]

    def _weight(self, word: str) -> float:
        n = sum(word in _words_of(document, passage) for _, document, passage, _ in self.rows.values())
        return max(1e-6, math.log((len(self.rows) - n + 0.5) / (n + 0.5)))

    def passages_from(self, position: float, n: int) -> list[int]:
        numbers = sorted(self.rows)
        start = numbers[0] + round(position * (numbers[-1] - numbers[0])) if numbers else 0
        return [number for number in numbers if number >= start][:n]

    def vectors_of(self, passages: Sequence[int]) -> Vectors:
        finish = self.transform or (lambda rows: rows)
        width = finish(np.zeros((1, self.spec.dim), np.float32)).shape[1]
        return np.stack([finish(self.rows[n][3][None])[0] if n in self.rows else np.zeros(width) for n in passages])

    @property
    def similarity(self) -> str:
        return self.spec.similarity

    def similarities(self, queries: Vectors, passages: Sequence[int]) -> Vectors:
        return self._scores((self.transform or (lambda rows: rows))(queries), self.vectors_of(passages))

    def _scores(self, queries: Vectors, rows: Vectors) -> Vectors:
        if self.spec.similarity != "euclidean":
            return queries @ rows.T
        differences = queries[:, None].astype(np.float64) - rows[None]
        return -np.sqrt((differences**2).sum(2)).astype(np.float32)

    def keyword_scores(self, query: str, passages: Sequence[int]) -> Vectors:
        scores, found = self.search_keywords(query, len(self.rows), None)
        every = dict(zip(found.tolist(), scores.tolist(), strict=True))
        return np.array([every.get(number, 0) for number in passages], np.float32)

    def documents(self, doc_ids: Sequence[str]) -> dict[str, StoredDocument]:
        there = [self.documents_by_id[doc_id] for doc_id in doc_ids if doc_id in self.documents_by_id]
        return {
            d.doc_id: StoredDocument(
                d.doc_id,
                d.title,
                d.text,
                d.metadata,
                [(p.start, p.end) for _, own, p, _ in self.rows.values() if own.doc_id == d.doc_id],
                [number for number, (_, own, _, _) in self.rows.items() if own.doc_id == d.doc_id],
            )
            for d in there
        }

    def select(self, where: Filter | None) -> list[str]:
        if where is not None:
            check_fields(where, self.fields())
        return [
            d.doc_id
            for d in self.documents_by_id.values()
            if where is None or matches(where, d.doc_id, d.title, dict(d.metadata))
        ]

    def search_keywords(self, query: str, k: int, where: Filter | None) -> tuple[Vectors, Ids]:
        words = {number: _words_of(document, passage) for number, (_, document, passage, _) in self.rows.items()}
        mean = sum(map(Counter.total, words.values())) / max(1, len(words))
        found = []
        for number in self._allowed(where):
            score, length = 0.0, words[number].total()
            for word in _words(query):
                count = words[number][word]
                part = count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))
                score += self._weight(word) * part if count else 0
            if score:
                found.append((-score, number))
        found = sorted(found)[:k]
        return np.array([-score for score, _ in found], np.float32), np.array([one for _, one in found], np.int64)

    def highest_keyword_score(self, query: str) -> float:
        return 2.2 * sum(map(self._weight, _words(query)))

    def keyword_terms(self, query: str, passage: int) -> dict[Term, float]:
        words = Counter(_words(query))
        alone = {word: float(self.keyword_scores(word, [passage])[0]) for word in words}
        return {Term(word, exact=False): words[word] * score for word, score in alone.items() if score}

    def fitted(self) -> Any:
        return self.transform

    def reference_scores(self, queries: Vectors) -> tuple[Vectors, Vectors]:
        finish = self.transform or (lambda rows: rows)
        queries = finish(queries)
        rows = np.zeros((len(self.rows) + 20, queries.shape[1]), np.float32)
        if self.rows:
            rows[20:] = finish(np.stack([row[3] for row in self.rows.values()]))
        scores = self._scores(queries, rows)
        if self.spec.similarity == "euclidean":
            return -np.sqrt((scores**2).mean(1)), np.zeros(len(queries), np.float32)
        if self.spec.similarity == "cosine":
            return scores.mean(1), np.ones(len(queries), np.float32)
        typical = np.sqrt((rows[20:] ** 2).sum() / max(1, len(self.rows)))
        return scores.mean(1), np.linalg.norm(queries, axis=1) * typical

    def documents_of(self, passages: Sequence[int]) -> dict[int, int]:
        return {number: self.rows[number][0] for number in passages if number in self.rows}

    def passages_of(self, documents: Sequence[int], most: int) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for number, row in sorted(self.rows.items()):
            if row[0] in documents:
                found.setdefault(row[0], []).append(number)
        return {document: numbers for document, numbers in found.items() if len(numbers) <= most}

    def doc_ids(self, documents: Iterable[int]) -> dict[int, str]:
        names = {number: doc_id for doc_id, number in self.numbers.items()}
        return {number: names[number] for number in documents if number in names}

    def show(self, passages: Sequence[int]) -> dict[int, StoredPassage]:
        return {
            number: StoredPassage(d.doc_id, d.title, d.text[p.start : p.end], p.start, p.end, d.metadata)
            for number in passages
            if number in self.rows
            for _, d, p, _ in (self.rows[number],)
        }

    @contextmanager
    def write(
        self,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str = "",
        artifacts: Mapping[str, Path] = {},
        vectors: object = None,
        store_precision: str | None = None,
    ) -> Iterator[MemoryWriter]:
        assert not artifacts
        if not self.taken.acquire(blocking=False):
            raise LockedError(f"{self.location!r} is being written by another thread")
        try:
            if self._about is None:
                self._about = spec, dict(chunking), origin
            refuse_other_encoder(self.location, self.spec, spec)
            refuse_other_chunking(self.location, self.chunking, chunking)
            if self.rows and store_precision:
                refuse_other_precision(self.location, self.storage.store_precision, store_precision)
            self.storage = Storage(store_precision) if store_precision else self.storage
            yield MemoryWriter(self)
        finally:
            self.taken.release()


class MemoryWriter:
    """A writer of a `MemoryStore`; see `StoreWriter`."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.seen = store, dict[str, str]()

    def see(self, document: Document) -> RecordError | None:
        if document.doc_id not in self.seen:
            self.seen[document.doc_id] = document.source
            return None
        first = self.seen[document.doc_id]
        return RecordError(document.source, None, f"duplicate id {document.doc_id!r}, already used in {first}")

    def remember(self, roots: Sequence[Root]) -> None:
        self.store.roots = tuple(roots)

    def plan(self, documents: Sequence[Document], *, replace: bool = False) -> Plan:
        plan = Plan([], [], 0)
        for document in documents:
            stored = self.store.documents_by_id.get(document.doc_id)
            if stored is None:
                plan.encode.append(document)
                continue
            same_text = stored.content_hash == document.content_hash
            same = same_text and stored.metadata_json == document.metadata_json
            moved = key_of(stored) != key_of(document)
            if moved and not same and document.origin and not replace:
                reason = f"the id {document.doc_id!r} belongs to a document from {str(stored.origin or Origin())!r}"
                plan.refused.append(RecordError(document.source, None, reason))
            elif not same_text:
                plan.encode.append(document)
            elif not same:
                plan.describe.append(document)
            elif moved and stored.origin:
                plan.moved.append((document, stored.origin))
        done = len(plan.encode) + len(plan.describe) + len(plan.refused)
        return dataclasses.replace(plan, unchanged=len(documents) - done)

    def commit(self, entries: Iterable[Entry], describe: Sequence[Document] = ()) -> None:
        store = self.store
        for entry in entries:
            doc_id = entry.document.doc_id
            self._drop_passages(doc_id)
            if doc_id not in store.numbers:
                store.n_documents += 1
                store.numbers[doc_id] = store.n_documents
            store.documents_by_id[doc_id] = entry.document
            codec = CODECS[store.storage.store_precision]
            stored = codec.decode(codec.encode(entry.vectors)) if entry.passages else ()
            for passage, vector in zip(entry.passages, stored, strict=True):
                store.n_passages += 1
                store.rows[store.n_passages] = (store.numbers[doc_id], entry.document, passage, vector)
        for document in describe:
            store.documents_by_id[document.doc_id] = document
            for number, (owner, old, passage, vector) in store.rows.items():
                if old.doc_id == document.doc_id:
                    store.rows[number] = (owner, document, passage, vector)

    def _drop_passages(self, doc_id: str) -> None:
        rows = self.store.rows
        self.store.rows = {number: row for number, row in rows.items() if row[1].doc_id != doc_id}

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        there = [doc_id for doc_id in dict.fromkeys(doc_ids) if doc_id in self.store.documents_by_id]
        for doc_id in there:
            self._drop_passages(doc_id)
            del self.store.documents_by_id[doc_id], self.store.numbers[doc_id]
        return there

    def unseen(self, within: Origin | None = None) -> list[tuple[str, Origin | None]]:
        return [
            (doc_id, document.origin)
            for doc_id, document in self.store.documents_by_id.items()
            if doc_id not in self.seen and (within is None or lies_in(document, within))
        ]

    def fit(self, *, again: bool = False) -> bool:
        if not self.store.spec.transform or (self.store.transform and not again):
            return False
        rows = np.stack([row[3] for row in self.store.rows.values()])
        self.store.transform = fit_transform(self.store.spec.transform, [rows], self.store.spec.dim)
        return True

    def keep_transform(self, transform: Any) -> None:
        self.store.transform = transform

    def keep_loss(self, storage: Storage) -> None:
        self.store.storage = storage

    def keep_background(self, background: Mapping[str, Any]) -> None:
        self.store.background = dict(background)

    def compact(self, *, secure: bool = False) -> bool:
        return False

    def seal(self, *, final: bool) -> None:
        pass

    def draft(self) -> MemoryStore:
        self.store.draft = self.store.draft or MemoryStore(f"{self.store.location}/draft")
        return self.store.draft

    def discard_draft(self) -> None:
        self.store.draft = None

    def adopt(self, draft: MemoryStore) -> None:
        store = self.store
        contents = [
            {document.doc_id: document.content_hash for document in each.documents_by_id.values()}
            for each in (store, draft)
        ]
        if contents[0] != contents[1]:
            raise StoreError("the draft and the index have different documents")
        rows: dict[int, Row] = {}
        for number, (_, document, passage, vector) in draft.rows.items():
            own = store.documents_by_id[document.doc_id]
            rows[store.n_passages + number] = (store.numbers[own.doc_id], own, passage, vector)
        store.n_passages += draft.n_passages
        store._about, store.storage = (draft.spec, draft.chunking, store.origin), draft.storage
        store.rows, store.transform, store.background = rows, draft.transform, draft.background


def key_of(document: Document) -> tuple[str | None, str]:
    return (document.origin or Origin()).key


def lies_in(document: Document, within: Origin) -> bool:
    (root, file), (outer_root, outer) = key_of(document), within.key
    return root == outer_root and (not outer or file == outer or file.startswith(f"{outer}/"))


def _words_of(document: Document, passage: Passage) -> Counter[str]:
    return _counted(f"{document.title} {document.text[passage.start : passage.end]}")


@lru_cache(10_000)
def _counted(text: str) -> Counter[str]:
    """Return how often each word occurs; callers do not change it."""
    return Counter(_words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
