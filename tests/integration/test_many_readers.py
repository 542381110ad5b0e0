"""Test one writer and eight reading processes: no error, every read is a consistent snapshot, and nothing is seen late.

The writer only commits documents in pairs, whose numbers add up to `SUM`, and prints the time after each commit. Each
reader checks in one snapshot that what it finds in every way is the same set of whole pairs, and prints the time before
each snapshot and the last commit that it saw. So every snapshot must include all commits that returned before it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from bisect import bisect_right
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytestmark = pytest.mark.slow

READERS = 8
SECONDS = 60 if os.environ.get("SEMSEARCH_CRASHES") else 4
SUM = 1_000_000
MOST = 120
"""Number of pairs from which on more are deleted than added."""


def tell(*numbers: float) -> None:
    sys.stdout.write(json.dumps(numbers) + "\n")
    sys.stdout.flush()


def write(folder: Path, stop: Path) -> None:
    """Add, update, delete, merge and compact, and print the number and time of each commit."""
    from semsearch import Index, WordHashEncoder

    rng, pairs, commit = Random(0), list[int](), 0
    with Index.open(folder, create=True, encoder=WordHashEncoder(64)) as index:
        while not stop.exists():
            commit += 1
            work = rng.choice(("add", "add", "update", "delete")) if commit % 12 else "compact"
            if work == "compact":
                index.compact(vector_index=rng.choice(("HNSW8,SQ8", "IVF4,SQ8", "Flat")), secure=False)
            if work == "delete" and len(pairs) > 3:
                some = rng.sample(pairs, min(len(pairs) - 2, 1 + (len(pairs) > MOST) * 40))
                pairs = [pair for pair in pairs if pair not in some]
                index.delete([f"{side}{pair}" for pair in some for side in "ab"])
            if work == "update" and pairs:
                index.add([one for pair in rng.sample(pairs, min(len(pairs), 5)) for one in pair_of(pair, commit)])
            pairs += (new := range(10 * commit, 10 * commit + rng.randint(1, 9)))
            index.add([*(one for pair in new for one in pair_of(pair, commit)), mark(commit)])
            tell(commit, time.monotonic())


def pair_of(pair: int, commit: int) -> list[dict[str, Any]]:
    """Return two documents, whose numbers depend on the last commit that changed them."""
    number = Random(f"{pair} {commit}").randrange(SUM)
    return [
        {"_id": f"{side}{pair}", "text": f"heron pair{pair} number{n} {side}side", "n": n, "side": side, "commit": 0}
        for side, n in (("a", number), ("b", SUM - number))
    ]


def mark(commit: int) -> dict[str, Any]:
    """Return the document that tells the number of the last commit."""
    return {"_id": "mark", "text": f"commit {commit}", "commit": commit, "side": "none", "n": 0}


def read(folder: Path, stop: Path) -> None:
    """Look again and again, without reopening the index; print each time and the last commit that was seen."""
    from semsearch import Index, WordHashEncoder

    with Index.open(folder, encoder=WordHashEncoder(64)) as index:
        while not stop.exists():
            began = time.monotonic()
            tell(look(index), began, time.monotonic() - began)


def look(index: Any) -> int:
    """Check that one snapshot is consistent, and return the commit that it is of."""
    with index._store.snapshot():
        n = index.status()["documents"]
        ids = index.select("side != 'none'")
        stored = index.documents(ids)
        numbers = {doc_id: one.metadata["n"] for doc_id, one in stored.items()}
        assert n == len(ids) + 1 == len(set(ids)) + 1, (n, ids)
        assert sum(numbers.values()) == SUM * len(ids) // 2, numbers
        assert {doc_id[1:] for doc_id in ids if doc_id[0] == "a"} == {doc_id[1:] for doc_id in ids if doc_id[0] == "b"}
        for side in "ab":  # few enough for every vector index to compare them all
            where, own = f"side = '{side}'", sorted(doc_id for doc_id in ids if doc_id[0] == side)
            for mode in ("dense", "keyword", "hybrid"):
                hits = index.search("heron", n + 9, mode=mode, where=where)
                assert sorted(hit.doc_id for hit in hits) == own, (mode, len(hits), len(own))
                for hit in hits:
                    assert hit.metadata["n"] == numbers[hit.doc_id]
                    assert f"number{numbers[hit.doc_id]} " in hit.text
        keyword = index.search("heron", n + 9, mode="keyword")
        assert sorted(hit.doc_id for hit in keyword) == sorted(ids)
        dense = [hit.doc_id for hit in index.search("heron pair", n + 9, mode="dense") if hit.doc_id != "mark"]
        assert len(dense) == len(set(dense))
        assert set(dense) <= set(ids)
        assert len(dense) > 0.9 * len(ids)
        (found,) = index.search("commit", 1, mode="keyword")
        assert found.text == f"commit {found.metadata['commit']}"
        return int(found.metadata["commit"])


def start(role: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, role, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_eight_readers_see_every_commit_at_once_and_whole(tmp_path):
    folder = tmp_path / "index"
    processes = [start("write", folder)]
    firsts = [processes[0].stdout.readline()]  # now there is an index
    processes += [start("read", folder) for _ in range(READERS)]
    firsts += [process.stdout.readline() for process in processes[1:]]
    time.sleep(SECONDS)
    (tmp_path / "stop").touch()
    told = [process.communicate(timeout=60) for process in processes]
    for process, (_, errors) in zip(processes, told, strict=True):
        assert process.returncode == 0, errors
    commits, *looks = (
        [json.loads(line) for line in [first, *out.splitlines()]] for first, (out, _) in zip(firsts, told, strict=True)
    )
    numbers, times = [number for number, _ in commits], [when for _, when in commits]
    for own in looks:
        seen = [commit for commit, _, _ in own]
        assert seen == sorted(seen)
        assert len(set(seen)) >= 3
        for commit, began, _ in own:
            returned = bisect_right(times, began)
            assert commit >= (numbers[returned - 1] if returned else 0)
    n, slowest = sum(map(len, looks)), max(seconds for own in looks for _, _, seconds in own)
    sys.stdout.write(f"{len(commits)} commits, {n} snapshots, the slowest took {slowest:.2f} s\n")
    assert len(commits) >= 5
    assert slowest < 10


def main() -> None:
    """Write or read until there is a file named `stop` beside the index."""
    from crashing import _shrink_limits

    _shrink_limits()
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[2]).with_name("stop"))


if __name__ == "__main__":
    main()
