"""Test that an index survives crashes at any instant of indexing, deleting, compacting, backing up, reencoding …

Children are killed at each kind of change to a file, see `faulty_disk`, by a limit on the sizes of files in the middle
of a write of SQLite, and by SIGKILL at random instants; or their disk is full, fails, or loses what was not
synchronized. After each such fault, before anything repairs the index:

*   it opens, and verification finds nothing wrong;
*   its documents, passages, vectors and words are exactly those after the commits that were reported, or after one
    more, whose report the crash prevented; so no batch is lost, partial, or there twice;
*   dense and keyword search find every passage once, and nothing else;
*   in its folder there is nothing but the index, and files and folders with the names that writers give to what is
    unfinished or no longer needed (`folder.OURS`), or the draft of a reencoding.

At the end the same step is repeated without a fault. Then the index has the content of one that was never disturbed,
and there is nothing else in its folder.

The normal run has some 50 deaths. `make crashes` has 500 others each time: `SEMSEARCH_CRASHES` is their number, and
`SEMSEARCH_CRASH_SEED` the seed, which is printed and repeats all faults but the instants of SIGKILL.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import pytest
from fakes import index_content, open_reader
from older_index import make_older_index

from semsearch.stores.local.care.verify import stray_files, verify_folder
from semsearch.stores.local.folder import DRAFT, OURS

if not hasattr(os, "fork"):
    pytest.skip("no fork on this system", allow_module_level=True)

from crashing import STEPS, Crasher
from faulty_disk import KINDS

Content: TypeAlias = dict[str, list[tuple[Any, ...]]]
"""See `fakes.index_content`."""

CRASHES = int(os.environ.get("SEMSEARCH_CRASHES", "0"))
"""Number of deaths of the long run; 0 for the normal one."""

SEED = int(os.environ.get("SEMSEARCH_CRASH_SEED", str(time.time_ns() % 10**6) if CRASHES else "1"))

IN_A_ROW = 3
"""Number of faults before a step is repeated without one."""

EMPTY: Content = {"documents": [], "passages": [], "fields": [], "words": []}


@dataclass(frozen=True, slots=True)
class Calm:
    """A step that was not disturbed.

    Attributes:
        before: Copy of the folder before it.
        contents: Content of the index before it, and after each of its commits.
        n_calls: Number of changes to files.
        seconds: How long it took.
        size: Size of the largest file.
        pages: Number of pages of the database.
        first_commit: Number of changes to files before the first commit returned.
    """

    before: Path
    contents: Sequence[Content]
    n_calls: int
    seconds: float
    size: int
    pages: int
    first_commit: int


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    crasher = Crasher()
    yield crasher
    crasher.close()


@pytest.fixture(scope="module")
def calm(crasher: Crasher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Calm]:
    """Run all steps once without any fault."""
    place = tmp_path_factory.mktemp("calm")
    home, found, content = place / "home", dict[str, Calm](), EMPTY
    home.mkdir()
    for step in STEPS:
        if step == "migrate":
            home, content = place / "older", older_content(place / "older")
        before = place / step
        shutil.copytree(home, before)
        told = crasher.run(home, step, _empty(place / "shadow"))
        *events, end = told["events"]
        assert end["event"] == "end", told
        after = content_of(home / "index")
        contents = [content]
        for event in events:
            contents.append(changed(contents[-1], after, event))
        assert contents[-1] == after
        size = max(path.stat().st_size for path in home.rglob("*"))
        with closing(sqlite3.connect(home / "index" / "passages.sqlite")) as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        first = told["events"][0].get("after", 0)
        found[step] = Calm(before, contents, len(end["calls"]), end["seconds"], size, pages, first)
        content = after
    return found


def older_content(home: Path) -> Content:
    """Write an index of the first schema, and return its content after migration."""
    make_older_index(home / "index", [{"_id": f"d{n}", "text": f"every heron number{n}", "n": n} for n in range(50)])
    shutil.copytree(home / "index", home.with_name("newer"))
    return content_of(home.with_name("newer"))


def content_of(folder: Path) -> Content:
    """Return the content of an index; empty if there is none yet."""
    return index_content(folder) if (folder / "passages.sqlite").exists() else EMPTY


def changed(old: Content, new: Content, event: dict[str, Any]) -> Content:
    """Return the content after a commit of some documents, which have got the state that they have at the end."""
    if event["event"] == "all":
        return new
    ids = set(event["ids"])
    place = {"documents": 0, "passages": 0, "words": 1}
    result = {
        name: sorted([row for row in old[name] if row[at] not in ids] + [row for row in new[name] if row[at] in ids])
        for name, at in place.items()
    }
    with closing(sqlite3.connect(":memory:")) as connection:
        names = [
            connection.execute("SELECT key FROM json_each(?)", (row[3],)).fetchall() for row in result["documents"]
        ]
    return result | {"fields": sorted({name for some in names for name in some})}


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def draw(rng: Random, calm: Calm, kind: str) -> dict[str, Any]:
    """Return a random fault of a kind; see `crashing._child`."""
    if kind == "sigkill":
        return {"kill_after": rng.uniform(0, 1.1) * calm.seconds}
    if kind in ("cut", "too large"):
        return {"file_size": rng.randint(1, calm.size), "dies": kind == "cut"}
    if kind == "full":
        return {"pages": rng.randint(calm.pages // 3, calm.pages)}
    return {"kind": kind, "at": rng.randint(1, calm.n_calls), "seed": rng.randrange(1_000)}


DEADLY = ("sigkill", "cut", *(kind for kind in KINDS if not kind.startswith("error")))
FAILING = ("too large", "full", "error", "errors")


@pytest.mark.parametrize("step", STEPS)
def test_an_index_survives_faults_at_any_instant(crasher, calm, tmp_path, step):
    rng, deaths, rounds = Random(f"{SEED} {step}"), 0, 0
    wanted = -(-CRASHES // len(STEPS)) if CRASHES else 4
    while deaths < wanted:
        if CRASHES:
            kinds = [rng.choice((*DEADLY, *KINDS, *KINDS, *FAILING)) for _ in range(rng.randint(1, IN_A_ROW))]
        else:  # each kind of death, in turns
            some = DEADLY[(rounds + list(STEPS).index(step)) % len(DEADLY) :] + DEADLY
            kinds = [some[0], FAILING[(rounds + list(STEPS).index(step)) % len(FAILING)], some[2]]
        rounds += 1
        deaths += survive(crasher, calm, tmp_path, step, [draw(rng, calm[step], kind) for kind in kinds])
    sys.stdout.write(f"seed {SEED}: {deaths} deaths in {rounds} rounds of {step!r}\n")


@pytest.mark.parametrize("step", ["create", "update", "reencode"])
def test_a_power_failure_just_after_a_commit_does_not_undo_it(crasher, calm, tmp_path, step):
    """Nothing that is synchronized later, such as the folder with its next segment, can have been needed for it."""
    at = calm[step].first_commit + 1
    for seed in range(6 if step == "create" else 2):
        assert survive(crasher, calm, tmp_path, step, [{"kind": "power", "at": at, "seed": seed}])


def survive(crasher: Crasher, calms: dict[str, Calm], place: Path, step: str, faults: Sequence[dict[str, Any]]) -> int:
    """Go through faults in a step and repeat it; return the number of deaths."""
    calm, home, k, deaths = calms[step], place / "home", 0, 0
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(calm.before, home)
    for number, fault in enumerate(faults):
        told = crasher.run(home, step, _empty(place / "shadow"), **fault)
        what = f"seed {SEED}, {step!r}, {faults[: number + 1]}, then {told['events'][-1:]}, {told['code']}"
        *events, last = told["events"] or [{"event": "nothing"}]
        if last["event"] not in ("end", "error", "nothing"):
            events.append(last)
        assert not told["hangs"], what
        assert last["event"] != "traceback", f"{what}\n{last.get('message')}"
        assert "\n" not in last.get("message", ""), what
        deaths += told["code"] != 0
        assert told["code"] in (0, 137, -9, -25), what
        if any(event["event"] == "all" for event in events):  # also if it was all there already
            k = 1
        else:
            k += sum(bool(event["ids"]) for event in events)
        k = intact(home, calm, k, what)
    if step == "back up":  # made again, even if the disk has only failed when the backup was complete
        shutil.rmtree(home / "saved", ignore_errors=True)
    told = crasher.run(home, step, _empty(place / "shadow"))
    what = f"seed {SEED}, {step!r}, {faults}, repeated"
    assert told["events"][-1]["event"] == "end", f"{what}: {told}"
    assert intact(home, calm, len(calm.contents) - 1, what) == len(calm.contents) - 1
    assert stray_files(home / "index") == [], what
    assert {path.name for path in home.iterdir()} <= {"index", "saved"}, what
    return deaths


def intact(home: Path, calm: Calm, least: int, what: str) -> int:
    """Check an index after a fault; return the number of commits that it has."""
    saved = home / "saved"
    if saved.exists():
        assert verify_folder(saved) == [], what
    folder = home / "index"
    if not (folder / "passages.sqlite").exists():
        assert least == 0, f"{what}: the index is gone"
        assert calm.contents[0] == EMPTY, f"{what}: the index is gone"
        return 0
    assert all(OURS.fullmatch(name) or name == DRAFT for name in stray_files(folder)), f"{what}: {stray_files(folder)}"
    assert verify_folder(folder) == [], what
    content = content_of(folder)
    found = [k for k, one in enumerate(calm.contents) if one == content]
    assert found, f"{what}: the documents are in no state that was committed"
    assert {least, least + 1} & set(found), f"{what}: {least} commits were reported, but {found} are there"
    searched_once(folder, what)
    return min({least, least + 1} & set(found))


def searched_once(folder: Path, what: str) -> None:
    """Check that searches find every passage once."""
    with closing(sqlite3.connect(folder / "passages.sqlite")) as connection:
        passages = {number for (number,) in connection.execute("SELECT id FROM passages")}
        sql = (
            "SELECT passages.id, substr(text, start + 1, end - start) FROM passages, documents d WHERE d.id = document"
        )
        with_word = {number for number, text in connection.execute(sql) if re.search(r"\bevery\b", text)}
        is_exact = {about for (about,) in connection.execute("SELECT about FROM segments")} <= {'{"factory": "Flat"}'}
    with open_reader(folder) as store, store.snapshot():
        query = np.ones((1, store.spec.dim), np.float32)
        counts, n = store.counts(), len(passages)
        dense = [number for number in store.search_vectors(query, n + 9, None)[1][0].tolist() if number != -1]
        words = store.search_keywords("every", n + 9, None)[1].tolist()
    assert counts["passages"] == n, what
    assert len(dense) == len(set(dense)), f"{what}: found twice"
    assert set(dense) <= passages, what
    assert len(dense) == n or (not is_exact and len(dense) > 0.9 * n), f"{what}: {len(dense)} of {n} were found"
    assert sorted(words) == sorted(with_word), what
