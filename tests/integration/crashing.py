"""A process that forks children to be killed, and the changes of an index in the middle of which they are.

`python crashing.py` reads a JSON object from each line of standard input, forks a child that makes one of `STEPS`, and
prints as JSON what the child reported until it ended, and how it ended. All children start from the same imports, which
take most of the time of such a run. This process uses no threads and no FAISS by itself, so forking it is safe.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from select import select
from typing import Any

SECONDS = 60
"""Time limit for one step; a step that takes longer is taken to hang."""

BATCH = 20
"""Number of documents in a batch."""


def documents(version: int, n: int = 80) -> list[dict[str, Any]]:
    """Return a version of a corpus: in each, some documents are missing and others have a new text or new metadata."""
    found = []
    for number in range(n):
        if version and number % 9 == version:
            continue
        rng = Random(f"{number} {version if number % 4 == version else 0}")
        words = rng.choices(("alpha", "beta", "gamma", "delta"), k=rng.choice((5, 8, 30)))
        text = "every " + " ".join(f"{word}{rng.randrange(30)}" for word in words)
        year = 2000 + version * (number % 10 == 0)
        found.append({"_id": f"d{number}", "title": f"T{number % 7}", "text": text, "year": year, f"v{version}": True})
    return found


def _add(version: int, n: int, **wishes: Any) -> Callable[[Path], object]:
    def add(home: Path) -> None:
        from semsearch import Chunking, Index, WordHashEncoder

        cut = Chunking(tokens=20, overlap=0)
        with Index.open(home / "index", create=True, encoder=WordHashEncoder(64), chunking=cut) as index:
            index.add(documents(version, n), **wishes)

    return add


def _opened(work: Callable[[Any, Path], object]) -> Callable[[Path], object]:
    def do(home: Path) -> None:
        from semsearch import Index

        with Index.open(home / "index") as index:
            work(index, home)

    return do


def _reencode(dim: int) -> Callable[[Path], object]:
    from semsearch import WordHashEncoder

    return _opened(lambda index, _: index.reencode(encoder=WordHashEncoder(dim)))


def _back_up(home: Path) -> None:
    """Make a backup, unless a run that was killed has made one."""
    if not (home / "saved").exists():
        _opened(lambda index, home: index.backup(home / "saved"))(home)


def _restore(home: Path) -> None:
    from semsearch import Index

    Index.restore(home / "saved", home / "index", replace=True)


def _migrate(home: Path) -> None:
    from semsearch import Index

    Index.migrate(home / "index")


STEPS: dict[str, Callable[[Path], object]] = {
    "create": _add(0, 80),
    "update": _add(1, 80, delete_missing=True),
    "compact": _opened(lambda index, _: index.compact()),
    "delete": _opened(lambda index, _: index.delete([f"d{number}" for number in range(0, 40, 3)])),
    "grow": _add(2, 200),
    "back up": _back_up,
    "shrink": _opened(lambda index, _: index.delete([f"d{number}" for number in range(20, 150)])),
    "compact securely": _opened(lambda index, _: index.compact(vector_index="IVF4,SQ8", secure=True)),
    "reencode": _reencode(32),
    "rebuild": _opened(lambda index, _: index.rebuild()),
    "restore": _restore,
    "extend": _add(3, 230, vector_index="auto"),
    "migrate": _migrate,
}
"""The life of an index: each step can be repeated, and starts from the state that the one before it has left; but the
last one from an index of the first schema."""


class Crasher:
    """Client of the process that forks."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, home: Path, step: str, shadow: Path, **fault: Any) -> dict[str, Any]:
        """Return the events that the child reported, its exit code, and its calls if it came to the end.

        Args:
            home: Folder with the index.
            step: What the child does; see `STEPS`.
            shadow: An empty folder on the same file system.
            **fault: See `_child`; `kill_after` is a number of seconds.
        """
        asked = {"home": str(home), "step": step, "shadow": str(shadow), **fault}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def close(self) -> None:
        self._process.communicate()


