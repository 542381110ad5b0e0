"""Information about an index in Milvus: its settings, counts, fields and roots."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semsearch.errors import DamagedError
from semsearch.stores.milvus.address import Address
from semsearch.stores.milvus.rows import abouts_of, read_abouts
from semsearch.stores.milvus.schema import FORMAT, chosen
from semsearch.stores.milvus.states import Reading, damaged, part_names, read_values
from semsearch.stores.settings import COUNTED, REQUIRED, Settings
from semsearch.transforms import Transform
from semsearch.types import Storage

if TYPE_CHECKING:
    from semsearch.filters.syntax import Value


class Catalog(Settings):
    """Reads information about an index; every method must be called inside a snapshot."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self._reading = reading
        self._settings: dict[str, tuple[int, Any]] = {}
        self._transform: tuple[Any, Transform] | None = None
        self._facets: tuple[int, int, dict[str, list[tuple[Value, int]]]] | None = None

    @property
    def shown(self) -> str:
        """See `Settings.shown`."""
        return self.address.shown

    @property
    def address(self) -> Address:
        """Where the index is."""
        return self._reading.session.address

    def setting(self, key: str, otherwise: Any = REQUIRED) -> Any:
        """See `Settings.setting`."""
        place = self._reading.state.settings.get(key)
        if place is None and otherwise is not REQUIRED:
            return otherwise
        if place is None:
            raise self.damaged(f"its setting {key!r} is missing")
        commit, n = place
        known = self._settings.get(key)
        if known is None or known[0] != commit:
            names = part_names(key, commit, n)
            found = read_values(self._reading.session, names)
            try:
                known = self._settings[key] = commit, json.loads("".join(found[name] for name in names))
            except (KeyError, ValueError):
                raise self.damaged(f"its setting {key!r} is missing or not valid") from None
        return known[1]

    def storage(self) -> Storage:
        """See `Store.storage`; what is measured of it comes from another store."""
        return Storage(**self.setting("storage", {}))

    def counts(self) -> dict[str, int]:
        """See `Store.counts`; also counts `words`."""
        return {name: int(self._reading.state.counts.get(name, 0)) for name in COUNTED}

    def fields(self) -> list[str]:
        """See `Store.fields`."""
        return sorted(self.setting("fields", {}))

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """See `Store.facets`; this reads all documents, once for each state."""
        commit = self._reading.state.commit
        if self._facets is None or self._facets[:2] != (commit, n):
            counted: dict[str, Counter[tuple[bool, Value]]] = {}
            for about in read_abouts(self._reading):
                for name, value in json.loads(about.metadata).items():
                    members = value if isinstance(value, list) else [value]
                    scalars = {(isinstance(one, bool), one) for one in members if isinstance(one, str | int | float)}
                    if scalars:
                        counted.setdefault(name, Counter()).update(scalars)
            self._facets = commit, n, {name: _most_frequent(counted[name], n) for name in sorted(counted)}
        return self._facets[2]

    def exists(self) -> bool:
        """See `Store.exists`."""
        return self._reading.exists()

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """See `Store.files_of`."""
        own = [about for about in read_abouts(self._reading) if about.root == root and about.is_file]
        return dict(sorted((about.file or "", about.content_hash) for about in own)[:n])

    def file_of(self, doc_id: str) -> str:
        """See `Store.file_of`."""
        roots = {root.name: root.path for root in self.roots()}
        for about in abouts_of(self._reading, [doc_id]).values():
            if about.root in roots and about.file is not None:
                return os.path.join(roots[about.root], *about.file.split("/"))
        return ""

    def transform(self) -> Transform | None:
        """Return the fitted transform; None if there is none (yet)."""
        stored = self.setting("transform", None)
        if stored is None:
            return None
        if self._transform is None or self._transform[0] is not stored:
            try:
                mean, matrix = (np.frombuffer(base64.b64decode(stored[name]), "<f4") for name in ("mean", "matrix"))
                self._transform = stored, Transform(str(stored["name"]), mean, matrix.reshape(len(mean), -1))
            except (KeyError, ValueError):
                raise self.damaged("its fitted transform is not valid; run semsearch index --refit") from None
        return self._transform[1]

    def status(self) -> dict[str, Any]:
        """See `Store.status`."""
        kind = {"rows": self.counts()["passages"], "kind": chosen(self.setting("vector_index"))}
        server = f"Milvus {self._reading.session.call('get_server_version')}, schema {FORMAT}"
        return self.described(server, None, {**kind, **(self.setting("recall", None) or {})})

    def damaged(self, what: str) -> DamagedError:
        """Return the error for an index whose content is not what was written."""
        return damaged(self.address, what)


def _most_frequent(counted: Mapping[tuple[bool, Value], int], n: int) -> list[tuple[Value, int]]:
    def order(item: tuple[tuple[bool, Value], int]) -> tuple[Any, ...]:
        (_, value), times = item
        return -times, isinstance(value, str), 0 if isinstance(value, str) else value, str(value)

    return [(value, times) for (_, value), times in sorted(counted.items(), key=order)[:n]]
