"""Settings of a server, as one immutable record."""

from __future__ import annotations

from dataclasses import dataclass, field

from semsearch.confidence import DEFAULT
from semsearch.server.keys import Key

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "host.docker.internal")
"""Allowed `Host` values when listening on this machine only; an attacker's DNS cannot rebind these names."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a server.

    Attributes:
        keys: Keys that clients may use; if empty, everybody who can reach the server has full access.
        hosts: Allowed values of the header `Host`, without port; `*` for any, `*.example.com` for all subdomains.
        origins: Allowed values of the header `Origin`, besides the server's own address; `*` for any.
        public_url: URL at which browsers reach the server, for links in citations; if empty, links are paths only.
        min_confidence: Default minimum confidence of hits for chatbots, see `Hit.confidence`.
        rerank: Second stage for searches that ask for one, see `Index.search`. Only the operator chooses a model,
            because naming a model makes the server read it from this machine's disk.
        max_body_bytes: Maximum size of a request body.
        max_query_chars: Maximum length of a query.
        max_k: Maximum number of hits of a search.
        max_batch: Maximum number of texts to encode, or of documents to add or delete, in one request.
        max_waiting: Maximum number of texts waiting to be encoded, and of waiting searches; further requests get 429.
        max_seconds: Time limit for answering a request; adding and deleting documents has none.
        batch_tokens: Maximum number of tokens in a batch of the encoder, including padding.
        batching: Whether texts of different requests are encoded together; False only to measure the benefit.
        llm_base_url: URL of an OpenAI-compatible server whose model answers in the page's chat; empty for none.
        llm_model: Name of the model on that server.
        llm_key: API key for that server; never shown.
        device, runtime: As in `Encoder.load`.
    """

    keys: tuple[Key, ...] = ()
    hosts: tuple[str, ...] = LOCAL_HOSTS
    origins: tuple[str, ...] = ()
    public_url: str = ""
    min_confidence: float = DEFAULT
    rerank: str = "late-interaction"
    max_body_bytes: int = 64 * 2**20
    max_query_chars: int = 8_192
    max_k: int = 1_000
    max_batch: int = 2_048
    max_waiting: int = 32_768
    max_seconds: float = 60.0
    batch_tokens: int = 4_096
    batching: bool = True
    llm_base_url: str = ""
    llm_model: str = ""
    llm_key: str = field(default="", repr=False)
    device: str = "auto"
    runtime: str = "auto"
