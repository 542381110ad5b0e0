"""`semsearch mcp` over stdio, as an assistant starts it: only protocol messages appear on standard output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from assistant import ERAS, answer_of, connected
from command import call, indexed
from mcp import Client, StdioServerParameters, stdio_client

from semsearch import Index

EACH_ERA = pytest.mark.parametrize("era", ERAS)

SAMPLE = Path(__file__).parents[2] / "corpora" / "sample"

T = TypeVar("T")

DISCOVERY_SECONDS = 10.0
"""The time that Open WebUI allows for discovering the tools."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def words(*options: object) -> list[str]:
    return ["-m", "semsearch", "mcp", *map(str, options)]


def over_stdio(act: Callable[[Client], Awaitable[T]], *options: object, era: str = ERAS[0]) -> tuple[T, str]:
    """Connect a client to the command; return what the client returned and what the command wrote to standard error."""
    parameters = StdioServerParameters(command=sys.executable, args=words(*options), env=dict(os.environ))
    with Path("errors.txt").open("w+", encoding="utf-8") as errors:
        made = connected(stdio_client(parameters, errlog=errors), act, era)
        errors.seek(0)
        return made, errors.read()


@EACH_ERA
def test_an_assistant_starts_it_and_uses_every_tool(era):
    folder = indexed()

    async def use(client):
        tools = {tool.name for tool in (await client.list_tools()).tools}
        found = answer_of(await client.call_tool("search", {"query": "the heron waits"}))
        fetched = answer_of(await client.call_tool("fetch", {"id": "a"}))
        read = await client.read_resource(found["results"][0]["url"])
        listed = answer_of(await client.call_tool("list_indexes", {}))
        return tools, found["results"][0], fetched, read.contents[0].text, listed["indexes"][0]

    (tools, found, fetched, read, listed), said = over_stdio(use, "--index", folder, era=era)
    assert len(tools) == 5
    assert found == {"id": "a", "title": "Heron", "url": "semsearch://notes/a"}
    assert fetched["text"] == read == "The heron waits by the water."
    assert fetched["metadata"] == {"lang": "en", "year": 2020}
    assert (listed["name"], listed["documents"]) == ("notes", 4)
    assert said == ""


def test_several_indexes_have_the_names_that_they_are_given():
    one, two = indexed("one"), indexed("two")

    async def use(client):
        listed = answer_of(await client.call_tool("list_indexes", {}))
        return [each["name"] for each in listed["indexes"]], answer_of(await client.call_tool("fetch", {"id": "b:a"}))

    (names, fetched), _ = over_stdio(use, "--index", one, "--index", f"b={two}", "--url", "http://h:1/x/")
    assert names == ["one", "b"]
    assert fetched["url"] == "http://h:1/x/doc/a?index=b"


def test_without_an_index_the_latest_in_the_folder_is_served_and_named_on_standard_error():
    indexed("one")
    time.sleep(0.01)
    indexed("two")

    async def use(client):
        return answer_of(await client.call_tool("list_indexes", {}))["indexes"][0]["name"]

    name, said = over_stdio(use)
    assert name == "two"
    assert said.startswith("using indexes/two, the most recently updated of 2 indexes")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 1, "no index in 'indexes'; create one with: semsearch index CORPUS"),
        (("--index", "nowhere"), 1, "no index in 'nowhere'"),
        (
            ("--index", "a/x", "--index", "b/x"),
            2,
            "two indexes are named 'x': 'a/x' and 'b/x'; name them with --index NAME=DIR",
        ),
        (("--index", "notes", "--url", "ftp://h"), 2, "--url is not a web address"),
        (("--index", "notes", "--url", "http://me:secret@h"), 2, "--url contains a user name, password"),
    ],
)
def test_what_makes_no_sense_is_one_line_of_error(options, code, said):
    shutil.copytree(indexed(), "notes")
    shutil.rmtree("indexes")
    done = call("mcp", *options)
    done.fails(code, said)
    assert "secret" not in done.err


def started(*options: object) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *words(*options)], stdin=pipe, stdout=pipe, stderr=pipe)


def initialize(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Perform the handshake and return the answer, which is the first line on standard output."""
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    send(process, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    answer = json.loads(process.stdout.readline())
    send(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    return answer


def send(process: subprocess.Popen[bytes], message: Any) -> None:
    process.stdin.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def test_every_line_is_protocol_and_what_is_none_harms_nothing():
    with started("--index", indexed()) as process:
        assert initialize(process)["result"]["serverInfo"]["name"] == "semsearch"
        for nonsense in (b"\n", b"nonsense\n", b"{}\n", b"[1, 2]\n", b"\xff\x00\n", b'{"jsonrpc": "2.0", "id": 9}\n'):
            send(process, nonsense)
        send(
            process,
            {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "fetch", "arguments": {"id": "c"}}},
        )
        lines = []
        while not lines or lines[-1].get("id") != 2:
            lines.append(json.loads(process.stdout.readline()))
        assert all(line["jsonrpc"] == "2.0" for line in lines)
        assert lines[-1]["result"]["structuredContent"]["text"] == "水要热。"
        out, _ = process.communicate(timeout=10)
        assert (process.returncode, out) == (0, b"")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_it_is_told_to(end):
    with started("--index", indexed()) as process:
        initialize(process)
        process.send_signal(end)
        process.wait(timeout=30)  # while standard input is open, because closing it would also end the process
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (-end, b"", b"")


def test_it_ends_in_silence_when_the_assistant_is_gone_before_it_began():
    with started("--index", indexed()) as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, b"", b"")


@pytest.mark.slow
def test_with_a_real_model_it_is_discovered_in_time_and_then_searches_by_meaning(sample_index: Path):
    shutil.copytree(sample_index, "real")
    question = "my plants look thirsty although I water them every day"
    with Index.open("real") as index:
        meant = [hit.doc_id for hit in index.search(question, 10, min_confidence=0.5)]
    begun = time.perf_counter()

    async def use(client):
        await client.list_tools()
        seconds = time.perf_counter() - begun
        first = answer_of(await client.call_tool("search", {"query": question}))
        last = first
        with anyio.fail_after(60):
            while "keyword search" in last.get("note", ""):
                await anyio.sleep(0.1)
                last = answer_of(await client.call_tool("search", {"query": question}))
        return seconds, first, last

    (seconds, first, last), said = over_stdio(use, "--index", "real")
    assert seconds < DISCOVERY_SECONDS
    assert [one["id"] for one in last["results"]] == meant != []
    assert first == last or "keyword search" in first["note"]
    assert said == ""


@pytest.mark.slow
def test_without_its_model_an_index_is_searched_by_words(checkpoint: Callable[..., Path]):
    model = checkpoint()
    Path("notes.jsonl").write_text('{"_id": "1", "text": "The heron waits."}\n{"_id": "2", "text": "Bread rises."}\n')
    assert call("index", "notes.jsonl", "--model", model, "--pooler", "mean").code == 0
    shutil.rmtree(model)

    async def use(client):
        found = answer_of(await client.call_tool("search", {"query": "heron"}))
        dense = await client.call_tool("search_documents", {"query": "heron", "mode": "dense"})
        return found, dense.is_error, dense.content[0].text

    (found, refused, said), logged = over_stdio(use, "--index", "indexes/notes")
    assert "keyword search" in found["note"]
    assert refused
    assert "cannot load its model; use mode 'keyword'" in said
    assert str(model) not in said
    assert "is searched by keywords only" in logged, "where its owner looks"
