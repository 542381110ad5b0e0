"""End of the command-line process: everything due at exit is done, and the teardown of the libraries is skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import SCRIPT

HOST = """
import atexit, multiprocessing, sys, threading, time

class Library:
    def __del__(self):
        print("taken down")

library = Library()
library.itself = library  # so that only taking everything down would end it
atexit.register(print, "registered before")

def work():
    time.sleep(0.2)
    atexit.register(print, "registered by a thread")
    print("thread")

def work_apart():
    time.sleep(0.4)
    print("worker process")

def main():
    atexit.register(print, "registered after")
    multiprocessing.get_context("fork").Process(target=work_apart).start()
    threading.Thread(target=work).start()
    sys.exit(CODE)

import semsearch.cli.main as cli; cli.main = main
import semsearch.__main__ as process
"""
"""A program that runs the command in its own process and has work of every kind that can be pending at exit."""

AT_EXIT = ["worker process", "thread", "registered by a thread", "registered after", "registered before"]
"""The expected output, in order: the process flushes its own lines only after it has waited for the worker process."""


def run(program: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=buffered)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
@pytest.mark.parametrize(("leave", "code"), [("3", 3), ("None", 0), ("0", 0), ("'gone'", 1)])
def test_all_exit_handlers_run_after_the_threads_and_the_last_first(leave, code):
    done = run(HOST.replace("CODE", leave) + "process.start()")
    assert (done.returncode, done.stdout.splitlines()) == (code, AT_EXIT)
    assert done.stderr.strip() == ("gone" if code == 1 else "")


@pytest.mark.skipif(sys.platform == "win32", reason="no fork on Windows")
def test_without_it_the_same_program_is_taken_down_first():
    done = run(HOST.replace("CODE", "3") + "cli.main()")
    assert (done.returncode, done.stdout.splitlines()) == (3, [*AT_EXIT, "taken down"])


def test_what_python_customizes_for_every_process_is_heard_at_exit(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text("import atexit\natexit.register(lambda: print('the host is told'))\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    for command in ([SCRIPT], [sys.executable, "-m", "semsearch"]):
        for words, code in ((("--version",), 0), (("status", "--index", "nowhere"), 1), (("unheard-of",), 2)):
            done = subprocess.run(
                [*command, *words], capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": path}
            )
            assert (done.returncode, done.stdout.splitlines()[-1:]) == (code, ["the host is told"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_output_that_cannot_be_written_at_exit_is_reported_as_python_does():
    program = (
        "import atexit, sys\n"
        "def main():\n    atexit.register(print, 'lost')\n    sys.exit(0)\n"
        "import semsearch.cli.main as cli; cli.main = main\n"
        "import semsearch.__main__ as process; process.start()"
    )
    with open("/dev/full", "w") as full:
        done = run(program, full.fileno())
        plain = run(program.replace("process.start()", "main()"), full.fileno())
    assert done.returncode == plain.returncode == 120
    assert done.stderr == plain.stderr
    assert done.stderr.count("No space left on device") == 1


def test_a_profiler_around_the_command_prints_what_it_measured():
    command = [sys.executable, "-m", "cProfile", "-m", "semsearch", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "function calls" in done.stdout
