"""The server's Model Context Protocol endpoint at /mcp, with the server's keys, limits and indexes."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from serving import NOTES, build, served

from semsearch.encoder import load
from semsearch.errors import ModelError
from semsearch.server.keys import Key
from semsearch.server.mcp_endpoint import Opened
from semsearch.server.settings import Settings

HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mcp")
    secret = [{**document, "_id": f"secret-{document['_id']}"} for document in NOTES]
    places = {"notes": build(folder / "notes"), "secret": build(folder / "secret", secret)}
    keys = (Key("all"), Key("bound", indexes=frozenset({"notes"})), Key("writer", frozenset({"write"})))
    with served(places, Settings(keys=keys, public_url="https://docs.example")) as client:
        yield client


def ask(client: httpx.Client, key: str, tool: str, **arguments: object) -> tuple[bool, str]:
    """Call a tool; return whether it failed, and its text."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = client.post("/mcp", json=call, headers={**HEADERS, "authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    return result.get("isError", False), result["content"][0]["text"]


def test_a_search_links_to_the_page_of_a_document(client):
    failed, text = ask(client, "all", "search", query="a heron by the water")
    results = json.loads(text)["results"]
    assert not failed
    assert {one["id"].partition(":")[0] for one in results} == {"notes", "secret"}
    (page,) = {one["url"] for one in results if one["id"].startswith("notes:heron")}
    assert page.startswith("https://docs.example/doc/heron?index=notes&chars=")
    assert client.get(page.replace("https://docs.example", ""), headers={"api-key": "all"}).status_code == 200


def test_a_key_for_one_index_sees_no_other(client):
    _, text = ask(client, "bound", "search", query="a heron by the water")
    assert {one["id"].partition(":")[0] for one in json.loads(text)["results"]} == {"notes"}
    assert ask(client, "bound", "fetch", id="secret:secret-heron")[0] is True
    assert "secret" not in ask(client, "bound", "list_indexes")[1]
    assert "heron" not in ask(client, "writer", "search", query="a heron")[1]


def test_it_needs_a_key_and_keeps_no_connection_open(client):
    assert client.post("/mcp", json={}, headers=HEADERS).status_code == 401
    assert client.get("/mcp", headers={**HEADERS, "authorization": "Bearer all"}).status_code == 405


@pytest.mark.parametrize(("wishes", "status"), [({"max_waiting": 0}, 429), ({"max_seconds": 0.3}, 504)])
def test_it_keeps_to_the_limits_of_the_server(tmp_path, monkeypatch, wishes, status):
    def slow(opened: Opened, name: str) -> None:
        time.sleep(2)

    monkeypatch.setattr(Opened, "__getitem__", slow)
    with served({"notes": build(tmp_path / "notes")}, Settings(**wishes), ready=False) as client:
        params = {"name": "list_indexes", "arguments": {}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = client.post("/mcp", json=call, headers=HEADERS)
        assert (answer.status_code, "error" in answer.json()) == (status, True)
        assert client.get("/health").status_code == 200


def test_a_named_mode_loads_no_model_beside_that_of_the_server(tmp_path, monkeypatch):
    loads = []

    def fail(*_: object) -> object:
        loads.append(1)
        raise ModelError("the checkpoint is gone")

    monkeypatch.setattr(load, "load_encoder", fail)
    with served({"notes": build(tmp_path / "notes")}) as client:
        for _ in range(3):
            failed, text = ask(client, "none", "search_documents", query="a heron by the water", mode="dense")
            answer = json.loads(text)
            assert (failed, answer["mode"]) == (False, "keyword")
            assert answer["note"].startswith("The model is not loaded")
    assert len(loads) == 1
