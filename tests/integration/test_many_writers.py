"""Test eight writers and eight readers of one index in PostgreSQL: no error, and every read is a consistent snapshot.

Each writer adds, changes and deletes pairs of documents of its own, whose numbers add up to `SUM`, and now and then all
of them change the same document. Each reader checks in one snapshot that what it finds in every way is the same set of
whole pairs. What is counted by differences is compared with the tables at the end.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random

import numpy as np
import pytest
from fakes import entry, index_spec
from postgres_server import Server

from semsearch.corpus.chunking import Chunking
from semsearch.filters.read import read_filter
from semsearch.stores.base import Store
from semsearch.stores.open import open_store

pytestmark = pytest.mark.slow

SECONDS = 60 if os.environ.get("SEMSEARCH_CRASHES") else 8
WRITERS = READERS = 8
SUM = 1_000_000
CHUNKING = Chunking().to_json()
DIM = 16


def vectors(random: Random) -> np.ndarray:
    return np.array([[random.gauss(0, 1) for _ in range(DIM)]], np.float32)


def write(place: str, name: int, until: float) -> set[str]:
    """Change pairs until the time is over; return those that are left."""
    random, pairs, commit = Random(name), set[str](), 0
    with closing(open_store(place)) as store, store.write(index_spec(dim=DIM), CHUNKING) as writer:
        while time.monotonic() < until:
            commit += 1
            new = {f"w{name}n{commit}", *random.sample(sorted(pairs), min(3, len(pairs)))}
            entries = []
            for pair in new:
                number = random.randrange(SUM)
                for side, n in (("a", number), ("b", SUM - number)):
                    text = f"heron {pair} {side}side word{random.randrange(30)}"
                    entries.append(entry(f"{side}{pair}", vectors(random), text, n=n, pair=pair))
            writer.commit([*entries, entry("mark", vectors(random), f"mark of {name}", commit=commit)])
            pairs |= new
            if len(pairs) > 20:
                gone = random.sample(sorted(pairs), 5)
                assert len(writer.delete([f"{side}{pair}" for pair in gone for side in "ab"])) == 10
                pairs -= set(gone)
    return pairs


def read(place: str, until: float) -> int:
    """Look until the time is over; return how often."""
    looks = 0
    with closing(open_store(place)) as store:
        while time.monotonic() < until:
            looks += 1
            look(store)
    return looks


def look(store: Store) -> None:
    """Check that all ways of reading see the same whole pairs."""
    with store.snapshot():
        doc_ids = set(store.select(read_filter("pair is not null"))) if "pair" in store.fields() else set()
        found = store.documents(sorted(doc_ids))
        sums = Counter[str]()
        for document in found.values():
            sums[document.metadata["pair"]] += document.metadata["n"]
        assert set(sums.values()) <= {SUM}
        assert {one[1:] for one in doc_ids} == set(sums)
        assert len(doc_ids) == 2 * len(sums)
        n = store.counts()["documents"]
        assert n - len(doc_ids) == ("commit" in store.fields())
        for passages in (
            store.search_keywords("heron", 10**5, None)[1].tolist(),
            store.search_vectors(np.ones((1, DIM), np.float32), 10**5, None)[1][0].tolist(),
        ):
            names = store.doc_ids(store.documents_of(passages).values()).values()
            assert set(names) - {"mark"} == doc_ids


def test_eight_writers_and_eight_readers(postgres: Server):
    place = postgres.url()
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(WRITERS + READERS) as pool:
        writing = [pool.submit(write, place, name, until) for name in range(WRITERS)]
        while not exists(place):
            time.sleep(0.05)
        reading = [pool.submit(read, place, until) for _ in range(READERS)]
        left = set().union(*(one.result(SECONDS + 60) for one in writing))
        looks = [one.result(SECONDS + 60) for one in reading]
    assert min(looks) > 0
    with closing(open_store(place)) as store:
        look(store)
        assert {one[1:] for one in store.select(read_filter("pair is not null"))} == left
        rows = store.vectors_of(store.passages_from(0, 10**6))
        queries = np.eye(DIM, dtype=np.float32)
        assert store.reference_scores(queries)[0] == pytest.approx(rows.sum(0) / (len(rows) + 20), abs=1e-5)
        assert store.counts()["passages"] == len(rows) == 2 * len(left) + 1
    with postgres.connect() as connection:
        schema = place.rpartition("schema=")[2]
        wrong = connection.execute(
            f"SELECT count(*) FROM {schema}.terms AS known WHERE n <> (SELECT count(*) FROM {schema}.passages "
            "WHERE terms @> ARRAY[known.id])"
        ).fetchone()
        assert wrong == (0,)


def exists(place: str) -> bool:
    with closing(open_store(place)) as store:
        return store.exists()
