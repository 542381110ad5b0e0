"""Test that an index follows its files: `semsearch index --watch` in a process, and `watch` for what it decides."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import HASH, SCRIPT, call, run
from fakes import index_content

from semsearch import Index, ReadOptions, WordHashEncoder
from semsearch.errors import SourceError, UsageError
from semsearch.stores.local.lock import hold_lock
from semsearch.watching import Update, watch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")

SECONDS = 20
"""Time after which a test gives up waiting; each update takes less than one second."""

WORDS = ("heron", "reeds", "water", "kettle", "bread", "茶", "wind", "stone")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """Let a test fail that waits in vain for an update."""

    def fail(*_: object) -> None:
        raise AssertionError("no update came")

    former = signal.signal(signal.SIGALRM, fail)
    signal.alarm(3 * SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@contextmanager
def watching(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Run `semsearch index WORDS --watch` from the moment its first run is done."""
    command = [SCRIPT, "index", *map(str, words), "--watch", *HASH]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=_started_as_by_a_shell) as process:
        try:
            line = ""
            while " for changes" not in line and "looking for" not in line:
                line = process.stderr.readline()
                assert not line.startswith("error"), line
            yield process
        finally:
            process.kill()


def _started_as_by_a_shell() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells make background jobs ignore it


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < SECONDS, "it has not come to hold"
        time.sleep(0.05)


def texts(folder: Path) -> dict[str, str]:
    """Return the text of each document of an index."""
    with Index.open(folder) as index:
        return texts_of(index)


def texts_of(index: Index) -> dict[str, str]:
    return {doc_id: one.text for doc_id, one in index.documents(index.select(None)).items()}


# --- what a process does


