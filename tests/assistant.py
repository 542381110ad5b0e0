"""An MCP assistant for tests: the SDK's client, in both eras of the protocol, over any transport."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from mcp import Client
from mcp.types import CallToolResult

ERAS = ("legacy", "2026-07-28")
"""Modes of the client: the handshake of protocol revisions up to 2025-11-25, and the revision without a handshake."""

T = TypeVar("T")


def connected(server: Any, act: Callable[[Client], Awaitable[T]], era: str = ERAS[0]) -> T:
    """Connect a client to a server, a transport or a URL, and return the result of `act`."""

    async def run() -> T:
        async with Client(server, mode=era) as client:
            return await act(client)

    return anyio.run(run)


def call(server: Any, tool: str, era: str = ERAS[0], **arguments: Any) -> dict[str, Any]:
    """Call a tool and return its answer, after checking that text and structured content agree."""
    return answer_of(result(server, tool, era, **arguments))


def result(server: Any, tool: str, era: str = ERAS[0], **arguments: Any) -> CallToolResult:
    """Call a tool and return its result, which may be an error."""
    return connected(server, lambda client: client.call_tool(tool, arguments), era)


def answer_of(given: CallToolResult) -> dict[str, Any]:
    """Return the only text of a result parsed as JSON, which must equal its structured content."""
    (item,) = given.content
    assert not given.is_error, item.text
    assert json.loads(item.text) == given.structured_content
    return json.loads(item.text)


def refusal(server: Any, tool: str, **arguments: Any) -> str:
    """Call a tool that must fail and return the text of its error."""
    given = result(server, tool, **arguments)
    assert given.is_error
    assert given.structured_content is None
    (item,) = given.content
    return item.text
