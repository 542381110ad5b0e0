"""The `semsearch serve` command, which serves indexes over HTTP."""

from __future__ import annotations

import importlib.util
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.addresses import checked_url, is_loopback
from semsearch.cli.locations import named_indexes
from semsearch.errors import UsageError

if TYPE_CHECKING:
    from semsearch.stores.open import Location

TOKENS = "SEMSEARCH_TOKEN"
"""Environment variable with keys, separated by white space; unlike options, it is hidden from other users."""

LLM_KEY = "SEMSEARCH_LLM_KEY"
"""Environment variable with the key of the language model's server."""

Host = Annotated[str, typer.Option(help="Address to listen on; one that other machines can reach requires a token.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one.")]
Tokens = Annotated[
    list[str] | None,
    typer.Option(
        help="Key that clients must send; repeatable. read:KEY, write:KEY and @NAME,NAME:KEY restrict access. "
        f"Preferably set {TOKENS} instead, which other users of this machine cannot see."
    ),
]
Workers = Annotated[int, typer.Option(help="Number of worker processes, each with its own copy of the model.")]
Origins = Annotated[
    list[str] | None,
    typer.Option("--cors", help="Origin of web pages that may call the server; repeatable; * for any."),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Host name that clients may use for the server; repeatable; * for any."),
]
PublicUrl = Annotated[str, typer.Option(help="Address at which browsers reach the server, for links to documents.")]
Second = Annotated[
    str,
    typer.Option("--rerank", help="Reranker for searches that request one: late-interaction or cross-encoder:MODEL."),
]
MaxBodyMb = Annotated[int, typer.Option(help="Maximum size of a request, in MiB.")]
MaxSeconds = Annotated[float, typer.Option(help="Time limit for a request, in seconds; adding documents is exempt.")]
LlmBaseUrl = Annotated[
    str,
    typer.Option(help=f"Base URL of an OpenAI-compatible server for the page's chat; its key is read from {LLM_KEY}."),
]
LlmModel = Annotated[str, typer.Option(help="Name of the model to request from that server.")]


def serve(
    index: opt.AllIndexes = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Tokens = None,
    workers: Workers = 1,
    cors: Origins = None,
    allow_host: Hosts = None,
    public_url: PublicUrl = "",
    max_body_mb: MaxBodyMb = 64,
    max_seconds: MaxSeconds = 60.0,
    rerank: Second = "late-interaction",
    llm_base_url: LlmBaseUrl = "",
    llm_model: LlmModel = "",
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
) -> None:
    """Serve indexes over HTTP as a chatbot's retrieval backend."""
    try:
        from semsearch.rerank import parse_rerank
        from semsearch.server import run
        from semsearch.server.keys import Key
        from semsearch.server.settings import LOCAL_HOSTS, Settings
    except ImportError as error:
        raise UsageError(f"serving needs {error.name}; install it with: pip install 'semsearch[serve]'") from None
    for name, given, least in (("workers", workers, 1), ("max_body_mb", max_body_mb, 1), ("port", port, 0)):
        if given < least:
            raise UsageError(f"`{name}` must be at least {least}, got {given}")
    if port > 65_535:
        raise UsageError(f"`port` must be at most 65535, got {port}")
    if not max_seconds > 0:
        raise UsageError(f"`max_seconds` must be above 0, got {max_seconds}")
    _check_language_model(llm_base_url, llm_model)
    reached = checked_url(public_url, "public_url")
    parse_rerank(rerank)
    places = _places(index)
    keys = tuple(Key.parse(text) for text in [*(token or ()), *os.environ.get(TOKENS, "").split()])
    unknown = sorted({name for key in keys for name in key.indexes or ()} - set(places))
    if unknown:
        raise UsageError(f"`token` names an unknown index {unknown[0]!r:.60}; expected one of {', '.join(places)}")
    for origin in cors or ():
        if not re.fullmatch(r"\*|https?://[^\s/]+", origin):
            raise UsageError(f"`cors` is {origin!r:.80}; expected * or an origin such as https://chat.example.org")
    local = is_loopback(host)
    if not keys and not local:
        raise UsageError(
            f"other machines can reach `host` {host!r}, so clients need a key; set one with `token` or {TOKENS}, or "
            "listen on 127.0.0.1"
        )
    listening = run.bind(host, port)
    address = f"http://{f'[{host}]' if ':' in host and '[' not in host else host}:{listening.getsockname()[1]}"
    settings = Settings(
        keys=keys,
        hosts=tuple(allow_host) if allow_host else LOCAL_HOSTS if local else ("*",),
        origins=tuple(cors or ()),
        public_url=reached or (address if local else ""),  # otherwise the address that clients use is unknown
        max_body_bytes=max_body_mb * 2**20,
        max_seconds=max_seconds,
        rerank=rerank,
        llm_base_url=llm_base_url,
        llm_model=llm_model,
        llm_key=os.environ.get(LLM_KEY, "").strip(),
        device=device,
        runtime=runtime,
    )
    terminal.say(f"serving {', '.join(places)} at {address} (press Ctrl-C to stop)")
    with suppress(KeyboardInterrupt):  # raised after all requests are answered, the normal end of a server
        run.serve(places, settings, listening, workers=workers)


def _check_language_model(base_url: str, model: str) -> None:
    """Check the options for the language model before anything is opened.

    Raises:
        UsageError: If only one of them is given, the URL is not a web address, or the openai package is missing.
    """
    if not base_url and not model:
        return
    if not base_url or not model:
        missing, given = ("llm_model", "llm_base_url") if base_url else ("llm_base_url", "llm_model")
        raise UsageError(f"`{given}` requires `{missing}`")
    if not re.match(r"https?://[^\s/]+", base_url):
        raise UsageError(f"`llm_base_url` is {base_url!r:.80}; expected an address such as http://127.0.0.1:11434/v1")
    if importlib.util.find_spec("openai") is None:
        raise UsageError("`llm_base_url` needs the openai package; install it with: pip install 'semsearch[chat]'")


def _places(given: list[str] | None) -> dict[str, Location]:
    """Return the indexes by name, after checking that each exists."""
    from semsearch.index import Index

    named = named_indexes(given or [])
    for folder in named.values():
        Index.open(folder).close()  # raises if there is no index
    return {name: str(one.absolute()) if isinstance(one, Path) else one for name, one in named.items()}
