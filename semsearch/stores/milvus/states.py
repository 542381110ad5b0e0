"""The states of an index in Milvus: the row `root`, the settings that it names, and snapshots of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from threading import local
from typing import Any, Protocol

from semsearch.errors import DamagedError, NoIndexError, SchemaError, StoreError
from semsearch.stores.milvus.address import Address
from semsearch.stores.milvus.driver import Row, Session
from semsearch.stores.milvus.schema import FORMAT, NOTHING, SETTINGS

ROOT = "root"

PART = 60_000
"""Number of characters of a setting in one row, all of them ASCII."""

GENERATION = 2**40
"""Number of passages for which there are numbers between two adoptions of a draft."""

READ = 64
"""Number of these parts that are read at a time: 4 MB."""


@dataclass(frozen=True, slots=True)
class State:
    """What the row `root` says: a commit.

    Attributes:
        commit: Number of the commit: microseconds since 1970, and higher than that of the commit before.
        documents, passages: Names of the collections.
        next_row, next_document, next_passage: The lowest numbers that were never used.
        generation: Number of times that a draft was adopted; one more in a draft.
        settings: For each setting, the commit that wrote it and the number of its parts.
        counts: What `Catalog.counts` returns.
        format: Version of the layout.
    """

    commit: int
    documents: str
    passages: str
    next_row: int = 1
    next_document: int = 1
    next_passage: int = 1
    generation: int = 0
    settings: Mapping[str, Sequence[int]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def first_passage(self) -> int:
        """The lowest number of a passage that may exist."""
        return self.generation * GENERATION or 1

    def visible(self, *conditions: str) -> str:
        """Return the condition for rows that are current in this state and meet further conditions."""
        return visible(self.commit, *conditions)

    def next_commit(self) -> int:
        """Return the number of the commit after this one."""
        return max(time.time_ns() // 1_000, self.commit + 1)


def visible(commit: int, *conditions: str) -> str:
    """Return the condition for rows that are current after a commit and meet conditions; empty ones are none."""
    return " and ".join([f"born <= {commit} and died > {commit}", *filter(None, conditions)])


def read_root(session: Session) -> State | None:
    """Return the current state; None if there is no index.

    Raises:
        NoIndexError: If the name of the index is that of another collection.
        SchemaError: If the index is from a newer program.
        DamagedError: If the row is not valid.
    """
    address, was_there = session.address, session.has_index
    try:
        found = read_values(session, [ROOT]) if was_there or has_settings(session) else {}
    except StoreError:
        if not was_there:
            raise
        session.has_index = False  # it may have been dropped
        return read_root(session)
    session.has_index = ROOT in found
    if not found:
        return None
    try:
        stored = json.loads(found[ROOT])
        version = int(stored["format"])
        if version > FORMAT:
            raise SchemaError(
                f"{address.shown!r} was written by a newer version of semsearch (schema {version}, this one reads up "
                f"to {FORMAT}); upgrade semsearch"
            )
        return State(**stored)
    except (KeyError, TypeError, ValueError):
        raise damaged(address, "its row 'root' is not valid") from None


def has_settings(session: Session) -> bool:
    """Return whether there is a collection of settings, with or without an index.

    Raises:
        NoIndexError: If there is another collection of this name.
    """
    address = session.address
    if not session.call("has_collection", address.name):
        return False
    fields = {field["name"] for field in session.call("describe_collection", address.name)["fields"]}
    if fields != SETTINGS:
        raise NoIndexError(
            f"no index in {address.shown!r}, where another collection is named {address.name!r}; choose another with "
            "index=NAME in the URL"
        )
    load(session, address.name)
    return True


def load(session: Session, collection: str) -> None:
    """Make a collection searchable, unless it is."""
    if "Loaded" not in str(session.call("get_load_state", collection)["state"]).replace("NotLoad", ""):
        session.call("load_collection", collection)


def read_values(session: Session, keys: Sequence[str]) -> dict[str, str]:
    """Return the values of rows of settings; missing ones are left out."""
    found: dict[str, str] = {}
    for start in range(0, len(keys), READ):
        ids = list(keys[start : start + READ])
        rows = session.call("get", session.address.name, ids=ids, output_fields=["key", "value"])
        found |= {row["key"]: row["value"] for row in rows}
    return found


def setting_rows(key: str, commit: int, value: str) -> list[Row]:
    """Return the rows of a setting."""
    parts = [value[start : start + PART] for start in range(0, max(len(value), 1), PART)]
    names = part_names(key, commit, len(parts))
    return [{"key": name, "value": part, "nothing": NOTHING} for name, part in zip(names, parts, strict=True)]


def part_names(key: str, commit: int, n: int) -> list[str]:
    """Return the keys of the n rows of a setting that a commit has written."""
    return [f"{key}@{commit}#{part}" for part in range(n)]


def root_row(state: State) -> Row:
    """Return the row that makes a state the current one."""
    return {"key": ROOT, "value": json.dumps(asdict(state)), "nothing": NOTHING}


def damaged(address: Address, what: str) -> DamagedError:
    """Return the error for an index whose content is not what was written."""
    return DamagedError(
        f"the index {address.shown!r} is damaged: {what}; restore it from a backup of the server, or drop its "
        "collections and build it again"
    )


class Reading(Protocol):
    """What reads need: a connection and the state that they see."""

    session: Session

    @property
    def state(self) -> State:
        """The state that is read; must be called inside a snapshot."""
        ...

    def exists(self) -> bool:
        """Return whether there is an index."""
        ...

    def snapshot(self) -> Any:
        """Let every read of this thread see the same state; nested snapshots are part of the outermost one."""
        ...


class Snapshots:
    """Reads the state at the beginning of each snapshot; threads may share one instance."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._mine = local()
        self._loaded: set[str] = set()

    @property
    def state(self) -> State:
        """See `Reading.state`."""
        state: State = self._mine.state
        return state

    def exists(self) -> bool:
        """See `Reading.exists`."""
        return getattr(self._mine, "state", None) is not None or read_root(self.session) is not None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Reading.snapshot`.

        Raises:
            NoIndexError: If there is no index.
        """
        if getattr(self._mine, "state", None) is not None:
            yield
            return
        state = read_root(self.session)
        if state is None:
            raise NoIndexError(
                f"no index in {self.session.address.shown!r}; create one with: semsearch index CORPUS --index URL"
            )
        for collection in {state.documents, state.passages} - self._loaded:
            load(self.session, collection)
            self._loaded.add(collection)
        self._mine.state = state
        try:
            yield
        finally:
            self._mine.state = None
