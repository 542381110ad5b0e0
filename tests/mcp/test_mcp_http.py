"""Streamable HTTP on loopback, mounted in another application, with the SDK's client and with plain requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import pytest
from assistant import ERAS, call, connected
from loopback import listening, served

from semsearch.mcp.http import http_app
from semsearch.mcp.server import create_mcp

EACH_ERA = pytest.mark.parametrize("era", ERAS)

MODERN = "2026-07-28"


@pytest.fixture(scope="module")
def port(sample) -> Iterator[int]:
    endpoint = http_app(
        create_mcp({"sample": sample}), hosts=["search.example.org"], origins=["https://chat.example.org"]
    )
    with served(endpoint) as number:
        yield number


def ask(
    port: int, body: Any, method: str = "POST", path: str = "/mcp", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Send a request and return the status, the body (parsed if it is a JSON object) and the headers."""
    usual = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), usual | headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    found = json.loads(text) if text.startswith("{") else text
    return answer.status, found, {name.lower(): value for name, value in answer.getheaders()}


def modern(method: str, version: str = MODERN, **params: Any) -> dict[str, Any]:
    """Build a request of revision 2026-07-28, which needs no handshake or session."""
    meta = {"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta, **params}}


def told(method: str, version: str = MODERN, **more: str) -> dict[str, str]:
    return {"mcp-protocol-version": version, "mcp-method": method, **more}


@EACH_ERA
def test_the_tools_answer_over_http_as_in_memory(port, sample, era):
    url, server = f"http://127.0.0.1:{port}/mcp", create_mcp({"sample": sample})
    for tool, arguments in (
        ("search", {"query": "overwatered houseplants root rot"}),
        ("fetch", {"id": "gardening-015"}),
        ("read_document", {"id": "gardening-015", "offset": 10}),
        ("list_indexes", {}),
    ):
        assert call(url, tool, era, **arguments) == call(server, tool, era, **arguments)


def test_a_request_of_2026_needs_nothing_before_it(port):
    status, found, headers = ask(
        port,
        modern("tools/call", name="search", arguments={"query": "root rot"}),
        **told("tools/call", **{"mcp-name": "search"}),
    )
    assert (status, found["result"]["resultType"]) == (200, "complete")
    assert found["result"]["structuredContent"]["results"]
    assert "mcp-session-id" not in headers
    status, found, _ = ask(port, modern("tools/list"), **told("tools/list"))
    assert (status, len(found["result"]["tools"])) == (200, 5)
    assert {"ttlMs", "cacheScope"} <= set(found["result"])
    status, found, _ = ask(port, modern("server/discover"), **told("server/discover"))
    assert (status, found["result"]["supportedVersions"]) == (200, [MODERN])
    assert "data" in found["result"]["instructions"]


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_a_handshake_of_2025_gives_no_session_to_lose(port, version):
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    status, found, headers = ask(port, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert (status, found["result"]["protocolVersion"]) == (200, version)
    assert "mcp-session-id" not in headers
    status, found, _ = ask(
        port, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, **{"mcp-protocol-version": version}
    )
    assert (status, len(found["result"]["tools"])) == (200, 5), "without the handshake, as another worker would see it"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (modern("tools/list", "1999-01-01"), told("tools/list", "1999-01-01"), 400, -32022),
        (modern("nope"), told("nope"), 404, -32601),
        (modern("tools/list"), told("prompts/list"), 400, -32020),
        (b"{", {}, 400, -32700),
        (b"[]", {}, 400, None),
        (b"\xff\x00", {}, 400, None),
    ],
)
def test_what_is_no_request_is_refused(port, body, headers, status, code):
    got, found, _ = ask(port, body, **headers)
    assert got == status
    assert code is None or found["error"]["code"] == code


