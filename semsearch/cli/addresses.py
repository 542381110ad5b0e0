"""Addresses of a server, as seen from this machine and from inside a container, and the endpoints it offers."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from semsearch.errors import UsageError

IN_DOCKER = "host.docker.internal"
"""Name of the host inside a container, in Docker Desktop and in Docker on Linux with
`--add-host=host.docker.internal:host-gateway`."""


class Served(NamedTuple):
    """An API or page that the server offers.

    Attributes:
        what: Name of the API or page.
        path: Path to append to the server's address; the user pastes the result into a client.
        goes_on: Path that the client itself appends to that.
    """

    what: str
    path: str
    goes_on: str = ""


SERVED = (
    Served("web page", "/"),
    Served("semsearch API, described at /openapi.json", "/"),
    Served("MCP (streamable HTTP)", "/mcp"),
    Served("OpenAI embeddings and vector store search", "/v1", "/embeddings"),
    Served("Cohere rerank", "", "/v2/rerank"),
    Served("Jina rerank, also for Open WebUI", "/v1/rerank"),
    Served("TEI rerank and embeddings", "", "/rerank"),
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
        host: Host name or IP address that it listens on.
        url: URL at which programs on this machine reach it, without a trailing slash.
    """

    host: str
    url: str

    @property
    def port(self) -> int | None:
        """Port that a server on this machine listens on; None if the URL does not point to this machine."""
        parts = urlsplit(self.url)
        return parts.port if is_loopback(parts.hostname or "") else None

    @property
    def docker_url(self) -> str:
        """URL at which programs in a container on this machine reach the server."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        here = is_loopback(parts.hostname or "")
        return f"{parts.scheme}://{IN_DOCKER}{port}{parts.path}" if here else self.url


def address_of(host: str, port: int, url: str) -> Address:
    """Return the address of a server that listens on a host and port.

    Args:
        host: Host name or IP address that the server listens on.
        port: Port that it listens on.
        url: URL at which clients reach it, if that differs; else empty.

    Raises:
        UsageError: If the port is out of range, or the URL is not the address of a web server.
    """
    if not 1 <= port <= 65_535:
        raise UsageError(f"`port` must be from 1 to 65535, got {port}")
    if url:
        return Address(host, checked_url(url))
    named = "127.0.0.1" if host in ("0.0.0.0", "::", "[::]") else host
    bracketed = f"[{named}]" if ":" in named and not named.startswith("[") else named
    return Address(host, checked_url(f"http://{bracketed}:{port}"))


def checked_url(url: str, name: str = "url") -> str:
    """Return a URL without its trailing slash; an empty string stays empty.

    Args:
        url: The URL as the user gave it.
        name: Name of the parameter, for the error message.

    Raises:
        UsageError: If it is not the address of a web server, or contains a user name, a password, a query or a
            fragment.
    """
    if not url:
        return ""
    wrong = UsageError(f"`{name}` is not a web address; expected one such as http://127.0.0.1:8000")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise wrong
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            f"`{name}` contains a user name, password, query or fragment; expected only the address of the server"
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address is reachable only from this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
