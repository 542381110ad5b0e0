"""Information about an index in PostgreSQL: its settings, counts, fields and roots."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semsearch.errors import DamagedError
from semsearch.stores.postgres.address import Address
from semsearch.stores.postgres.connections import Session
from semsearch.stores.postgres.schema import FOUND, OTHERS, VERSION, refuse_other_tables, refuse_other_version
from semsearch.stores.settings import COUNTED, REQUIRED, Settings
from semsearch.transforms import Transform
from semsearch.types import Storage

if TYPE_CHECKING:
    from semsearch.filters.syntax import Value

FACETS = """
    WITH leaves AS (
        SELECT id, key, value FROM documents, jsonb_each(fields) WHERE jsonb_typeof(value) <> 'array'
        UNION
        SELECT id, key, member FROM documents, jsonb_each(fields) AS field (key, value),
            jsonb_array_elements(CASE WHEN jsonb_typeof(value) = 'array' THEN value ELSE '[]' END) AS member
    ), kinds AS (
        SELECT key COLLATE "C" AS key, value, jsonb_typeof(value) AS kind FROM leaves
    ), counted AS (
        SELECT key, value, count(*) AS n, row_number() OVER (
            PARTITION BY key ORDER BY count(*) DESC, kind = 'string',
            CASE kind WHEN 'number' THEN value::numeric WHEN 'boolean' THEN (value = 'true')::integer END,
            (value #>> '{}') COLLATE "C"
        ) AS place
        FROM kinds WHERE kind IN ('string', 'number', 'boolean') GROUP BY key, kind, value
    )
    SELECT key, value, n FROM counted WHERE place <= %s ORDER BY key, place
"""

FILES_OF = """
    SELECT file, content_hash FROM documents WHERE root = %s AND doc_id = %s || file ORDER BY file LIMIT %s
"""


class Catalog(Settings):
    """Reads information about an index; what it has read is kept until the index changes."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._checked = False
        self._settings: tuple[Any, Mapping[str, Any]] | None = None
        self._transform: tuple[Any, Transform] | None = None
        self._facets: tuple[Any, dict[str, list[tuple[Value, int]]]] | None = None

    @property
    def shown(self) -> str:
        """See `Settings.shown`."""
        return self.address.shown

    @property
    def address(self) -> Address:
        """Where the index is."""
        return self._session.address

    def exists(self) -> bool:
        """Return whether there is an index."""
        with self._session.snapshot():
            return bool(self._session.one(FOUND, (self.address.schema,)))

    def settings(self) -> Mapping[str, Any]:
        """Return all settings.

        Raises:
            NoIndexError: If there is no index.
            SchemaError: If it is from another version of semsearch.
        """
        with self._session.snapshot():
            if not self._checked:
                self._check()
            revision = self.revision()
            if self._session.in_change or self._settings is None or self._settings[0] != revision:
                self._settings = revision, dict(self._session.rows("SELECT key, value FROM settings"))
            return self._settings[1]

    def revision(self) -> tuple[str, int]:
        """Return a key that distinguishes this state of the index from all others."""
        rows = self._session.rows("SELECT value FROM settings WHERE key = 'revision'")
        try:
            ((stored,),) = rows
            return str(stored["identity"]), int(stored["number"])
        except (KeyError, TypeError, ValueError):
            raise self.damaged("its setting 'revision' is missing or not valid") from None

    def _check(self) -> None:
        address, rows = self.address, self._session.rows
        if not self._session.one(FOUND, (address.schema,)):
            refuse_other_tables(address, next((name for (name,) in rows(OTHERS, (address.schema,))), None))
        versions = rows("SELECT version FROM semsearch_schema")
        if len(versions) != 1:
            raise self.damaged("its schema has no version")
        refuse_other_version(address, int(versions[0][0]))
        self._checked = True

    def setting(self, key: str, otherwise: Any = REQUIRED) -> Any:
        """See `Settings.setting`."""
        found = self.settings().get(key, otherwise)
        if found is REQUIRED:
            raise self.damaged(f"its setting {key!r} is missing")
        return found

    @property
    def store_precision(self) -> str:
        """The precision of stored vectors."""
        return str(self.setting("store_precision"))

    def storage(self) -> Storage:
        """See `Store.storage`."""
        return Storage(self.store_precision, **self.settings().get("store_loss", {}))

    def counts(self) -> dict[str, int]:
        """See `Store.counts`; also counts `words`."""
        return {name: int(self.setting("counts")[name]) for name in COUNTED}

    def fields(self) -> list[str]:
        """See `Store.fields`."""
        with self._session.snapshot():
            self.settings()
            return [name for (name,) in self._session.rows("SELECT name FROM fields WHERE n > 0 ORDER BY name")]

    def facets(self, n: int) -> dict[str, list[tuple[Value, int]]]:
        """See `Store.facets`."""
        with self._session.snapshot():
            self.settings()
            state = self.revision(), n
            if self._facets is None or self._facets[0] != state:
                found: dict[str, list[tuple[Value, int]]] = {}
                for name, value, count in self._session.rows(FACETS, (n,)):
                    found.setdefault(name, []).append((value, count))
                self._facets = state, found
            return self._facets[1]

    def files_of(self, root: str, n: int) -> dict[str, str]:
        """See `Store.files_of`."""
        with self._session.snapshot():
            self.settings()
            return dict(self._session.rows(FILES_OF, (root, f"{root}/" if root else "", n)))

    def file_of(self, doc_id: str) -> str:
        """See `Store.file_of`."""
        with self._session.snapshot():
            roots = {root.name: root.path for root in self.roots()}
            rows = self._session.rows("SELECT root, file FROM documents WHERE doc_id = %s", (doc_id,))
        return next((os.path.join(roots[root], *file.split("/")) for root, file in rows if root in roots), "")

    def transform(self) -> Transform | None:
        """Return the fitted transform; None if there is none (yet)."""
        with self._session.snapshot():
            about = self.settings().get("transform")
            if about is None:
                return None
            if self._transform is None or self._transform[0] != about:
                sql = "SELECT file, data FROM artifacts WHERE name = 'transform' ORDER BY file, part"
                parts: dict[str, bytes] = {}
                for file, data in self._session.rows(sql):
                    parts[file] = parts.get(file, b"") + data
                try:
                    mean, matrix = (np.frombuffer(parts[file], "<f4") for file in ("mean", "matrix"))
                    self._transform = about, Transform(str(about["name"]), mean, matrix.reshape(len(mean), -1))
                except (KeyError, ValueError):
                    raise self.damaged("its fitted transform is not valid; run semsearch index --refit") from None
            return self._transform[1]

    def status(self) -> dict[str, Any]:
        """See `Store.status`."""
        with self._session.snapshot():
            size = self._session.one(
                "SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint FROM pg_class "
                "JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = %s AND relkind = 'r'",
                (self.address.schema,),
            )
            server = self._session.one("SELECT current_setting('server_version')")
            pgvector = self._session.one("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            graph = _searched(self.setting("hnsw", None), self.counts())
            return self.described(f"PostgreSQL {server}, pgvector {pgvector}, schema {VERSION}", size, graph)

    def damaged(self, what: str) -> DamagedError:
        """Return the error for an index whose content is not what was written."""
        return DamagedError(
            f"the index {self.address.shown!r} is damaged: {what}; restore it from a backup of the database, or drop "
            "its schema and build it again"
        )


def _searched(graph: dict[str, Any] | None, counts: dict[str, int]) -> dict[str, Any]:
    """Return how vectors are searched, in the form of a folder's segment."""
    if graph is None:
        return {"rows": counts["passages"], "kind": "Flat"}
    return {**graph, "kind": f"HNSW{graph['m']}{',SQfp16' if graph['in_halves'] else ''}"}
