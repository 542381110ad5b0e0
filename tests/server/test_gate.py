"""Checks that apply to every request: keys, hosts, origins, slow or disconnected clients, and what is logged."""

from __future__ import annotations

import json
import logging
import re
import socket
import time

import anyio
import httpx
import pytest
from serving import NOTES, build, served, wait_for

from semsearch.server.app import create_app
from semsearch.server.keys import Key
from semsearch.server.logs import JsonLines
from semsearch.server.settings import Settings

ALL, READER, BOUND = Key("all-1"), Key("reader-1", frozenset({"read"})), Key("bound-1", indexes=frozenset({"notes"}))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    secret = [{**document, "_id": f"secret-{document['_id']}"} for document in NOTES]
    places = {"notes": build(folder / "notes"), "secret": build(folder / "secret", secret)}
    settings = Settings(keys=(ALL, READER, BOUND), origins=("https://chat.example",), max_seconds=2)
    with served(places, settings) as client:
        yield client


def with_key(key: Key) -> dict[str, str]:
    return {"authorization": f"Bearer {key.secret}"}


def every_route(client: httpx.Client) -> list[tuple[str, str]]:
    """List the method and path of every operation in the OpenAPI description, with harmless parameters."""
    document = client.get("/openapi.json", headers=with_key(ALL)).json()
    return [
        (method.upper(), re.sub(r"\{\w+\}", "heron", path))
        for path, methods in document["paths"].items()
        for method in methods
    ]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"api-key": "all-"}])
def test_nothing_but_health_and_the_page_answers_without_a_key(client, headers):
    routes = [*every_route(client), ("GET", "/openapi.json"), ("GET", "/nothing"), ("OPTIONS", "/search")]
    routes += [("GET", "/"), ("GET", "/static/app.js"), ("GET", "/static")]
    assert len(routes) > 12
    for method, path in routes:
        answer = client.request(method, path, headers=headers)
        expected = 200 if path in ("/health", "/", "/static/app.js") else 403 if path == "/retrieval" else 401
        assert answer.status_code == expected, (method, path)  # Dify expects 403 for a wrong key
        if expected == 401:
            assert answer.headers["www-authenticate"].startswith("Basic ")
        if expected != 200:
            assert "key" in str(answer.json())  # each contract has its own error shape


def test_the_key_comes_before_the_body(client):
    assert client.post("/search", content=b"{").status_code == 401