def _child(asked: dict[str, Any], tell: Callable[..., None]) -> None:
    """Make a step, with a fault: `kind`, `at`, `seed` of the disk; `file_size`, with `dies`; or `pages` of SQLite."""
    from faulty_disk import Fault, FaultyDisk

    from semsearch.errors import SemsearchError

    fault = Fault(asked.get("kind", ""), asked.get("at", 0), asked.get("seed", 0))
    home = Path(asked["home"])
    disk = FaultyDisk(home, fault, Path(asked["shadow"]))
    disk.install()
    _report_commits(lambda event, **about: tell(event, after=len(disk.calls), **about))
    if "file_size" in asked:
        _limit_files(asked["file_size"], asked["dies"])
    if "pages" in asked:
        _limit_pages(asked["pages"])
    began = time.perf_counter()
    try:
        STEPS[asked["step"]](home)
        tell("end", calls=disk.calls, seconds=time.perf_counter() - began)
    except SemsearchError as error:
        tell("error", message=f"{type(error).__name__}: {error}", calls=disk.calls)
    except BaseException:
        tell("traceback", message=traceback.format_exc())


def _report_commits(tell: Callable[..., None]) -> None:
    """Report every change of the documents, and the number of calls before, once the store has committed it."""
    from semsearch.stores.local.care import backup
    from semsearch.stores.local.writer import Writer

    commit, delete, adopt, exchange = Writer.commit, Writer.delete, Writer.adopt, backup.exchanging

    def committing(self: Any, entries: Any, describe: Any = ()) -> None:
        entries = list(entries)
        commit(self, entries, describe)
        if self._folder.name == "index":  # not the draft of a reencoding
            tell("commit", ids=[*(entry.document.doc_id for entry in entries), *(one.doc_id for one in describe)])

    def deleting(self: Any, doc_ids: Any) -> list[str]:
        there = delete(self, doc_ids)
        if self._folder.name == "index":
            tell("delete", ids=there)
        return there

    def adopting(self: Any, draft: Any) -> None:
        adopt(self, draft)
        tell("all")

    Writer.commit, Writer.delete, Writer.adopt = committing, deleting, adopting

    class Exchanging:
        def __init__(self, target: Path) -> None:
            self._inner = exchange(target)

        def __enter__(self) -> Path:
            return self._inner.__enter__()

        def __exit__(self, *error: Any) -> Any:
            done = self._inner.__exit__(*error)
            if error[0] is None:
                tell("all")
            return done

    backup.exchanging = Exchanging


def _limit_files(size: int, dies: bool) -> None:
    """Limit the size of every file, also SQLite's: the write that exceeds it is cut short, and the next one fails."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if dies else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _limit_pages(pages: int) -> None:
    """Limit the number of pages of the database, as a full disk would."""
    from semsearch.stores.local import database

    connect = database.connect

    def bounded(path: Path, *, write: bool = False) -> Any:
        connection = connect(path, write=write)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    database.connect = bounded


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    """Fork a child for a step, and return what it reported."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)

        def tell(event: str, **about: Any) -> None:
            os.write(writing, (json.dumps({"event": event, **about}) + "\n").encode())

        try:
            _child(asked, tell)
        finally:
            os._exit(0)
    os.close(writing)
    data, end, hangs = b"", time.monotonic() + asked.get("kill_after", SECONDS), False
    while True:
        ready, _, _ = select([reading], [], [], max(0.0, end - time.monotonic()))
        if ready:
            some = os.read(reading, 1 << 16)
            if not some:
                break
            data += some
        else:
            os.kill(pid, signal.SIGKILL)
            hangs, end = "kill_after" not in asked, time.monotonic() + SECONDS
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    lines = data.decode().split("\n")[:-1]
    return {"events": list(map(json.loads, lines)), "code": os.waitstatus_to_exitcode(status), "hangs": hangs}


def _shrink_limits() -> None:
    """Make batches and segments so small that a run commits, seals, merges and builds vector indexes several times."""
    from semsearch import ingest
    from semsearch.stores.local import sealing, tiers
    from semsearch.stores.local.vectors.ann import kinds

    ingest.BATCH_DOCUMENTS = BATCH
    sealing.SEGMENT_BYTES, sealing.TAIL_ROWS = 4 * 64 * 25, 8
    kinds.EXACT_BYTES = 4 * 64 * 60
    kinds.LEAST_ROWS = 20
    tiers.PER_CHANGE, tiers.AT_LEAST = 1, 2


def main() -> None:
    """Run the step on each line of standard input."""
    import faiss  # noqa: F401
    import numpy as np

    import semsearch.ingest
    import semsearch.reencode
    import semsearch.search
    import semsearch.stores.local.care.backup
    import semsearch.stores.local.reader
    import semsearch.stores.local.schema
    import semsearch.stores.local.writer  # noqa: F401

    _ = np.ones((2, 2)) @ np.ones((2, 2))
    warnings.simplefilter("ignore")
    _shrink_limits()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        out.write(json.dumps(_run(json.loads(line))) + "\n")
        out.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
