"""`semsearch serve` as a process: the options that it rejects, that it never shows keys, and how it stops."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from command import call
from serving import build, wait_for

from semsearch import Index


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEMSEARCH_TOKEN", raising=False)
    return build(tmp_path / "indexes" / "notes")


LOG = Path("serve.log")
"""The command's log, in the folder of the test; a pipe that nobody reads would fill up and block the command."""


@contextmanager
def serving(*words: object, **environment: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Run the command in a separate process on a free port; yield a client for it and the process."""
    command = [sys.executable, "-m", "semsearch", "serve", "--port", "0", *map(str, words)]
    with LOG.open("wb") as log, subprocess.Popen(command, stderr=log, env=os.environ | environment) as process:
        try:
            wait_for(lambda: b"\n" in LOG.read_bytes())
            (address,) = re.findall(r"http://\S+", LOG.read_text("utf-8").splitlines()[0])
            with httpx.Client(base_url=address, timeout=30) as client:
                wait_for(lambda: _answers(client))
                yield client, process
        finally:
            process.kill()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_other_addresses_than_loopback_need_a_key(folder, host):
    call("serve", "--host", host).fails(2, "--host", "--token", "SEMSEARCH_TOKEN")


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (["--index", "nothing"], 1, ["nothing"]),
        (["--index", "notes=nothing"], 1, ["nothing"]),
        (["--index", "x=indexes/notes", "--index", "x=indexes/notes"], 2, ["--index", "'x'"]),
        (["--index", "two words=indexes/notes"], 2, ["'two words'", "expected letters, digits"]),
        (["--port", "-1"], 2, ["--port"]),
        (["--port", "70000"], 2, ["70000"]),
        (["--workers", "0"], 2, ["--workers"]),
        (["--max-body-mb", "0"], 2, ["--max-body-mb"]),
        (["--max-seconds", "0"], 2, ["--max-seconds"]),
        (["--public-url", "http://[::1"], 2, ["--public-url"]),
        (["--public-url", "https://ada:secret@docs.example"], 2, ["--public-url"]),
        (["--token", ""], 2, ["--token"]),
        (["--token", "@nope:KEY"], 2, ["--token", "'nope'", "notes"]),
        (["--cors", "nonsense"], 2, ["--cors", "'nonsense'"]),
        (["--rerank", "nonsense"], 2, ["unknown reranker 'nonsense'"]),
        (["--token", "schlüssel"], 2, ["--token"]),
    ],
)
def test_bad_options_are_refused_in_one_line(folder, words, code, parts):
    call("serve", *words).fails(code, *parts)


def test_a_key_is_not_shown_in_an_error(folder, monkeypatch):
    monkeypatch.setenv("SEMSEARCH_TOKEN", "sk-hidden read:")
    outcome = call("serve")
    outcome.fails(2)
    assert "sk-hidden" not in outcome.err


def test_without_an_index_there_is_nothing_to_serve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("serve").fails(1, "no index in 'indexes'; create one with")


def test_a_port_in_use_is_said(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        call("serve", "--port", taken.getsockname()[1]).fails(2, "in use", "--port")


def test_it_serves_until_it_is_stopped(folder):
    with serving(SEMSEARCH_TOKEN="sk-1 read:sk-2") as (client, process):
        assert client.post("/search", json={"query": "heron"}).status_code == 401
        for key in ("sk-1", "sk-2"):
            found = client.post("/search", json={"query": "heron"}, headers={"x-api-key": key}).json()
            assert (found["index"], found["hits"][0]["id"]) == ("notes", "heron")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    lines = LOG.read_text("utf-8").splitlines()[1:]
    assert all(json.loads(line)["level"] in ("info", "warning") for line in lines)
    assert not re.search("sk-1|sk-2|heron|Traceback", "\n".join(lines))


@pytest.mark.slow
def test_several_workers_answer_and_write_in_turns(folder):
    with serving("--workers", "2") as (client, process):
        wait_for(lambda: all(client.get("/ready").json()["status"] == "ready" for _ in range(4)))
        for n in range(10):
            with httpx.Client(base_url=client.base_url, timeout=30) as other:  # reaches any worker
                document = {"id": f"new-{n}", "text": f"word{n}"}
                assert other.post("/documents", json={"documents": [document]}).status_code == 200
                assert other.get(f"/documents/new-{n}").status_code == 200
        numbers = client.get("/metrics").text
        assert 'semsearch_requests_total{method="POST",route="/documents",status="200"} 10.0' in numbers
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill(folder):
    acknowledged = []
    with serving() as (client, process):
        wait_for(lambda: client.get("/ready").json()["status"] == "ready")
        until = time.monotonic() + 3
        for n in range(100_000):
            if time.monotonic() > until:
                break
            document = {"id": f"new-{n}", "text": f"document {n} about herons"}
            assert client.post("/documents", json={"documents": [document]}).json()["encoded"] == 1
            acknowledged.append(document["id"])
        process.kill()
        process.wait()
    with Index.open(folder) as index:
        assert len(acknowledged) > 3
        assert list(index.documents(acknowledged)) == acknowledged
        assert index.search("herons", 3, mode="keyword")
    with serving() as (client, _):
        wait_for(lambda: client.get("/ready").json()["status"] == "ready")
        assert client.get("/indexes").json()["indexes"][0]["documents"] == 4 + len(acknowledged)