def test_a_key_to_read_changes_nothing(client):
    headers = with_key(READER)
    assert client.post("/search", json={"query": "a", "index": "notes"}, headers=headers).status_code == 200
    for answer in (
        client.post("/documents", json={"index": "notes", "documents": [{"id": "x", "text": "a"}]}, headers=headers),
        client.post("/documents/files", data={"index": "notes"}, files={"files": ("a.txt", b"a")}, headers=headers),
        client.post("/documents/delete", json={"index": "notes", "ids": ["heron"]}, headers=headers),
        client.delete("/documents/heron?index=notes", headers=headers),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert client.get("/documents/heron?index=notes", headers=headers).status_code == 200


def test_a_key_for_one_index_never_reaches_another(client):
    headers = with_key(BOUND)
    document = {"id": "x", "text": "a"}
    for answer in (
        client.post("/search", json={"query": "a", "index": "secret"}, headers=headers),
        client.post("/documents", json={"index": "secret", "documents": [document]}, headers=headers),
        client.post("/documents/files", data={"index": "secret"}, files={"files": ("a.txt", b"a")}, headers=headers),
        client.post("/documents/delete", json={"index": "secret", "ids": ["secret-heron"]}, headers=headers),
        client.get("/documents/secret-heron?index=secret", headers=headers),
        client.delete("/documents/secret-heron?index=secret", headers=headers),
        client.get("/doc/secret-heron?index=secret", headers=headers),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "unknown index 'secret'; expected one of notes"
    for path in ("/indexes", "/ready"):
        assert "secret" not in client.get(path, headers=headers).text
    found = client.post("/search", json={"query": "water heron", "k": 50}, headers=headers).json()  # its only index
    assert (found["index"], [hit["id"] for hit in found["hits"] if "secret" in hit["id"]]) == ("notes", [])


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"])
def test_a_wrong_host_is_refused(client, host):
    answer = client.get("/health", headers={"host": host})
    assert answer.status_code == 400
    assert "start the server with --allow-host" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1:8000", "[::1]:8000", "host.docker.internal:8000"]
)
def test_this_machine_is_known_by_its_names(client, host):
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("docs.example.com", 200),
        ("DOCS.example.com:443", 200),
        ("[fe80::1]:8000", 200),
        ("[FE80::1]", 200),
        ("a.lab.example", 200),
        ("lab.example", 400),
        ("alab.example", 400),
        ("fe80", 400),
        ("localhost", 400),
    ],
)
def test_a_server_is_known_by_the_names_that_it_is_given_however_they_are_written(tmp_path, host, status):
    settings = Settings(hosts=("Docs.Example.com", "[fe80::1]", "*.Lab.example"))
    with served({"notes": build(tmp_path / "notes")}, settings, ready=False) as client:
        assert client.get("/health", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://chat.example", "http://127.0.0.1:1", "http://["]
)
def test_a_page_of_a_wrong_origin_is_refused(client, origin):
    answer = client.post("/search", json={"query": "a"}, headers={**with_key(ALL), "origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_pages_of_the_server_itself_and_of_allowed_origins_may_ask(client):
    asked = {"query": "a", "index": "notes"}
    own = str(client.base_url).rstrip("/")
    for origin in (own, "https://chat.example"):
        answer = client.post("/search", json=asked, headers={**with_key(ALL), "origin": origin})
        assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://chat.example"
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    before = client.options("/search", headers={"origin": "https://chat.example", **asking})
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, "https://chat.example")
    refused = client.options("/search", headers={"origin": "https://evil.example", **asking})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (400, False)


def test_a_request_keeps_its_id_if_that_is_harmless(client):
    assert client.get("/health", headers={"x-request-id": "chat-7.a"}).headers["x-request-id"] == "chat-7.a"
    for given in ("a b", "x" * 65, '"},{"', "é".encode()):
        answer = client.get("/health", headers={b"x-request-id": given if isinstance(given, bytes) else given.encode()})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def sent(client: httpx.Client, data: bytes) -> socket.socket:
    """Open a connection, send the bytes on it, and return it."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)
    connection.sendall(data)
    return connection


HEAD = b"POST /search HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer all-1\r\nContent-Type: application/json\r\n"


def test_a_slow_client_is_cut_off_and_holds_nobody_up(client):
    slow = [sent(client, HEAD + b"Content-Length: 100\r\n\r\n{") for _ in range(50)]
    assert client.post("/search", json={"query": "a", "index": "notes"}, headers=with_key(ALL)).status_code == 200
    answer = slow[0].recv(4_096)  # after `max_seconds`, which is 2
    assert answer.startswith(b"HTTP/1.1 504")
    for connection in slow:
        connection.close()


@pytest.mark.parametrize("data", [b"", b"POST", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{", b"\0\xff\r\n\r\n"])
def test_a_dropped_connection_does_no_harm(client, data):
    for _ in range(5):
        sent(client, data).close()
    assert client.post("/search", json={"query": "a", "index": "notes"}, headers=with_key(ALL)).status_code == 200


def test_nothing_of_what_is_asked_gets_into_the_log(client, caplog):
    caplog.set_level(logging.INFO, "semsearch")
    asked = {"query": "zebra-text", "index": "notes"}
    client.post("/search", json=asked, headers={**with_key(ALL), "x-request-id": "id-of-it"})
    client.get("/documents/zebra-id?index=notes", headers=with_key(ALL))
    client.get("/zebra-path?zebra=1", headers=with_key(ALL))
    wait_for(lambda: len([one for one in caplog.records if one.message == "request"]) >= 3)
    lines = [JsonLines().format(record) for record in caplog.records]
    assert not re.search("zebra|all-1", "".join(lines))
    (first,) = [told for told in map(json.loads, lines) if told.get("request_id") == "id-of-it"]
    assert (first["method"], first["route"], first["status"]) == ("POST", "/search", 200)


def test_an_error_that_is_a_bug_tells_nothing_of_its_message(tmp_path, caplog):
    app = create_app({"notes": tmp_path})

    @app.get("/bug")
    def bug() -> None:
        raise ValueError("zebra-text")

    caplog.set_level(logging.INFO, "semsearch")

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get("/bug")

    answer = anyio.run(ask)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    (line,) = [JsonLines().format(one) for one in caplog.records if one.message == "request failed"]
    assert "ValueError" in line
    assert "test_gate.py" in line
    assert "zebra" not in line + answer.text


def test_nothing_is_opened_before_the_server_starts(tmp_path):
    started = time.perf_counter()
    app = create_app({"notes": tmp_path / "nothing"})
    assert app.openapi()["info"]["title"] == "semsearch"
    assert time.perf_counter() - started < 10
    assert not (tmp_path / "nothing").exists()
