"""Ctrl-C, SIGTERM and closed streams: at most one line, never a traceback, and an index that is complete or absent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import HASH, indexed, jsonl, run

from semsearch import Index, interrupts
from semsearch.errors import NoIndexError, UnsupportedError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and closed streams as POSIX has them")

COMMAND = """
import _signal, os
first = _signal.signal
def signal(*of):
    _signal.signal = first
    before = first(*of)
    os.write(1, b"go\\n")
    return before
_signal.signal = signal
from semsearch.__main__ import start
start()
"""
"""The installed command, modified to print `go` after its first statement; before that, Python itself is starting."""

MOMENTS = 12
"""Number of moments, spread over the length of a run, at which each command is interrupted."""

KEPT = b"error: stopped; committed batches are kept, and the same command resumes from there\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _started_as_by_a_shell() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells make background jobs ignore it


def begun(*words: object) -> subprocess.Popen[bytes]:
    """Start the command and wait until it has executed its first statement."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, words)], **pipes, preexec_fn=_started_as_by_a_shell
    )
    assert process.stdout
    assert process.stdout.readline() == b"go\n"
    return process


def interrupted(seconds: float, *words: object, by: int = signal.SIGINT) -> tuple[int, bytes]:
    """Send a signal to a command the given time after its start; return its exit code and standard error."""
    with begun(*words) as process:
        time.sleep(seconds)
        process.send_signal(by)
        _, said = process.communicate(timeout=120)
    return process.returncode, said


def check(code: int, said: bytes, by: int = signal.SIGINT) -> None:
    assert b"Traceback" not in said
    assert said in (b"", b"error: stopped\n", KEPT)
    assert code in (0, -by)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("index", "notes.jsonl", *HASH), ("query", "water"), ("--help",)])
def test_ctrl_c_at_any_moment_is_one_line_at_most_and_the_index_is_whole_or_not_there(words):
    folder = Path("indexes/notes")
    if words[0] == "query":
        indexed()
    Path("notes.jsonl").write_bytes(jsonl([{"_id": str(n), "text": f"water {n}"} for n in range(300)]))
    began = time.perf_counter()
    with begun(*words) as process:
        process.communicate(timeout=120)
    seconds = time.perf_counter() - began
    if words[0] == "index":
        shutil.rmtree(folder)
    for number in range(MOMENTS):
        check(*interrupted(seconds * number / MOMENTS, *words))
        if words[0] == "index" and folder.exists():
            try:
                with Index.open(folder) as index:
                    assert index.status()["documents"] in (0, 300)
            except NoIndexError:  # interrupted before the database was created
                assert not (folder / "passages.sqlite").exists()
    if words[0] == "index":
        assert run(*words, "--json").ok().json["documents"] == 300


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9, 1.2, 1.5])
def test_an_interrupt_within_an_import_never_makes_another_index_than_was_asked_for(seconds):
    Path("notes.jsonl").write_bytes(jsonl([{"_id": "1", "text": "water"}]))
    _, said = interrupted(seconds, "index", "notes.jsonl", "--precision", "bfloat16", "--runtime", "auto")
    assert b"not installed" not in said
    assert b"Traceback" not in said
    if Path("indexes/notes/passages.sqlite").exists():
        with Index.open("indexes/notes") as index:
            assert index.status()["encoder"]["precision"] == "bfloat16"


