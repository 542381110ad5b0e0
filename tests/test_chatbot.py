"""Test the example chatbot as a user runs it, against an OpenAI-compatible server with rule-based answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fakes import index_corpus

from semsearch import Encoder

EXAMPLE = Path(__file__).parents[1] / "examples" / "chatbot.py"

PLANTS = [
    {
        "_id": "rose",
        "title": "Roses",
        "text": "Roses bloom from June until the first frost.",
        "url": "https://g.test/rose",
    },
    {"_id": "fern", "title": "Ferns", "text": "Ferns have no flowers and spread by spores."},
]


def standing_alone(asked: dict[str, Any]) -> str:
    """Return the rewritten question for a rewrite request, and otherwise an answer based on the excerpts."""
    last = asked["messages"][-1]["content"]
    if last.startswith("Rewrite the last question"):
        return "When do roses bloom?"
    return "From June on [1]."


@contextmanager
def model_server(reply: Callable[[dict[str, Any]], str | bytes]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve /chat/completions on loopback; yield the address and the list of received requests."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(asked)
            said = reply(asked)
            body, kind = (said, "text/html") if isinstance(said, bytes) else (None, "text/event-stream")
            base = {"id": "1", "created": 1, "model": asked["model"]}
            if body is None and asked.get("stream"):
                pieces = [({"content": piece}, None) for piece in (said[:4], said[4:])]  # type: ignore[index]
                choices = [{"index": 0, "delta": delta, "finish_reason": end} for delta, end in [*pieces, ({}, "stop")]]
                events = [{**base, "choices": [choice]} for choice in choices]
                events = [{**event, "object": "chat.completion.chunk"} for event in [*events, {**base, "choices": []}]]
                body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"
            elif body is None:
                message = {"role": "assistant", "content": said}
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                body, kind = (
                    json.dumps({**base, "object": "chat.completion", "choices": [choice]}).encode(),
                    "application/json",
                )
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("garden") / "index"
    index_corpus(folder, PLANTS, Encoder.load())
    return folder


def talk(folder: Path, url: str, *questions: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), str(folder), "--base-url", url, "--model", "m"],
        input="".join(f"{question}\n" for question in questions),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


def test_it_answers_with_citations_and_keeps_the_subject(garden: Path):
    with model_server(standing_alone) as (url, requests):
        done = talk(garden, url, "When is a rose in flower?", "and how long?")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("From June on [1].") == 2
    assert done.stdout.count("[1] Roses (rose, characters 0-44) https://g.test/rose") == 2
    first, rewriting, second = requests
    assert "Roses bloom from June until the first frost." in first["messages"][-1]["content"]
    assert "data" in first["messages"][-1]["content"]
    assert rewriting["messages"][-1]["content"].endswith("The question: and how long?")
    assert rewriting["messages"][0] == {"role": "user", "content": "When is a rose in flower?"}
    assert second["messages"][-1]["content"].endswith("The question: and how long?")
    assert "Roses bloom" in second["messages"][-1]["content"]


def test_it_does_not_know_what_the_index_does_not_and_never_asks_the_model(garden: Path):
    with model_server(standing_alone) as (url, requests):
        done = talk(garden, url, "qqzzyy blorp", "")
    assert (done.returncode, done.stderr, requests) == (0, "", [])
    assert "I don't know: nothing in the documents answers that." in done.stdout


@pytest.mark.slow
def test_a_model_server_that_is_down_or_talks_nonsense_ends_no_conversation(garden: Path):
    done = talk(garden, "http://127.0.0.1:9/v1", "When is a rose in flower?", "qqzzyy blorp")
    assert done.returncode == 0
    assert done.stderr == "error: no answer from http://127.0.0.1:9/v1/: Connection error.\n"
    assert "I don't know" in done.stdout
    odd = b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'
    half = b'data: {"choices": [{"delta": {"content": "From"}}]}\n\n'
    for nonsense in (b"<html>hello</html>", b"data: {not json\n\n", odd, half, b""):
        with model_server(lambda asked, said=nonsense: said) as (url, _):
            done = talk(garden, url, "When is a rose in flower?", "qqzzyy blorp")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
        assert done.stderr.startswith(f"error: no answer from {url}")
        assert "[1] Roses" not in done.stdout
        assert "I don't know" in done.stdout


def test_an_index_that_is_not_there_is_one_line():
    done = talk(Path("nowhere"), "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert done.stderr == "error: no index in 'nowhere' (no passages.sqlite); create one with: semsearch index CORPUS\n"


def test_it_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 120
