"""Settings to paste into each client to connect it to semsearch: one small function per client, in one table."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from semsearch.cli.addresses import Address
from semsearch.cli.locations import IndexPlace

KEY = "YOUR_KEY"
"""Placeholder for the key, which doctor never knows."""

USUAL_PORT = 8_000
"""Default port of `semsearch serve`."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The facts about this installation that a client needs.

    Attributes:
        address: Address of the server.
        command: Command that runs semsearch on this machine, as words.
        indexes: Indexes by name: absolute folders, or addresses.
        port: Port that the server listens on.
    """

    address: Address
    command: tuple[str, ...]
    indexes: Mapping[str, IndexPlace]
    port: int = USUAL_PORT

    @property
    def stdio(self) -> list[str]:
        """Command that serves the indexes over standard input and output, as words."""
        return [
            *self.command,
            "mcp",
            *(word for item in self.indexes.items() for word in ("--index", "=".join(map(str, item)))),
        ]

    @property
    def serve(self) -> list[str]:
        """Command that serves the indexes over HTTP, also to containers, as words."""
        indexes = self.stdio[len(self.command) + 1 :]
        port = [] if self.port == USUAL_PORT else ["--port", str(self.port)]
        return [*self.command, "serve", *indexes, "--host", "0.0.0.0", *port, "--token", KEY]


@dataclass(frozen=True, slots=True)
class Paste:
    """A text to paste, and where to paste it.

    Attributes:
        where: The file, terminal or form to paste it into.
        text: The text to paste.
        note: Further advice; may be empty.
    """

    where: str
    text: str
    note: str = ""


NO_KEY = "Leave the key out if the server has none."
DOCKER = (
    "A container cannot reach a server that listens only on 127.0.0.1. Docker on Linux also needs "
    "--add-host=host.docker.internal:host-gateway. Start the server with:"
)


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}"}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _claude_code(setup: Setup) -> list[Paste]:
    url, header = f"{setup.address.url}/mcp", f"Authorization: Bearer {KEY}"
    add = ["claude", "mcp", "add", "--transport", "http", "semsearch", url, "--header", header]
    project = {"mcpServers": {"semsearch": {"type": "http", "url": url, "headers": _headers()}}}
    return [
        Paste("terminal", shlex.join(add), NO_KEY),
        Paste(".mcp.json in a project", _json(project), NO_KEY),
        Paste("terminal, without a server", shlex.join(["claude", "mcp", "add", "semsearch", "--", *setup.stdio])),
    ]


def _claude_desktop(setup: Setup) -> list[Paste]:
    command, *args = setup.stdio
    return [
        Paste(
            "claude_desktop_config.json (Settings, Developer, Edit Config)",
            _json({"mcpServers": {"semsearch": {"command": command, "args": args}}}),
            "No server is needed. Restart Claude Desktop afterwards.",
        )
    ]


def _cursor(setup: Setup) -> list[Paste]:
    server = {"url": f"{setup.address.url}/mcp", "headers": _headers()}
    return [Paste(".cursor/mcp.json", _json({"mcpServers": {"semsearch": server}}), NO_KEY)]


def _vscode(setup: Setup) -> list[Paste]:
    server = {"type": "http", "url": f"{setup.address.url}/mcp", "headers": _headers()}
    return [Paste(".vscode/mcp.json", _json({"servers": {"semsearch": server}}), NO_KEY)]


def _open_webui(setup: Setup) -> list[Paste]:
    url = setup.address.docker_url
    which = f"?index={quote(next(iter(setup.indexes)))}" if len(setup.indexes) > 1 else ""
    forms = (
        ("Integrations, External Tool Servers: type MCP Streamable HTTP", f"{url}/mcp"),
        ("Integrations, External Tool Servers: type OpenAPI", f"{url}/tools"),
        ("Documents, Embedding: engine OpenAI, the index as the model", f"{url}/v1"),
        ("Documents, Retrieval, Hybrid Search: reranking engine External, the index as the model", f"{url}/v1/rerank"),
        ("Integrations, External Knowledge Sources: provider Qdrant, the index as the collection", url),
        ("Web Search: engine external, with Bypass Web Loader", f"{url}/web_search{which}"),
    )
    return [Paste(f"Settings, Admin, {where}", text, f"Key: {KEY}") for where, text in forms]


def _librechat(setup: Setup) -> list[Paste]:
    url = setup.address.docker_url
    host = urlsplit(url).hostname
    lines = (
        "mcpSettings:",
        "  allowedDomains:",
        f"    - {json.dumps(host)}",
        "mcpServers:",
        "  semsearch:",
        "    type: streamable-http",
        f"    url: {json.dumps(f'{url}/mcp')}",
        "    headers:",
        f'      Authorization: "Bearer {KEY}"',
    )
    return [Paste("librechat.yaml", "\n".join(lines), NO_KEY)]


def _dify(setup: Setup) -> list[Paste]:
    ids = ", ".join(setup.indexes) or "the name of an index"
    return [
        Paste("Knowledge, External Knowledge API: API Endpoint", setup.address.docker_url, f"API Key: {KEY}"),
        Paste("Connect to an External Knowledge Base: External Knowledge ID", ids, "One knowledge base per index."),
    ]


def _anythingllm(setup: Setup) -> list[Paste]:
    url = setup.address.docker_url
    server = {"type": "streamable", "url": f"{url}/mcp", "headers": _headers()}
    return [
        Paste("plugins/anythingllm_mcp_servers.json", _json({"mcpServers": {"semsearch": server}}), NO_KEY),
        Paste("Settings, Embedder: Generic OpenAI, Base URL", f"{url}/v1", f"API Key: {KEY}"),
    ]


def _n8n(setup: Setup) -> list[Paste]:
    endpoint = f"{setup.address.docker_url}/mcp"
    return [Paste("MCP Client Tool node: Endpoint", endpoint, f"HTTP Streamable; Bearer Auth with {KEY}.")]


CLIENTS: Mapping[str, Callable[[Setup], list[Paste]]] = {
    "claude-code": _claude_code,
    "claude-desktop": _claude_desktop,
    "cursor": _cursor,
    "vscode": _vscode,
    "open-webui": _open_webui,
    "librechat": _librechat,
    "dify": _dify,
    "anythingllm": _anythingllm,
    "n8n": _n8n,
}

IN_CONTAINERS = frozenset(("open-webui", "librechat", "dify", "anythingllm", "n8n"))
"""Clients that usually run in a container."""
