"""The command `semsearch serve`."""

from __future__ import annotations

import importlib.util
import os
import re
from contextlib import suppress
from typing import Annotated

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.addresses import checked_url, is_loopback
from semsearch.cli.locations import named_indexes
from semsearch.errors import UsageError

TOKENS = "SEMSEARCH_TOKEN"
"""Environment variable with keys, separated by white space; other users of the machine cannot see them there."""

LLM_KEY = "SEMSEARCH_LLM_KEY"
"""Environment variable with the key for the language model's server."""

Host = Annotated[str, typer.Option(help="Address to listen on; one that others can reach needs a token.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.")]
Tokens = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Key that clients must send; repeat it. read:KEY, write:KEY and @NAME,NAME:KEY allow less. "
        f"Better set {TOKENS}."
    ),
]
Workers = Annotated[int, typer.Option(help="Processes, each with a model of its own.")]
Origins = Annotated[
    list[str] | None, typer.Option("--cors", help="Origin of pages that may ask; repeat it; * for any.")
]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Name under which the server may be addressed; repeat it; * for any."),
]
PublicUrl = Annotated[str, typer.Option(help="Address at which browsers reach the server, for links to documents.")]
Second = Annotated[
    str,
    typer.Option(
        "--rerank", help="Second stage of searches that ask for one: late-interaction or cross-encoder:MODEL."
    ),
]
MaxBodyMb = Annotated[int, typer.Option(help="Most that a request may hold, in MiB.")]
MaxSeconds = Annotated[
    float, typer.Option(help="Time until a request must be answered; adding documents takes as long as it needs.")
]
LlmBaseUrl = Annotated[
    str, typer.Option(help=f"OpenAI-compatible server that answers in the page's chat; its key is read from {LLM_KEY}.")
]
LlmModel = Annotated[str, typer.Option(help="The model that it is asked for.")]


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
    """Serve indexes over HTTP, as the retrieval backend of a chatbot."""
    try:
        from semsearch.rerank import parse_rerank
        from semsearch.server import run
        from semsearch.server.keys import Key
        from semsearch.server.settings import LOCAL_HOSTS, Settings
    except ImportError as error:
        raise UsageError(f"serving needs {error.name}; install it: pip install 'semsearch[serve]'") from None
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
        raise UsageError(f"`token` names the index {unknown[0]!r:.60}; expected one of {', '.join(places)}")
    for origin in cors or ():
        if not re.fullmatch(r"\*|https?://[^\s/]+", origin):
            raise UsageError(f"`cors` is {origin!r:.80}; expected * or an origin such as https://chat.example.org")
    local = is_loopback(host)
    if not keys and not local:
        raise UsageError(
            f"`host` {host!r} can be reached by others, so clients need a key; set one with `token` or {TOKENS}, or "
            "listen on 127.0.0.1"
        )
    listening = run.bind(host, port)
    address = f"http://{f'[{host}]' if ':' in host and '[' not in host else host}:{listening.getsockname()[1]}"
    settings = Settings(
        keys=keys,
        hosts=tuple(allow_host) if allow_host else LOCAL_HOSTS if local else ("*",),
        origins=tuple(cors or ()),
        public_url=reached or (address if local else ""),  # else nobody knows how it is reached
        max_body_bytes=max_body_mb * 2**20,
        max_seconds=max_seconds,
        rerank=rerank,
        llm_base_url=llm_base_url,
        llm_model=llm_model,
        llm_key=os.environ.get(LLM_KEY, "").strip(),
        device=device,
        runtime=runtime,
    )
    terminal.say(f"serving {', '.join(places)} at {address} (Ctrl-C stops it)")
    with suppress(KeyboardInterrupt):  # raised once all requests are answered: that is how a server ends
        run.serve(places, settings, listening, workers=workers)


def _check_language_model(base_url: str, model: str) -> None:
    """Refuse an address that is none, one of both alone, and a missing library, before anything is opened."""
    if not base_url and not model:
        return
    if not base_url or not model:
        missing, given = ("llm_model", "llm_base_url") if base_url else ("llm_base_url", "llm_model")
        raise UsageError(f"`{given}` needs `{missing}` beside it")
    if not re.match(r"https?://[^\s/]+", base_url):
        raise UsageError(f"`llm_base_url` is {base_url!r:.80}; expected an address such as http://127.0.0.1:11434/v1")
    if importlib.util.find_spec("openai") is None:
        raise UsageError("`llm_base_url` needs openai; install it: pip install 'semsearch[chat]'")


def _places(given: list[str] | None) -> dict[str, str]:
    """Folders by name, each looked at."""
    from semsearch.index import Index

    named = named_indexes(given or [])
    for folder in named.values():
        Index.open(folder).close()  # raises where there is none
    return {name: str(folder.absolute()) for name, folder in named.items()}
