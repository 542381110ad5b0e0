"""Commits of an index in Milvus, its creation, and the removal of what crashes and older commits have left.

A commit inserts rows, marks those that they replace, writes settings, and then the row `root`, by which all of it
counts.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from semsearch.errors import LockedError
from semsearch.moments import now
from semsearch.stores.milvus.address import ENDING, Address
from semsearch.stores.milvus.artifacts import artifact_settings
from semsearch.stores.milvus.catalog import Catalog
from semsearch.stores.milvus.driver import Row, Session
from semsearch.stores.milvus.lease import LEASE, Lease
from semsearch.stores.milvus.rows import in_parts
from semsearch.stores.milvus.schema import FOREVER, create_documents, create_passages, parse
from semsearch.stores.milvus.states import GENERATION, ROOT, State, load, part_names, read_root, root_row, setting_rows
from semsearch.stores.milvus.vectors import searched_dim
from semsearch.types import EncoderSpec, VectorOptions

AT_ONCE = 1_000
"""Number of rows of settings that are deleted at a time."""


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


class Commits:
    """Applies changes, one after another, while the lease is held."""

    def __init__(self, writing: Writing, lease: Lease) -> None:
        self._writing, self._lease = writing, lease
        self._catalog = Catalog(writing)
        self._is_torn = False

    def begin(self) -> Change:
        """Return a change of the current state in which nothing has changed yet, after undoing one that failed."""
        state = self._writing.state
        if self._is_torn:
            roll_back(self._writing.session, state)
            self._is_torn = False
        return Change(state.next_commit(), itertools.count(state.next_row))

    def set(self, key: str, value: Any) -> None:
        """Commit a setting."""
        change = self.begin()
        change.settings[key] = value
        self.apply(change)

    def apply(self, change: Change) -> None:
        """Commit a change.

        Raises:
            LockedError: If another writer has taken over.
        """
        self._lease.refuse_loss()
        self._is_torn = True
        self._write(change)
        self._is_torn = False

    def _write(self, change: Change) -> None:
        session, state = self._writing.session, self._writing.state
        address = session.address
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

    def purge(self, before: int) -> None:
        """Delete rows and settings that were replaced before a commit, and ask the server to seal its segments."""
        session, state = self._writing.session, self._writing.state
        for collection in collections(state):
            session.call("delete", collection, filter=f"died <= {min(before, state.commit)}")
            session.call("flush", collection)
        self._delete_unused(before)

    def _delete_unused(self, before: int) -> None:
        """Delete settings that no state names, and that were found unused before a commit already."""
        session, state = self._writing.session, self._writing.state
        current = {name for key, place in state.settings.items() for name in part_names(key, *place)} | {ROOT, LEASE}
        keys = [row["key"] for row in session.rows(session.address.name, 'key != ""', ("key",))]
        unused = [key for key in keys if key not in current]
        known = self._catalog.setting("unused", None) or {"since": state.commit, "keys": []}
        if before < state.commit and before < known["since"] and known["keys"]:
            return  # a reader that began before may need them
        known_keys = set(known["keys"])
        gone = [key for key in unused if before >= state.commit or key in known_keys]
        for some in in_parts(gone, AT_ONCE):
            session.call("delete", session.address.name, ids=some)
        kept = [key for key in unused if key not in set(gone)]
        self.set("unused", {"since": time.time_ns() // 1_000, "keys": kept} if kept else None)


def create(
    session: Session,
    spec: EncoderSpec,
    chunking: Mapping[str, Any],
    origin: str,
    artifacts: Mapping[str, Path],
    options: VectorOptions,
) -> State:
    """Create the collections of a new index, and its first state."""
    address, commit = session.address, time.time_ns() // 1_000
    documents, passages = (new_name(address, what, commit) for what in ("documents", "passages"))
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


def new_name(address: Address, what: str, commit: int) -> str:
    """Return a name for a collection that a commit creates."""
    return f"{address.name}__{what}_{commit}"


def collections(state: State | None) -> set[str]:
    """Return the names of the collections of a state; none if there is none."""
    return {state.documents, state.passages} if state else set()


def sweep(session: Session, state: State | None) -> None:
    """Drop collections of the index that no state names: those that were replaced, or left by a crash."""
    name, kept = session.address.name, collections(state)
    if session.address.drafted:
        with closing(Session(session.address.drafted)) as parent:
            kept |= collections(read_root(parent))
    for collection in session.call("list_collections"):
        own = collection.startswith(f"{name}__") and (name.endswith(ENDING) or not collection.startswith(name + ENDING))
        if own and collection not in kept:
            session.call("drop_collection", collection)


def roll_back(session: Session, state: State) -> None:
    """Remove what a crash has left of a commit."""
    for collection in collections(state):
        session.call("delete", collection, filter=f"born > {state.commit}")
        undone = list(session.rows(collection, f"died > {state.commit} and died < {FOREVER}", ("*",)))
        session.replace(collection, [{**row, "died": FOREVER} for row in undone])