class Edits:
    """Random changes to a folder: files and folders are made, changed, replaced, renamed, moved and deleted."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top, self.random = top, random.Random(seed)
        self.outside = top.parent / "outside"
        self.outside.mkdir()

    def files(self) -> list[Path]:
        return sorted(path for path in self.top.rglob("*") if path.is_file() and path.suffix in (".md", ".txt"))

    def folders(self) -> list[Path]:
        return sorted(path for path in self.top.rglob("*") if path.is_dir())

    def text(self) -> str:
        return f"# {self.random.choice(WORDS)}\n\n" + " ".join(self.random.choices(WORDS, k=self.random.randint(1, 60)))

    def fresh(self, ending: str = "") -> Path:
        """Return an unused path in one of the folders."""
        return self.random.choice([self.top, *self.folders()]) / f"{self.random.randrange(10**6)}{ending}"

    def make(self) -> None:
        self.fresh(self.random.choice((".md", ".txt"))).write_text(self.text(), encoding="utf-8")

    def change(self) -> None:
        for file in self.files()[:1] and [self.random.choice(self.files())]:
            file.write_text(self.text(), encoding="utf-8")

    def replace(self) -> None:
        for file in self.files()[:1] and [self.random.choice(self.files())]:
            temporary = file.with_name(f".{file.name}.swp")
            temporary.write_text(self.text(), encoding="utf-8")
            temporary.replace(file)

    def rename(self) -> None:
        for file in self.files()[:1] and [self.random.choice(self.files())]:
            file.rename(self.fresh(file.suffix))

    def hide(self) -> None:
        for file in self.files()[:1] and [self.random.choice(self.files())]:
            file.rename(file.with_name(self.random.choice((f".{file.name}", f"{file.name}.bin"))))

    def delete(self) -> None:
        for file in self.files()[:1] and [self.random.choice(self.files())]:
            file.unlink()

    def records(self) -> None:
        lines = [json.dumps({"_id": f"r{n}", "text": self.text()}) for n in range(self.random.randrange(1, 9))]
        (self.top / "records.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def make_folder(self) -> None:
        folder = self.fresh()
        (folder / "inner").mkdir(parents=True)
        for name in ("one.md", "inner/two.txt"):
            (folder / name).write_text(self.text(), encoding="utf-8")

    def rename_folder(self) -> None:
        for folder in self.folders()[:1] and [self.random.choice(self.folders())]:
            folder.rename(self.top / f"renamed{self.random.randrange(10**6)}")

    def delete_folder(self) -> None:
        for folder in self.folders()[:1] and [self.random.choice(self.folders())]:
            shutil.rmtree(folder)

    def move_out(self) -> None:
        for folder in self.folders()[:1] and [self.random.choice(self.folders())]:
            folder.rename(self.outside / f"{self.random.randrange(10**6)}")

    def move_in(self) -> None:
        for folder in sorted(self.outside.iterdir())[:1]:
            folder.rename(self.top / f"moved{self.random.randrange(10**6)}")

    def one(self) -> None:
        often = [self.make, self.change, self.replace, self.rename, self.records, self.make_folder] * 2
        seldom = [self.hide, self.delete, self.rename_folder, self.delete_folder, self.move_out, self.move_in]
        self.random.choice(often + seldom)()


@pytest.mark.slow
@pytest.mark.parametrize(("options", "seed"), [((), 1), (("--poll",), 2)], ids=["notified", "polling"])
def test_after_200_edits_the_index_is_that_of_a_fresh_run(tmp_path, options, seed):
    top = tmp_path / "notes"
    top.mkdir()
    edits = Edits(top, seed)
    for _ in range(10):
        edits.make()
        edits.make_folder()
    with watching("notes", "--index", "followed", *options):
        for _ in range(200):
            edits.one()
            time.sleep(edits.random.choice((0, 0, 0.01, 0.05)))
        assert run("index", "notes", "--index", "fresh", *HASH).code == 0
        expected = texts(tmp_path / "fresh")
        assert len(expected) > 10
        until(lambda: texts(tmp_path / "followed") == expected)
        assert index_content(tmp_path / "followed") == index_content(tmp_path / "fresh")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_and_the_index_is_whole(tmp_path, number):
    Path("notes").mkdir()
    Path("notes/a.md").write_text("one", encoding="utf-8")
    with watching("notes") as process:
        Path("notes/b.md").write_text("two", encoding="utf-8")
        assert "1 updated" in process.stderr.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == -number
    assert said == "error: stopped; committed batches are kept, and the same command resumes from there\n"
    assert texts(tmp_path / "indexes/notes").keys() == {"a.md", "b.md"}
    assert call("verify", "-i", "indexes/notes").code == 0


def test_each_update_is_an_object_of_json(tmp_path):
    Path("notes").mkdir()
    Path("notes/a.md").write_text("one", encoding="utf-8")
    with watching("notes", "--json") as process:
        assert json.loads(process.stdout.readline())["encoded"] == 1
        Path("notes/a.md").unlink()
        Path("notes/b.md").write_text("two", encoding="utf-8")
        Path("notes/bad.jsonl").write_text("{", encoding="utf-8")
        update = json.loads(process.stdout.readline())
    assert (update["encoded"], update["deleted"], update["bad"]) == (1, 1, 1)
    assert update["errors"][0].startswith("notes/bad.jsonl:1: not valid JSON")
    assert update["time"][10] == "T"


def test_the_first_run_catches_up_with_what_was_deleted_before(tmp_path):
    Path("notes").mkdir()
    for name in ("a", "b"):
        Path(f"notes/{name}.md").write_text(name, encoding="utf-8")
    call("index", "notes", *HASH).ok()
    Path("notes/a.md").unlink()
    with watching("notes"):
        assert texts(tmp_path / "indexes/notes").keys() == {"b.md"}


def test_each_update_is_a_line_below_the_bad_files():
    Path("notes").mkdir()
    Path("notes/a.md").write_text("one", encoding="utf-8")
    with watching("notes") as process:
        Path("notes/a.md").unlink()
        Path("notes/b.md").write_text("two", encoding="utf-8")
        Path("notes/bad.jsonl").write_text("{", encoding="utf-8")
        bad, update = process.stderr.readline(), process.stderr.readline()
    assert bad.startswith("skipped: notes/bad.jsonl:1: not valid JSON")
    assert re.fullmatch(r"\d\d:\d\d:\d\d 1 updated, 1 deleted, 1 skipped \(\d+\.\d s\)\n", update)


def test_others_can_write_between_updates(tmp_path):
    Path("notes").mkdir()
    for name in ("a", "b"):
        Path(f"notes/{name}.md").write_text(name, encoding="utf-8")
    with watching("notes"):
        call("delete", "a.md", "-i", "indexes/notes").ok()
        Path("notes/c.md").write_text("c", encoding="utf-8")
        until(lambda: texts(tmp_path / "indexes/notes").keys() == {"b.md", "c.md"})


def test_changes_wait_for_others_that_write():
    Path("notes").mkdir()
    Path("notes/a.md").write_text("one", encoding="utf-8")
    with watching("notes") as process:
        with hold_lock(Path("indexes/notes")):
            Path("notes/a.md").write_text("two", encoding="utf-8")
            said = process.stderr.readline()
            assert said.startswith("warning: the changes have to wait: 'indexes/notes' is being written by process")
        assert "1 updated" in process.stderr.readline()


# --- what it decides


class Followed:
    """An index that follows its files; `next` does one round of changes."""

    def __init__(self, folder: Path, *paths: str, **wishes: object) -> None:
        self.index = Index.open(folder, create=True, encoder=WordHashEncoder(4_096))
        self.updates = watch(self.index, paths, **wishes)
        self.first = self.next()

    def next(self) -> Update:
        try:
            return next(self.updates)
        except KeyboardInterrupt:  # what watchfiles makes of any error of a signal's handler
            raise AssertionError("no update came") from None

    @property
    def ids(self) -> set[str]:
        return set(self.index.select(None))


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Followed]]:
    """Return a function that makes an index follow paths."""
    made: list[Followed] = []

    def begin(*paths: str, **wishes: object) -> Followed:
        made.append(Followed(tmp_path / f"index{len(made)}", *paths, **wishes))
        return made[-1]

    yield begin
    for one in made:
        one.updates.close()
        one.index.close()


def write(**files: str) -> None:
    """Write files, named without their extension `.md`."""
    for name, text in files.items():
        path = Path(f"{name}.md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_only_what_has_changed_is_read(follow):
    write(**{f"notes/{number}": str(number) for number in range(30)})
    followed = follow("notes")
    assert followed.first.result.documents == 30
    write(**{"notes/3": "three", "notes/new": "new"})
    Path("notes/7.md").unlink()
    result = followed.next().result
    assert (result.documents, result.encoded, result.deleted) == (2, 2, 1)


def test_a_bad_file_is_reported_and_read_again_when_it_changes(follow):
    write(**{"notes/a": "one"})
    followed = follow("notes")
    Path("notes/b.md").write_bytes(b"\xff")
    (error,) = followed.next().result.errors
    assert str(error).startswith("notes/b.md:1: not valid utf-8")
    write(**{"notes/b": "two"})
    assert followed.next().result.encoded == 1
    assert followed.ids == {"a.md", "b.md"}


def test_all_files_may_be_deleted_but_not_the_folder(follow):
    write(**{"notes/a": "one", "notes/deep/b": "two"})
    followed = follow("notes")
    shutil.rmtree("notes/deep")
    Path("notes/a.md").unlink()
    assert followed.next().result.deleted == 2
    write(**{"notes/a": "one"})
    followed.next()
    shutil.rmtree("notes")
    with pytest.raises(SourceError, match="no longer exists; its documents are kept"):
        followed.next()
    assert followed.ids == {"a.md"}


def test_a_file_is_followed_through_being_replaced_deleted_and_made_again(follow):
    write(**{"notes/a": "one", "notes/b": "two"})
    followed = follow("notes/a.md")
    write(**{"notes/b": "not given", "notes/new": "three"})
    Path("notes/new.md").replace("notes/a.md")
    assert followed.next().result.encoded == 1
    Path("notes/a.md").unlink()
    assert followed.next().result.deleted == 1
    write(**{"notes/a": "four"})
    followed.next()
    assert {doc_id: one.text for doc_id, one in followed.index.documents(["a.md", "b.md"]).items()} == {"a.md": "four"}


def test_ids_are_those_of_a_run_over_everything(follow):
    write(**{"notes/a": "one", "more/a": "two", "notes/deep/b": "three"})
    followed = follow("notes", "more", "notes/deep")
    assert followed.ids == {"a.md", "more/a.md", "deep/b.md"}
    write(**{"notes/a": "four", "more/a": "five", "notes/deep/b": "six", "more/new": "seven"})
    result = followed.next().result
    assert (result.documents, result.encoded) == (4, 4)
    assert followed.ids == {"a.md", "more/a.md", "deep/b.md", "more/new.md"}


def test_hidden_files_and_those_in_no_known_format_are_passed_over(follow):
    write(**{"notes/a": "one"})
    followed = follow("notes")
    write(**{"notes/.hidden/b": "two", "notes/.c": "three"})
    Path("notes/d.xyz").write_text("four", encoding="utf-8")
    write(**{"notes/e": "five"})
    followed.next()
    assert followed.ids == {"a.md", "e.md"}


def test_an_index_inside_the_folder_does_not_follow_itself(tmp_path, follow):
    write(a="one")
    followed = follow(".")
    write(b="two")
    assert followed.next().result.encoded == 1
    write(c="three")
    assert followed.next().result.encoded == 1
    assert followed.ids == {"a.md", "b.md", "c.md"}


def test_a_file_that_becomes_a_folder_is_deleted(follow):
    write(**{"notes/a": "one", "notes/b": "two"})
    followed = follow("notes")
    Path("notes/b.md").unlink()
    write(**{"notes/b.md/c": "three"})
    followed.next()
    assert followed.ids == {"a.md", "b.md/c.md"}


def test_links_are_followed_as_in_any_run(tmp_path, follow):
    write(**{"notes/deep/a": "one", "elsewhere/b": "two"})
    Path("notes/within").symlink_to("deep")
    Path("notes/out").symlink_to(tmp_path / "elsewhere")
    followed = follow("notes", options=ReadOptions(follow_links=True))
    assert followed.ids == {"deep/a.md", "out/b.md"}
    write(**{"notes/deep/a": "three", "elsewhere/b": "four"})
    while followed.next().result.encoded and "four" not in texts_of(followed.index).values():
        pass
    assert texts_of(followed.index) == {"deep/a.md": "three", "out/b.md": "four"}


def test_two_changes_within_a_second_are_both_seen_by_polling(follow):
    write(**{"notes/a": "one"})
    followed = follow("notes", poll=True)
    second = int(time.time()) + 5
    for text in ("two", "six"):  # equal in size, and in their times up to the nanoseconds
        write(**{"notes/a": text})
        os.utime("notes/a.md", (second, second))
        assert followed.next().result.encoded == 1
    assert followed.index.documents(["a.md"])["a.md"].text == "six"


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        (["-"], UsageError, "standard input cannot be watched"),
        (["nowhere"], SourceError, '"nowhere" does not exist'),
        ([3], UsageError, r"`paths\[0\]` is 3"),
    ],
)
def test_what_cannot_be_watched_is_refused(follow, paths, error, message):
    with pytest.raises(error, match=message):
        follow(*paths)


def test_polling_without_watching_is_refused():
    write(a="one")
    call("index", "a.md", "--poll").fails(2, "--poll requires --watch")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux limits watched folders per user namespace")
@pytest.mark.parametrize("before", [9, 1], ids=["at first", "later"])
def test_polling_takes_over_when_there_are_too_many_folders(before):
    for number in range(before):
        write(**{f"notes/{number}/a": "one"})
    limit = "echo 5 > /proc/sys/user/max_inotify_watches"
    if subprocess.run(["unshare", "-Ur", "sh", "-c", limit], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = f"{limit}; exec {SCRIPT} index notes --watch {' '.join(HASH)}"
    with subprocess.Popen(["unshare", "-Ur", "sh", "-c", command], stderr=subprocess.PIPE, text=True) as process:
        if before < 5:
            assert process.stderr.readline() == 'watching "notes" for changes\n'
            for number in range(before, 9):
                write(**{f"notes/{number}/a": "one"})
        assert "so all files are looked at every second: OS file watch limit reached" in process.stderr.readline()
        if before < 5:
            assert " updated" in process.stderr.readline()
        else:
            assert process.stderr.readline() == 'looking for changes in "notes" every second\n'
        write(**{"notes/3/a": "two"})
        assert "1 updated" in process.stderr.readline()
        process.terminate()