def end_of(body: str, *signals: int, pause: float = 0.5) -> tuple[int, bytes, bytes]:
    """Run a `main` with this body, which prints `now` when signals may come; return its exit code and output."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    program = (
        "import sys, time\nfrom semsearch.cli import main as cli, process\nrun = cli._run\n"
        f"def work():\n{lines}\ncli._run = work\nprocess.run()"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes, preexec_fn=_started_as_by_a_shell) as process:
        assert process.stdout.readline() == b"now\n"
        for number in signals:
            process.send_signal(number)
            time.sleep(pause)
        out, said = process.communicate(timeout=60)
    return process.returncode, out, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_in_order_and_the_shell_sees_which(number):
    body = "try:\n    print('now', flush=True)\n    time.sleep(60)\nfinally:\n    print('in order', flush=True)"
    assert end_of(body, number) == (-number, b"in order\n", b"error: stopped\n")


def test_a_second_signal_ends_it_at_once():
    body = "try:\n    print('now', flush=True)\n    time.sleep(60)\nfinally:\n    time.sleep(60)"
    started = time.monotonic()
    assert end_of(body, signal.SIGINT, signal.SIGINT) == (-signal.SIGINT, b"", b"")
    assert time.monotonic() - started < 50


def test_an_interrupt_waits_for_the_import_at_hand_to_end():
    Path("slow_library.py").write_text(
        "import time\ntry:\n    print('now', flush=True)\n    time.sleep(1.5)\nexcept BaseException:\n"
        "    raise ImportError('half of it')\nprint('whole', flush=True)\n"
    )
    body = "sys.path.insert(0, '.')\nimport slow_library\ntime.sleep(60)"
    assert end_of(body, signal.SIGINT) == (-signal.SIGINT, b"whole\n", b"error: stopped\n")


def test_an_interrupt_that_a_destructor_swallows_is_raised_again():
    body = (
        "class Library:\n    def __del__(self):\n        print('now', flush=True)\n        time.sleep(1)\n"
        "library = Library()\ndel library\ntime.sleep(60)"
    )
    assert end_of(body, signal.SIGINT) == (-signal.SIGINT, b"", b"error: stopped\n")


def test_an_error_that_a_library_makes_of_an_interrupt_is_an_interrupt():
    body = (
        "try:\n    print('now', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        "    raise RuntimeError('the library failed') from None"
    )
    assert end_of(body, signal.SIGINT) == (-signal.SIGINT, b"", b"error: stopped\n")


def test_the_chain_of_an_error_is_searched_for_an_interrupt():
    def failed(cause: type[BaseException]) -> Exception:
        try:
            try:
                raise cause
            except BaseException as error:
                raise ImportError("initialization failed") from error
        except ImportError:
            try:
                raise UnsupportedError("not installed") from None
            except UnsupportedError as error:
                return error

    with pytest.raises(KeyboardInterrupt):
        interrupts.reraise(failed(KeyboardInterrupt))
    interrupts.reraise(failed(OSError))


# --- closed streams


def shell(line: str) -> tuple[int, bytes, bytes]:
    command = f"{sys.executable} -m semsearch {line}"
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("list >&-", 1, b"error: Bad file descriptor\n"),
        ("--version >&-", 1, b"error: Bad file descriptor\n"),
        ("query water --json >&-", 1, b"error: Bad file descriptor\n"),
        ("list --folder nowhere 2>&-", 0, b""),
        ("query water --index nowhere 2>&-", 1, b""),
        ("query water --color 2>&-", 2, b""),
        ("query water --index nowhere 2>/dev/full", 1, b""),
        ("list >&- 2>&-", 1, b""),
        ("list <&- >/dev/full", 1, b"error: No space left on device\n"),
        ("query --interactive <&-", 1, b"error: Bad file descriptor\n"),
        ("query water <&- >&- 2>&-", 1, b""),
    ],
)
def test_a_closed_stream_is_one_line_or_nothing_and_the_right_code(line, code, said):
    indexed()
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    assert shell(line)[::2] == (code, said)


def test_an_index_that_is_made_with_all_streams_closed_is_whole():
    Path("notes.jsonl").write_bytes(jsonl([{"_id": "1", "text": "water"}]))
    code, _, _ = shell(f"index notes.jsonl {' '.join(HASH)} <&- >&- 2>&-")
    assert code == 1  # the summary could not be printed
    assert run("query", "water").ok().rows[1][2] == "1"
    assert os.listdir("indexes") == ["notes"]


# --- special files


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("index", "notes.jsonl", "--index", "fifo"), b"error: 'fifo' is not a folder"),
        (("index", "notes.jsonl", "--index", "/dev/null"), b"error: '/dev/null' is not a folder"),
        (("query", "water", "--index", "fifo"), b"error: no index in 'fifo', which is not a folder"),
        (("query", "water", "--index", "piped"), b"error: 'piped/passages.sqlite' is a link, a pipe or a device"),
        (("status", "--index", "loop"), b"error: no index in 'loop', which is not a folder"),
        (("query", "--queries", "/dev/zero"), b"error: '/dev/zero' is a device"),
        (("query", "--queries", "notes.jsonl", "--run", "folder"), b"error: cannot write 'folder'"),
    ],
)
def test_a_pipe_a_device_or_a_loop_is_refused_where_nothing_sensible_can_be_done(words, said):
    indexed()
    Path("folder").mkdir()
    os.mkfifo("fifo")
    Path("piped").mkdir()
    os.mkfifo("piped/passages.sqlite")
    Path("loop").symlink_to("loop")
    done = subprocess.run([sys.executable, "-m", "semsearch", *words], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr[: len(said)]) == (1, b"", said)
    assert done.stderr.count(b"\n") == 1


def test_queries_come_from_a_pipe():
    indexed()
    line = """query --queries <(echo '{"_id": "1", "text": "water"}')"""
    command = ["bash", "-c", f"{sys.executable} -m semsearch {line}"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b'{"query_id": "1"')


def test_the_list_names_what_is_damaged_and_shows_the_others():
    whole = indexed()
    shown = run("list").ok().rows
    for name in ("pipe", "loop", "damaged"):
        Path(f"indexes/{name}").mkdir()
    os.mkfifo("indexes/pipe/passages.sqlite")
    Path("indexes/loop/passages.sqlite").symlink_to("passages.sqlite")
    Path("indexes/damaged/passages.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 5_000)
    os.mkfifo("indexes/fifo")
    Path("indexes/self").symlink_to("self")
    rows = {row[0]: row for row in run("list").ok().rows}
    assert [rows.pop("index"), rows.pop(str(whole))] == shown
    assert rows.keys() == {f"indexes/{name}" for name in ("pipe", "loop", "damaged")}
    assert all(row[3].startswith("unusable: ") for row in rows.values())


@pytest.mark.parametrize("columns", ["0", "-3", "wide", ""])
def test_a_terminal_that_does_not_know_its_width_gets_the_usual_one(columns):
    assert run("--help", COLUMNS=columns).ok().out == run("--help", COLUMNS="80").ok().out
