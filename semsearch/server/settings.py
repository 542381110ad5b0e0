"""How a server behaves, as one immutable record."""

from __future__ import annotations

from dataclasses import dataclass, field

from semsearch.confidence import DEFAULT
from semsearch.server.keys import Key

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1", "host.docker.internal")
"""What `Host` may say where only this machine is listened to: no stranger's DNS can point these names elsewhere."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server behaves.

    Attributes:
        keys: Who may ask; empty for everybody who can reach the server.
        hosts: What the header `Host` may say, without a port; `*` for anything, `*.example.com` for all below it.
        origins: What the header `Origin` may say, beside the server's own address; `*` for anything.
        public_url: Where browsers reach the server, for the links in citations; empty for paths alone.
        min_confidence: Which hits chat surfaces leave out, see `Hit.confidence`.
        rerank: How a search that asks for a second stage is answered, see `Index.search`; only who runs the server
            chooses a model, for whoever names one has it read from this machine's disk.
        max_body_bytes: Of a request.
        max_query_chars: Of a query.
        max_k: Hits of a search.
        max_batch: Texts of a request to encode, and documents of one to add or delete.
        max_waiting: Texts that wait to be encoded, and searches that wait for their turn; what comes then gets 429.
        max_seconds: Until a request must be answered; documents that are added have no limit.
        batch_tokens: Tokens, with padding, that are encoded at once.
        batching: Whether the texts of different requests are encoded together; False only to measure what that gains.
        llm_base_url: An OpenAI-compatible server whose model answers in the chat of the page; empty for none.
        llm_model: As that server calls it.
        llm_key: For that server, never shown.
        device, runtime: As for `Encoder.load`.
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
