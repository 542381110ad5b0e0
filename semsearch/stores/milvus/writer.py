"""The writer of an index in Milvus, which takes documents in batches and commits each batch atomically.

What a crash leaves of a commit is removed before the next writer begins.
"""

from __future__ import annotations

import base64
import dataclasses
import logging
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from semsearch.errors import RecordError, StoreError, UsageError
from semsearch.stores.base import Entry, Plan, Store, refuse_other_chunking, refuse_other_encoder
from semsearch.stores.milvus.address import ENDING, Address
from semsearch.stores.milvus.artifacts import artifact_settings
from semsearch.stores.milvus.batches import AT_ONCE, PRECISION, Batches, facts_of
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.commits import Commits, Writing, collections, create, roll_back, sweep
from semsearch.stores.milvus.driver import Session
from semsearch.stores.milvus.lease import Lease, hold
from semsearch.stores.milvus.recall import QUERIES, K, measure
from semsearch.stores.milvus.rows import About, abouts_of, described, in_parts, read_abouts
from semsearch.stores.milvus.schema import create_settings, parse
from semsearch.stores.milvus.states import has_settings, load, read_root
from semsearch.stores.milvus.vectors import VectorSearch, decode
from semsearch.stores.plans import origin_of, plan_of
from semsearch.stores.seen import Seen
from semsearch.transforms import Transform, fit_transform
from semsearch.types import Document, EncoderSpec, Origin, Root, Storage, VectorOptions
from semsearch.vector_options import RecallWarning

log = logging.getLogger(__name__)

OpenStore: TypeAlias = Callable[[Address], Store]
"""Opens the store at an address."""

KEPT = 600 * 10**6
"""Microseconds for which rows that died stay, for readers that began before."""

ADOPTED = ("encoder", "chunking", "background", "storage", "spread", "transform", "vectors", "vector_index", "recall")
"""Settings that an index takes over from a draft, beside its artifacts."""