def test_an_enormous_body_is_refused(port):
    assert ask(port, b" " * (4 * 2**20 + 1))[0] == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "host.docker.internal:8000"}, 200),
        ({"host": "search.example.org"}, 200),
        ({"host": "search.example.org:81"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "https://chat.example.org"}, 200),
    ],
)
def test_only_known_hosts_and_origins_are_answered(port, headers, status, caplog):
    assert ask(port, modern("tools/list"), **told("tools/list"), **headers)[0] == status


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("http://localhost:3000", True), ("https://chat.example.org", True), ("https://chat.example.org:81", False)],
)
def test_pages_that_may_call_are_told_so_before(port, origin, allowed):
    wanted = "authorization,content-type,mcp-protocol-version,mcp-method,mcp-name,mcp-session-id"
    asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": wanted}
    status, _, headers = ask(port, b"", "OPTIONS", **asked)
    assert (status == 200) == allowed == (headers.get("access-control-allow-origin") == origin)
    if allowed:
        assert set(wanted.split(",")) <= set(headers["access-control-allow-headers"].lower().split(", "))
        _, _, headers = ask(port, modern("tools/list"), **told("tools/list"), origin=origin)
        assert headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_no_stream_and_no_session_is_opened(port, method):
    status, _, headers = ask(port, b"", method, accept="text/event-stream")
    assert (status, headers["allow"]) == (405, "POST")


def test_the_application_around_it_answers_everything_else(port):
    assert ask(port, b"", "GET", "/")[:2] == (200, "the page")
    assert ask(port, b"", "GET", "/other")[0] == 404


def test_it_stands_alone_too_and_leaves_checks_to_an_application_that_has_them(sample):
    with listening(http_app(create_mcp({"sample": sample}), path="/tools/mcp").app) as port:
        assert call(f"http://127.0.0.1:{port}/tools/mcp", "list_indexes")["indexes"][0]["name"] == "sample"
    with served(http_app(create_mcp({"sample": sample}), guarded=True)) as port:
        foreign = {"host": "any.example", "origin": "https://any.example"}
        status, _, headers = ask(port, modern("tools/list"), **told("tools/list"), **foreign)
        assert (status, "access-control-allow-origin" in headers) == (200, False)


def test_answers_to_many_at_once_are_each_ones_own(port, sample):
    ids = [hit.doc_id for hit in sample.search("water", 30, mode="dense")]
    url = f"http://127.0.0.1:{port}/mcp"

    def fetch(number: int) -> tuple[str, str]:
        fetched = call(url, "fetch", ERAS[number % 2], id=ids[number])
        return fetched["id"], fetched["text"]

    with ThreadPoolExecutor(8) as pool:
        assert dict(pool.map(fetch, range(len(ids)))) == {one: sample.documents([one])[one].text for one in ids}


@EACH_ERA
def test_a_request_sees_only_the_indexes_that_it_may(sample, odd, era):
    class Keys:
        """A stand-in for the surrounding application, which decides what a key may see before it calls the endpoint."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope.setdefault("state", {})["names"] = ["odd"]
            await self.app(scope, receive, send)

    server = create_mcp({"sample": sample, "odd": odd}, visible=lambda request: request.state.names)
    endpoint = http_app(server)
    with served(endpoint._replace(app=Keys(endpoint.app))) as port:
        url = f"http://127.0.0.1:{port}/mcp"
        assert [one["name"] for one in call(url, "list_indexes", era)["indexes"]] == ["odd"]
        assert call(url, "search", era, query="overwatered houseplants root rot")["results"] == []
        assert call(url, "search", era, query="axolotls gills")["results"][0]["id"].startswith("odd:")
        assert call(url, "search_documents", era, query="axolotls gills")["index"] == "odd"

        async def try_all(client):
            said = [
                await client.call_tool("fetch", {"id": "sample:gardening-015"}),
                await client.call_tool("read_document", {"id": "sample:gardening-015"}),
                await client.call_tool("search_documents", {"query": "root rot", "index": "sample"}),
            ]
            with pytest.raises(Exception, match="unknown index 'sample'"):
                await client.read_resource("semsearch://sample/gardening-015")
            return [(one.is_error, one.content[0].text) for one in said]

        for refused, text in connected(url, try_all, era):
            assert refused
            assert "no document has the id" in text or "unknown index" in text
