"""Rebuilding an index: what its store derives from its rows, and how unrelated pairs score."""

from __future__ import annotations

from collections.abc import Callable

from semsearch.background import is_stale, measure_background
from semsearch.encoder.encoder import TextEncoder
from semsearch.errors import MismatchError, ModelError, UsageError
from semsearch.stores.local.care.rebuild import RebuildResult
from semsearch.stores.local.store import LocalStore


def rebuild(store: LocalStore, encoder: Callable[[], TextEncoder]) -> RebuildResult:
    """Make everything in an index anew that can be derived.

    Args:
        store: Its store.
        encoder: Loads its encoder; called only if the scores of unrelated pairs are missing or out of date.

    Raises:
        LockedError: If another process is writing to the index.
        DamagedError: If settings are damaged that follow from nothing else.
        DiskFullError: If the disk is full; the index stays usable, and the same call starts over.
    """
    result = store.rebuild()
    if result and is_stale(store):
        try:
            background = measure_background(store, encoder()).to_json()
        except (ModelError, MismatchError, UsageError) as error:
            result.notes.append(f"the scores of unrelated pairs were not measured: {error}")
        else:
            with store.write(store.spec, store.chunking, store.origin) as writer:
                writer.keep_background(background)
            result.rebuilt.append("background")
    return result
