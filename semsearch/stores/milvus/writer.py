"""The writer of an index in Milvus, which takes documents in batches and commits each batch atomically.

A commit inserts rows, marks those that they replace, writes settings, and then the row `root`, by which all of it
counts. What a crash leaves of a commit without its root is removed before the next writer begins.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import logging
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from semsearch.arrays import Vectors
from semsearch.errors import LockedError, RecordError, StoreError, UsageError
from semsearch.moments import now
from semsearch.similarity import Spread
from semsearch.stores.base import (
    Entry,
    Plan,
    Store,
    refuse_other_chunking,
    refuse_other_encoder,
)
from semsearch.stores.codecs import FLOAT32, refuse_unstorable
from semsearch.stores.milvus.address import ENDING, Address
from semsearch.stores.milvus.artifacts import artifact_settings
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.driver import Row, Session
from semsearch.stores.milvus.lease import LEASE, Lease, hold
from semsearch.stores.milvus.recall import QUERIES, K, measure
from semsearch.stores.milvus.rows import (
    About,
    abouts_of,
    described,
    document_rows,
    in_parts,
    read_abouts,
)
from semsearch.stores.milvus.schema import (
    FOREVER,
    Kind,
    create_documents,
    create_passages,
    create_settings,
    parse,
)
from semsearch.stores.milvus.states import (
    GENERATION,
    ROOT,
    State,
    has_settings,
    load,
    part_names,
    read_root,
    root_row,
    setting_rows,
)
from semsearch.stores.milvus.vectors import VectorSearch, decode, encode, searched_dim
from semsearch.stores.milvus.words import word_fields
from semsearch.stores.plans import origin_of, plan_of
from semsearch.stores.seen import Seen
from semsearch.stores.words.analysis import heading_of
from semsearch.transforms import Transform, fit_transform
from semsearch.types import Document, EncoderSpec, Origin, Passage, Root, Storage, VectorOptions
from semsearch.vector_options import RecallWarning

log = logging.getLogger(__name__)

OpenStore: TypeAlias = Callable[[Address], Store]
"""Opens the store at an address."""

PRECISION = "float32"
"""The precision of stored vectors."""

KEPT = 600 * 10**6
"""Microseconds for which rows that died stay, for readers that began before."""

AT_ONCE = 1_000
"""Number of documents or rows that are in memory at a time."""

ADOPTED = ("encoder", "chunking", "background", "storage", "spread", "transform", "vectors", "vector_index", "recall")
"""Settings that an index takes over from a draft, beside its artifacts."""


class Writing:
    """The state that a writer reads: that of its last commit."""

    def __init__(self, session: Session, state: State) -> None:
        self.session, self.state = session, state

    def exists(self) -> bool:
        """See `Reading.exists`."""
        return True

    def snapshot(self) -> Any:
        """See `Reading.snapshot`."""
        return nullcontext()


@dataclasses.dataclass(slots=True)
class Change:
    """What a commit changes.

    Attributes:
        commit: Its number.
        rows: Numbers for rows.
        documents, passages: New rows.
        dead_documents, dead_passages: Whole rows that are current no more.
        settings: Settings by name; None deletes one.
        counts: What is added to what is counted.
        state: Fields of the state that change.
    """

    commit: int
    rows: Iterator[int]
    documents: list[Row] = dataclasses.field(default_factory=list)
    passages: list[Row] = dataclasses.field(default_factory=list)
    dead_documents: list[Row] = dataclasses.field(default_factory=list)
    dead_passages: list[Row] = dataclasses.field(default_factory=list)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    state: dict[str, Any] = dataclasses.field(default_factory=dict)


class Writer:
    """An index that is open for writing; create one with `open`. See `StoreWriter`."""

    def __init__(self, writing: Writing, lease: Lease, open_store: OpenStore) -> None:
        self._writing, self._lease, self._open_store = writing, lease, open_store
        self._catalog = Catalog(writing)
        self._vectors = VectorSearch(writing, self._catalog)
        self._seen = Seen()
        self._n_long = 0

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
            _sweep(session, state)
            if state is None:
                state = _create(session, spec, chunking, origin, artifacts, options)
            else:
                for collection in (state.documents, state.passages):
                    load(session, collection)
                _roll_back(session, state)
            writer = cls(Writing(session, state), lease, open_store)
            opened.callback(writer._seen.close)
            refuse_other_encoder(address.shown, writer._catalog.spec, spec)
            refuse_other_chunking(address.shown, writer._catalog.setting("chunking"), chunking)
            writer._configure(spec, artifacts, vectors)
            yield writer

    def _configure(self, spec: EncoderSpec, artifacts: Mapping[str, Path], vectors: Mapping[str, Any]) -> None:
        """Change settings of an existing index as far as they may change."""
        change, before = self._change(), self._catalog.vector_options()
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
            self._rewrite(change, parse(options.vector_index))
        if change.settings:
            self._apply(change)

    def see(self, document: Document) -> RecordError | None:
        """See `StoreWriter.see`."""
        return self._seen.add(document)

    def remember(self, roots: Sequence[Root]) -> None:
        """See `StoreWriter.remember`."""
        self._set("roots", [dataclasses.asdict(root) for root in roots])

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
        change = self._change()
        removed = [known[document.doc_id] for document in written if document.doc_id in known]
        self._remove(change, removed)
        self._insert(change, entries, known)
        changed = [document for document in describe if document.doc_id in known]
        self._describe(change, {known[document.doc_id].number: described(document) for document in changed})
        before = [*removed, *(known[document.doc_id] for document in changed)]
        self._count_fields(change, before, [*written, *changed])
        self._apply(change)

    def delete(self, doc_ids: Sequence[str]) -> list[str]:
        """See `StoreWriter.delete`."""
        known = abouts_of(self._writing, doc_ids)
        change = self._change()
        self._remove(change, list(known.values()))
        change.counts["documents"] -= len(known)
        self._count_fields(change, list(known.values()), [])
        if known:
            self._apply(change)
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
        rows = (np.stack([decode(row["encoded"]) for row in some]) for some in self._passages(("encoded",)))
        self.keep_transform(fit_transform(spec.transform, rows, spec.dim))
        return True

    def keep_transform(self, transform: Transform) -> None:
        """See `StoreWriter.keep_transform`."""
        change = self._change()
        arrays = {"mean": transform.mean, "matrix": transform.matrix}
        coded = {name: base64.b64encode(one.astype("<f4").tobytes()).decode() for name, one in arrays.items()}
        change.settings["transform"] = {"name": transform.name, **coded}
        self._rewrite(change, parse(self._catalog.setting("vector_index")), transform)
        self._apply(change)

    def keep_loss(self, storage: Storage) -> None:
        """See `StoreWriter.keep_loss`."""
        self._set("storage", dataclasses.asdict(storage))

    def keep_background(self, background: Mapping[str, Any]) -> None:
        """See `StoreWriter.keep_background`."""
        self._set("background", dict(background))

    def draft(self) -> Store:
        """See `StoreWriter.draft`: collections of its own, beside those of the index."""
        return self._open_store(self._writing.session.address.draft)

    def discard_draft(self) -> None:
        """See `StoreWriter.discard_draft`."""
        session = self._writing.session
        kept, prefix = _collections(self._writing.state), session.address.name + ENDING
        for name in session.call("list_collections"):
            if (name == prefix or name.startswith(f"{prefix}__")) and name not in kept:
                session.call("drop_collection", name)

    def adopt(self, draft: Store) -> None:
        """See `StoreWriter.adopt`: the index takes over the draft's collection of passages."""
        with draft.write(draft.spec, draft.chunking) as drafted:
            if not isinstance(drafted, Writer):
                raise StoreError(f"the draft {draft.location!r} is not one of {self._writing.session.address.shown!r}")
            drafted._take_facts(self._writing)
            theirs, change = drafted._writing.state, self._change()
            change.settings = {key: drafted._catalog.setting(key, None) for key in ADOPTED}
            artifacts = drafted._catalog.setting("artifacts")
            keys = [f"artifact {name}/{file}" for name, files in artifacts.items() for file in files]
            change.settings |= {"artifacts": artifacts, **{key: drafted._catalog.setting(key) for key in keys}}
            taken = ("passages", "next_passage", "generation")
            change.state = {name: getattr(theirs, name) for name in taken}
            change.counts = Counter({key: theirs.counts.get(key, 0) - n for key, n in self._catalog.counts().items()})
            change.counts["documents"] = 0
            self._apply(change)

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
            facts = [_facts(one, [about.number for about in some]) for one in (index, self._writing)]
            other = {number: row for number, row in facts[0].items() if facts[1].get(number) != row}
            if other:
                change = self._change()
                self._describe(change, other)
                self._apply(change)

    def seal(self, *, final: bool) -> None:
        """See `StoreWriter.seal`: asks the server to seal its segments, and deletes rows that no reader needs."""
        if not final:
            return
        if self._n_long:
            log.warning("%d passages have more terms than Milvus stores; their rarest are not found", self._n_long)
        self._purge(time.time_ns() // 1_000 - KEPT)

    def compact(self, *, secure: bool = False) -> bool:
        """See `StoreWriter.compact`: deletes all rows that died, and asks the server to free their space.

        It then measures recall, for which it reads all vectors, and chooses the effort that reaches the target.
        """
        if secure:
            self.discard_draft()
        self._purge(self._writing.state.commit)
        for collection in _collections(self._writing.state):
            self._writing.session.call("compact", collection)
        return self._measure()

    def _measure(self) -> bool:
        before, numbers = self._catalog.setting("recall", None), list[int]()
        for some in self._passages(("passage",)):
            numbers += [row["passage"] for row in some]
        if len(numbers) <= K or parse(self._catalog.setting("vector_index")).name == "FLAT":
            return False
        queries = np.array(random.Random(0).sample(numbers, min(QUERIES, len(numbers))), np.int64)
        target, similarity = self._catalog.vector_options().target_recall, self._catalog.spec.similarity
        measured = measure(self._vectors, similarity, self._passages(("passage", "vector")), queries, target)
        if measured["recall"] < target:
            warnings.warn(
                f"the vector index of {self._writing.session.address.shown!r} finds {measured['recall']:.1%} of the "
                f"ten nearest at most, less than {target:.1%}; for more, pass another `vector_index`, such as HNSW64",
                RecallWarning,
                stacklevel=3,
            )
        self._set("recall", measured)
        return bool(measured["effort"] != (before or {}).get("effort", 1))

    def _purge(self, before: int) -> None:
        session, state = self._writing.session, self._writing.state
        for collection in _collections(state):
            session.call("delete", collection, filter=f"died <= {min(before, state.commit)}")
            session.call("flush", collection)
        current = {name for key, place in state.settings.items() for name in part_names(key, *place)} | {ROOT, LEASE}
        keys = [row["key"] for row in session.rows(session.address.name, 'key != ""', ("key",))]
        old = [key for key in keys if key not in current and int(key.rpartition("@")[2].partition("#")[0]) < before]
        for some in in_parts(old, AT_ONCE):
            session.call("delete", session.address.name, ids=some)

    def _change(self) -> Change:
        state = self._writing.state
        return Change(state.next_commit(), itertools.count(state.next_row))

    def _set(self, key: str, value: Any) -> None:
        change = self._change()
        change.settings[key] = value
        self._apply(change)

    def _apply(self, change: Change) -> None:
        """Commit a change.

        Raises:
            LockedError: If another writer has taken over.
        """
        session, state = self._writing.session, self._writing.state
        address = session.address
        self._lease.refuse_loss()
        for collection, new, dead in (
            (state.documents, change.documents, change.dead_documents),
            (state.passages, change.passages, change.dead_passages),
        ):
            session.insert(collection, new)
            session.replace(collection, [{**row, "died": change.commit} for row in dead])
        settings = {key: value for key, value in state.settings.items() if key not in change.settings}
        written = {**change.settings, "updated": now()}
        for key, value in written.items():
            if value is not None:
                rows = setting_rows(key, change.commit, json.dumps(value))
                session.insert(address.name, rows)
                settings[key] = [change.commit, len(rows)]
        counts = Counter(state.counts)
        counts.update(change.counts)
        changed = {"commit": change.commit, "settings": settings, "counts": dict(counts), "next_row": next(change.rows)}
        after = dataclasses.replace(state, **{**changed, **change.state})
        self._lease.refuse_loss()
        stored = read_root(session)
        if stored is None or stored.commit != state.commit:
            raise LockedError(f"{address.shown!r} was changed by another process meanwhile; run the same command again")
        session.replace(address.name, [root_row(after)])
        self._writing.state = after

    def _remove(self, change: Change, abouts: Sequence[About]) -> None:
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

    def _insert(self, change: Change, entries: Sequence[Entry], known: Mapping[str, About]) -> None:
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
        self._n_long += n_long
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
            facts = _facts(index, [about.number for about in known.values()])
            return {doc_id: (about.number, facts[about.number]) for doc_id, about in known.items()}

    def _describe(self, change: Change, fields: Mapping[int, Row]) -> None:
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

    def _count_fields(self, change: Change, before: Sequence[About], after: Sequence[Document]) -> None:
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

    def _rewrite(self, change: Change, kind: Kind, transform: Transform | None = None) -> None:
        """Copy all passages to a new collection, with another vector index or searched by another transform."""
        session, spec, spread = self._writing.session, self._catalog.spec, None
        name = _new_name(session.address, "passages", change.commit)
        create_passages(session, name, self._vectors.dim, spec.similarity, kind)
        load(session, name)
        for some in self._passages():
            if transform:
                searched = transform(np.stack([decode(row["encoded"]) for row in some]))
                own = Spread.of(spec.similarity, searched)
                spread = own if spread is None else spread + own
                some = [{**row, "vector": vector.tolist()} for row, vector in zip(some, searched, strict=True)]
            session.insert(name, some)
        if transform:
            change.settings["spread"] = spread.to_json() if spread else None
        change.state["passages"] = name

    def _passages(self, fields: Sequence[str] = ("*",)) -> Iterator[list[Row]]:
        """Yield all passages, some at a time."""
        state = self._writing.state
        rows = self._writing.session.rows(state.passages, state.visible(), fields)
        while some := list(itertools.islice(rows, AT_ONCE)):
            yield some

    def _rows(self, collection: str, condition: str) -> list[Row]:
        """Return whole rows."""
        return list(self._writing.session.rows(collection, self._writing.state.visible(condition), ("*",)))


def _create(
    session: Session,
    spec: EncoderSpec,
    chunking: Mapping[str, Any],
    origin: str,
    artifacts: Mapping[str, Path],
    options: VectorOptions,
) -> State:
    """Create the collections of a new index, and its first state."""
    address, commit = session.address, time.time_ns() // 1_000
    documents, passages = (_new_name(address, what, commit) for what in ("documents", "passages"))
    create_documents(session, documents)
    state = State(commit, documents, passages)
    if address.drafted:
        with closing(Session(address.drafted)) as parent:
            index = read_root(parent)
        generation = (index.generation if index else 0) + 1
        first = generation * GENERATION
        state = dataclasses.replace(state, generation=generation, next_passage=first, next_document=first)
    dim = searched_dim(spec)
    create_passages(session, passages, dim, spec.similarity, parse(options.vector_index))
    settings = {
        "encoder": spec.to_json(),
        "chunking": dict(chunking),
        "origin": origin,
        "created": now(),
        "updated": now(),
        "vectors": options.to_json(),
        "vector_index": options.vector_index,
        **artifact_settings(artifacts, {}),
    }
    places = {}
    for key, value in settings.items():
        rows = setting_rows(key, commit, json.dumps(value))
        session.insert(address.name, rows)
        places[key] = [commit, len(rows)]
    for collection in (documents, passages):
        load(session, collection)
    state = dataclasses.replace(state, settings=places)
    session.replace(address.name, [root_row(state)])
    return state


def _new_name(address: Address, what: str, commit: int) -> str:
    return f"{address.name}__{what}_{commit}"


def _collections(state: State | None) -> set[str]:
    return {state.documents, state.passages} if state else set()


def _sweep(session: Session, state: State | None) -> None:
    """Drop collections of the index that no state names: those that were replaced, or left by a crash."""
    name, kept = session.address.name, _collections(state)
    if session.address.drafted:
        with closing(Session(session.address.drafted)) as parent:
            kept |= _collections(read_root(parent))
    for collection in session.call("list_collections"):
        own = collection.startswith(f"{name}__") and (name.endswith(ENDING) or not collection.startswith(name + ENDING))
        if own and collection not in kept:
            session.call("drop_collection", collection)


def _roll_back(session: Session, state: State) -> None:
    """Remove what a crash has left of a commit."""
    for collection in _collections(state):
        session.call("delete", collection, filter=f"born > {state.commit}")
        undone = list(session.rows(collection, f"died > {state.commit} and died < {FOREVER}", ("*",)))
        session.replace(collection, [{**row, "died": FOREVER} for row in undone])


def _facts(reading: Writing, documents: Sequence[int]) -> dict[int, Row]:
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


def _is_within(about: About, origin: Origin) -> bool:
    root, file = origin.key
    if about.root != root:
        return False
    return not file or (about.file is not None and (about.file == file or about.file.startswith(f"{file}/")))
