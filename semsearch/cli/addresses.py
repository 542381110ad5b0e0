"""Where a server is, seen from this machine and from inside a container, and what it serves at which address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from semsearch.errors import UsageError

IN_DOCKER = "host.docker.internal"
"""Name of the host inside a container of Docker Desktop, and of Docker on Linux with
`--add-host=host.docker.internal:host-gateway`."""


class Served(NamedTuple):
    """Something that the server speaks.

    Attributes:
        path: What is pasted is the server's address and this.
        goes_on: What the client adds to that by itself.
    """

    what: str
    path: str
    goes_on: str = ""


SERVED = (
    Served("web page", "/"),
    Served("own API, described at /openapi.json", "/"),
    Served("MCP (streamable HTTP)", "/mcp"),
    Served("OpenAI embeddings and vector store search", "/v1", "/embeddings"),
    Served("rerank for Cohere", "", "/v2/rerank"),
    Served("rerank for Jina, Open WebUI", "/v1/rerank"),
    Served("rerank and embeddings for TEI", "", "/rerank"),
    Served("Ollama embeddings", "", "/api/embed"),
    Served("Dify external knowledge", "", "/retrieval"),
    Served("Open WebUI tool server (OpenAPI)", "/tools", "/openapi.json"),
    Served("Open WebUI web search", "/web_search"),
    Served("Open WebUI external knowledge (Qdrant)", "", "/collections/NAME/points/query"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server.

    Attributes:
        host: On which it listens.
        url: As programs on this machine reach it, without a slash at the end.
    """

    host: str
    url: str

    @property
    def port(self) -> int | None:
        """On which a server on this machine listens; None where the address is not one of this machine."""
        parts = urlsplit(self.url)
        return parts.port if is_loopback(parts.hostname or "") else None

    @property
    def docker_url(self) -> str:
        """As programs in a container on this machine reach it."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        here = is_loopback(parts.hostname or "")
        return f"{parts.scheme}://{IN_DOCKER}{port}{parts.path}" if here else self.url


def address_of(host: str, port: int, url: str) -> Address:
    """The address of a server on a host and port, or the one by which it is reached instead.

    Raises:
        UsageError: The port is none, or the URL is no address of a web server.
    """
    if not 1 <= port <= 65_535:
        raise UsageError(f"`port` must be from 1 to 65535, got {port}")
    if url:
        return Address(host, checked_url(url))
    named = "127.0.0.1" if host in ("0.0.0.0", "::", "[::]") else host
    bracketed = f"[{named}]" if ":" in named and not named.startswith("[") else named
    return Address(host, checked_url(f"http://{bracketed}:{port}"))


def checked_url(url: str, name: str = "url") -> str:
    """An address without a slash at the end; empty stays empty.

    Args:
        url: As it was given.
        name: Of the parameter.

    Raises:
        UsageError: It is no address of a web server, or holds a name, a password or a query.
    """
    if not url:
        return ""
    wrong = UsageError(f"`{name}` is no address of a web server; expected one such as http://127.0.0.1:8000")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise wrong
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            f"`{name}` holds a name, a password, a query or a fragment; expected the bare address of the server"
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