class Writer:
    """An index that is open for writing; create one with `open`. See `StoreWriter`."""

    def __init__(self, writing: Writing, lease: Lease, open_store: OpenStore) -> None:
        self._writing, self._open_store = writing, open_store
        self._catalog = Catalog(writing)
        self._vectors = VectorSearch(writing, self._catalog)
        self._batches = Batches(writing, self._catalog, self._vectors)
        self._commits = Commits(writing, lease)
        self._seen = Seen()

    @classmethod
    @contextmanager
    def open(
        cls,
        address: Address,
        spec: EncoderSpec,
        chunking: Mapping[str, Any],
        origin: str,
        artifacts: Mapping[str, Path],
        vectors: Mapping[str, Any],
        store_precision: str | None,
        open_store: OpenStore,
    ) -> Iterator[Self]:
        """Open the index for writing; create it if it does not exist. The store of a draft is opened by `open_store`.

        Raises:
            LockedError: If another process is writing.
            MismatchError: If the index was built with another encoder or other chunking settings.
            NoIndexError: If there is another collection of the index's name.
            UsageError: If Milvus cannot store vectors in the precision, or has no such vector index.
        """
        if store_precision not in (None, PRECISION):
            raise UsageError(
                f"`store_precision` is {store_precision!r}; Milvus stores vectors as {PRECISION}, with fewer bits "
                "in memory by a `vector_index` such as HNSW32,SQ8"
            )
        options = VectorOptions(**vectors)
        parse(options.vector_index)
        with ExitStack() as opened:
            session = opened.enter_context(closing(Session(address)))
            if not has_settings(session):
                create_settings(session)
                load(session, address.name)
            lease = opened.enter_context(hold(session))
            state = read_root(session)
            sweep(session, state)
            if state is None:
                state = create(session, spec, chunking, origin, artifacts, options)
            else:
                for collection in (state.documents, state.passages):
                    load(session, collection)
                roll_back(session, state)
            writer = cls(Writing(session, state), lease, open_store)
            opened.callback(writer._seen.close)
            refuse_other_encoder(address.shown, writer._catalog.spec, spec)
            refuse_other_chunking(address.shown, writer._catalog.setting("chunking"), chunking)
            writer._configure(spec, artifacts, vectors)
            yield writer

    def _configure(self, spec: EncoderSpec, artifacts: Mapping[str, Path], vectors: Mapping[str, Any]) -> None:
        """Change settings of an existing index as far as they may change."""
        change, before = self._commits.begin(), self._catalog.vector_options()
        if spec.model != self._catalog.spec.model:  # the same checkpoint at another location
            change.settings["encoder"] = spec.to_json()
        if missing := {
            name: path for name, path in artifacts.items() if name not in self._catalog.setting("artifacts")
        }:
            change.settings |= artifact_settings(missing, self._catalog.setting("artifacts"))
        options = dataclasses.replace(before, **vectors)
        if options != before:
            change.settings["vectors"] = options.to_json()
        if parse(options.vector_index) != parse(self._catalog.setting("vector_index")):
            change.settings |= {"vector_index": options.vector_index, "recall": None}
            self._batches.rewrite(change, parse(options.vector_index))
        if change.settings:
            self._commits.apply(change)

    def see(self, document: Document) -> RecordError | None:
        """See `StoreWriter.see`."""
        return self._seen.add(document)

    def remember(self, roots: Sequence[Root]) -> None:
        """See `StoreWriter.remember`."""
        self._commits.set("roots", [dataclasses.asdict(root) for root in roots])

    def plan(self, documents: Sequence[Document], *, replace: bool = False) -> Plan:
        """See `StoreWriter.plan`."""
        known = abouts_of(self._writing, [document.doc_id for document in documents])
        roots = {root.name: root for root in self._catalog.roots()}
        stored = {doc_id: about.stored for doc_id, about in known.items()}
        return plan_of(documents, stored, roots, replace=replace)

    def commit(self, entries: Iterable[Entry], describe: Sequence[Document] = ()) -> None:
        """See `StoreWriter.commit`."""
        entries = list(entries)
        written = [entry.document for entry in entries]
        known = abouts_of(self._writing, [document.doc_id for document in (*written, *describe)])
        change = self._commits.begin()
        removed = [known[document.doc_id] for document in written if document.doc_id in known]
        self._batches.remove(change, removed)
        self._batches.insert(change, entries, known)
        changed = [document for document in describe if document.doc_id in known]
        self._batches.describe(change, {known[document.doc_id].number: described(document) for document in changed})
        before = [*removed, *(known[document.doc_id] for document in changed)]
        self._batches.count_fields(change, before, [*written, *changed])
        self._commits.apply(change)

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """See `StoreWriter.delete`."""
        known = abouts_of(self._writing, doc_ids)
        change = self._commits.begin()
        self._batches.remove(change, list(known.values()))
        change.counts["documents"] -= len(known)
        self._batches.count_fields(change, list(known.values()), [])
        if known:
            self._commits.apply(change)
        return list(known)

    def unseen(self, within: Origin | None = None) -> list[tuple[str, Origin | None]]:
        """See `StoreWriter.unseen`."""
        roots = {root.name: root for root in self._catalog.roots()}
        return [
            (about.doc_id, origin_of(roots, about.root, about.file))
            for about in read_abouts(self._writing)
            if (within is None or _is_within(about, within)) and about.doc_id not in self._seen
        ]

    def fit(self, *, again: bool = False) -> bool:
        """See `StoreWriter.fit`."""
        spec = self._catalog.spec
        if not spec.transform or (not again and self._catalog.transform()):
            return False
        rows = (np.stack([decode(row["encoded"]) for row in some]) for some in self._batches.passages(("encoded",)))
        self.keep_transform(fit_transform(spec.transform, rows, spec.dim))
        return True

    def keep_transform(self, transform: Transform) -> None:
        """See `StoreWriter.keep_transform`."""
        change = self._commits.begin()
        arrays = {"mean": transform.mean, "matrix": transform.matrix}
        coded = {name: base64.b64encode(one.astype("<f4").tobytes()).decode() for name, one in arrays.items()}
        change.settings["transform"] = {"name": transform.name, **coded}
        self._batches.rewrite(change, parse(self._catalog.setting("vector_index")), transform)
        self._commits.apply(change)

    def keep_loss(self, storage: Storage) -> None:
        """See `StoreWriter.keep_loss`."""
        self._commits.set("storage", dataclasses.asdict(storage))

    def keep_background(self, background: Mapping[str, Any]) -> None:
        """See `StoreWriter.keep_background`."""
        self._commits.set("background", dict(background))

    def draft(self) -> Store:
        """See `StoreWriter.draft`: collections of its own, beside those of the index."""
        return self._open_store(self._writing.session.address.draft)

    def discard_draft(self) -> None:
        """See `StoreWriter.discard_draft`."""
        session = self._writing.session
        kept, prefix = collections(self._writing.state), session.address.name + ENDING
        for name in session.call("list_collections"):
            if (name == prefix or name.startswith(f"{prefix}__")) and name not in kept:
                session.call("drop_collection", name)

    def adopt(self, draft: Store) -> None:
        """See `StoreWriter.adopt`: the index takes over the draft's collection of passages."""
        with draft.write(draft.spec, draft.chunking) as drafted:
            if not isinstance(drafted, Writer):
                raise StoreError(f"the draft {draft.location!r} is not one of {self._writing.session.address.shown!r}")
            drafted._take_facts(self._writing)
            theirs, change = drafted._writing.state, self._commits.begin()
            change.settings = {key: drafted._catalog.setting(key, None) for key in ADOPTED}
            artifacts = drafted._catalog.setting("artifacts")
            keys = [f"artifact {name}/{file}" for name, files in artifacts.items() for file in files]
            change.settings |= {"artifacts": artifacts, **{key: drafted._catalog.setting(key) for key in keys}}
            taken = ("passages", "next_passage", "generation")
            change.state = {name: getattr(theirs, name) for name in taken}
            change.counts = Counter({key: theirs.counts.get(key, 0) - n for key, n in self._catalog.counts().items()})
            change.counts["documents"] = 0
            self._commits.apply(change)

    def _take_facts(self, index: Writing) -> None:
        """Let the passages of a draft have what filters read of the index's documents, as they are now.

        Raises:
            StoreError: If the draft does not have the documents of the index.
        """
        ours, theirs = ({about.doc_id: about for about in read_abouts(one)} for one in (index, self._writing))
        different = [
            doc_id
            for doc_id in {*ours, *theirs}
            if doc_id not in ours or doc_id not in theirs or ours[doc_id].content_hash != theirs[doc_id].content_hash
        ]
        if different:
            raise StoreError(
                f"the index and its draft {self._writing.session.address.shown!r} have different documents, such as "
                f"{min(different)!r}; run the same command again"
            )
        for some in in_parts(list(ours.values()), AT_ONCE):
            facts = [facts_of(one, [about.number for about in some]) for one in (index, self._writing)]
            other = {number: row for number, row in facts[0].items() if facts[1].get(number) != row}
            if other:
                change = self._commits.begin()
                self._batches.describe(change, other)
                self._commits.apply(change)

    def seal(self, *, final: bool) -> None:
        """See `StoreWriter.seal`: asks the server to seal its segments, and deletes rows that no reader needs."""
        if not final:
            return
        if self._batches.n_long:
            log.warning(
                "%d passages have more terms than Milvus stores; their rarest are not found", self._batches.n_long
            )
        self._commits.purge(time.time_ns() // 1_000 - KEPT)

    def compact(self, *, secure: bool = False) -> bool:
        """See `StoreWriter.compact`: deletes all rows that died, and asks the server to free their space.

        It then measures recall, for which it reads all vectors, and chooses the effort that reaches the target.
        """
        if secure:
            self.discard_draft()
        self._commits.purge(self._writing.state.commit)
        for collection in collections(self._writing.state):
            self._writing.session.call("compact", collection)
        return self._measure()

    def _measure(self) -> bool:
        before, numbers = self._catalog.setting("recall", None), list[int]()
        for some in self._batches.passages(("passage",)):
            numbers += [row["passage"] for row in some]
        if len(numbers) <= K or parse(self._catalog.setting("vector_index")).name == "FLAT":
            return False
        queries = np.array(random.Random(0).sample(numbers, min(QUERIES, len(numbers))), np.int64)
        target, similarity = self._catalog.vector_options().target_recall, self._catalog.spec.similarity
        measured = measure(self._vectors, similarity, self._batches.passages(("passage", "vector")), queries, target)
        if measured["recall"] < target:
            warnings.warn(
                f"the vector index of {self._writing.session.address.shown!r} finds {measured['recall']:.1%} of the "
                f"ten nearest at most, less than {target:.1%}; for more, pass another `vector_index`, such as HNSW64",
                RecallWarning,
                stacklevel=3,
            )
        self._commits.set("recall", measured)
        return bool(measured["effort"] != (before or {}).get("effort", 1))

    def _set(self, key: str, value: Any) -> None:
        change = self._commits.begin()
        change.settings[key] = value
        self._commits.apply(change)


def _is_within(about: About, origin: Origin) -> bool:
    root, file = origin.key
    if about.root != root:
        return False
    return not file or (about.file is not None and (about.file == file or about.file.startswith(f"{file}/")))
