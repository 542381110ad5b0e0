"""An assistant for tests: the SDK's own client, in either era of the protocol, over any transport."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from mcp import Client
from mcp.types import CallToolResult

ERAS = ("legacy", "2026-07-28")
"""As the client is told them: the handshake of 2025-11-25 and before, and the revision without one."""

T = TypeVar("T")


def connected(server: Any, act: Callable[[Client], Awaitable[T]], era: str = ERAS[0]) -> T:
    """What a client that is connected to a server, a transport or a URL makes of it."""

    async def run() -> T:
        async with Client(server, mode=era) as client:
            return await act(client)

    return anyio.run(run)


def call(server: Any, tool: str, era: str = ERAS[0], **arguments: Any) -> dict[str, Any]:
    """The answer of a tool, after a check that it is given twice and is the same both times."""
    return answer_of(result(server, tool, era, **arguments))


def result(server: Any, tool: str, era: str = ERAS[0], **arguments: Any) -> CallToolResult:
    """The result of a tool, errors included."""
    return connected(server, lambda client: client.call_tool(tool, arguments), era)


def answer_of(given: CallToolResult) -> dict[str, Any]:
    """The one text of a result as JSON, which its structured content must equal."""
    (item,) = given.content
    assert not given.is_error, item.text
    assert json.loads(item.text) == given.structured_content
    return json.loads(item.text)


def refusal(server: Any, tool: str, **arguments: Any) -> str:
    """The text of an error."""
    given = result(server, tool, **arguments)
    assert given.is_error
    assert given.structured_content is None
    (item,) = given.content
    return item.text
