"""Searches over HTTP from many concurrent clients, with and without batching, on the sample corpus.

Two servers of the same index take turns under load from clients that keep their connections open and send the next
query as soon as they have a response. Each server is a single process; one of them batches texts and searches across
requests. Its responses are compared with the response to the same query sent alone.

    python bench/serve.py [--rounds 3] [--seconds 10] [--clients 32] [--runtime auto]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import psutil
from machine import describe, short_texts
from measure import environment, ratios, spread

from semsearch import Index

SERVER = """
import json, sys
from semsearch.server.run import bind, serve
from semsearch.server.settings import Settings
listening = bind("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
serve({"sample": sys.argv[1]}, Settings(batching=sys.argv[2] == "together", runtime=sys.argv[3]), listening)
"""

SIDES = ("together", "alone")

CASES = {"dense": "dense", "hybrid (default)": None, "keyword": "keyword"}

JSON = "Content-Type: application/json"

K, SECONDS_TO_START = 10, 120


@dataclass
class Load:
    """Observations of the clients under load.

    Attributes:
        seconds: Latency of each request.
        answers: Ids of the hits of each query, for every time that it was sent.
        cpu_seconds: CPU time that the server used meanwhile.
    """

    seconds: list[float] = field(default_factory=list)
    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    errors: int = 0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Server:
    """A server process and its port."""

    port: int
    process: psutil.Process

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, in seconds."""
        return sum(self.process.cpu_times()[:2])


@contextmanager
def server(folder: Path, side: str, runtime: str) -> Iterator[Server]:
    """Start a server and wait until it is ready for dense search."""
    command = [sys.executable, "-c", SERVER, str(folder), side, runtime]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout
            port, until = int(process.stdout.readline()), time.monotonic() + SECONDS_TO_START
            while ask(port, "GET", "/ready").get("status") != "ready":
                assert time.monotonic() < until, f"the server {side} did not get ready"
                time.sleep(0.2)
            yield Server(port, psutil.Process(process.pid))
        finally:
            process.terminate()


def ask(port: int, method: str, path: str, body: object = None) -> Mapping[str, object]:
    """Send a request over a new connection and return the response, or {} if there is no server."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    except OSError:
        return {}
    finally:
        connection.close()


async def client(port: int, number: int, texts: list[str], mode: str | None, until: float, load: Load) -> None:
    """Send one query after another until the time is up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    chosen = random.Random(number)
    while time.perf_counter() < until:
        query = chosen.choice(texts)
        body = json.dumps({"query": query, "k": K, "mode": mode}).encode()
        head = ("POST /search HTTP/1.1", "Host: localhost", JSON, f"Content-Length: {len(body)}", "", "")
        started = time.perf_counter()
        writer.write("\r\n".join(head).encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        (length,) = [int(line.split(":")[1]) for line in lines if line.startswith("content-length:")]
        answer = json.loads(await reader.readexactly(length))
        load.seconds.append(time.perf_counter() - started)
        if " 200 " in lines[0]:
            load.answers.setdefault(query, []).append([hit["id"] for hit in answer["hits"]])
        else:
            load.errors += 1
    writer.close()


async def under_load(port: int, clients: int, texts: list[str], mode: str | None, seconds: float) -> Load:
    """Run many clients concurrently and return their observations."""
    load, until = Load(), time.perf_counter() + seconds
    await asyncio.gather(*(client(port, number, texts, mode, until, load) for number in range(clients)))
    return load


def mixed_up(port: int, load: Load, mode: str | None) -> int:
    """Count responses with documents outside the top 2K of the same query sent alone, which leaves room for ties."""
    wrong = 0
    for query, answers in list(load.answers.items())[:200]:
        alone = ask(port, "POST", "/search", {"query": query, "k": 2 * K, "mode": mode})
        allowed = {hit["id"] for hit in alone["hits"]}  # type: ignore[attr-defined]
        wrong += sum(not set(answer) <= allowed for answer in answers)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rounds", 3), ("seconds", 10), ("clients", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--runtime", default="auto")
    wish = parser.parse_args()
    texts = list(short_texts())[:2_000]
    print(f"{describe()}; {wish.clients} clients, {wish.rounds} rounds of {wish.seconds} s\n")
    heading = [f"{side}: {what}" for side in SIDES for what in ("searches/s", "p50 ms", "p99 ms", "CPU ms each")]
    print(f"| mode | {' | '.join(heading)} | ratio of searches/s | errors | mixed up |\n{'|---' * 12}|")
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary, "index")
        with Index.open(folder, create=True) as index:
            index.add(Path(__file__).parents[1] / "corpora/sample")
        servers = {side: stack.enter_context(server(folder, side, wish.runtime)) for side in SIDES}
        for one in servers.values():  # warm-up: compiles the model for large batches
            asyncio.run(under_load(one.port, wish.clients, texts, None, 2))
        for name, mode in CASES.items():
            loads: dict[str, list[Load]] = {side: [] for side in SIDES}
            for _ in range(wish.rounds):
                for side, one in servers.items():
                    before = one.cpu_seconds
                    load = asyncio.run(under_load(one.port, wish.clients, texts, mode, wish.seconds))
                    load.cpu_seconds = one.cpu_seconds - before
                    loads[side].append(load)
            cells = [cell for side in SIDES for cell in cells_of(loads[side], wish.seconds)]
            ratio = spread(ratios(*([len(load.seconds) for load in loads[side]] for side in SIDES)))
            errors = sum(load.errors for some in loads.values() for load in some)
            wrong = sum(mixed_up(servers["together"].port, load, mode) for load in loads["together"])
            print(f"| {name} | {' | '.join(cells)} | {ratio} | {errors} | {wrong} |", flush=True)


def cells_of(loads: list[Load], seconds: float) -> list[str]:
    """Format rate, median and 99th percentile latency and CPU time per request in ms, as medians over the rounds."""
    each = [sorted(load.seconds) for load in loads]
    rate = statistics.median(len(some) / seconds for some in each)
    half, last = (statistics.median(some[int(len(some) * share)] * 1_000 for some in each) for share in (0.5, 0.99))
    cpu = statistics.median(load.cpu_seconds / len(load.seconds) * 1_000 for load in loads)
    return [f"{rate:.0f}", f"{half:.0f}", f"{last:.0f}", f"{cpu:.1f}"]


if __name__ == "__main__":
    main()
