"""The `semsearch doctor` command, which checks the installation and shows how to connect clients."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semsearch.cli import options as opt
from semsearch.cli import terminal
from semsearch.cli.locations import home, indexes_in, named_indexes
from semsearch.errors import NoIndexError, UsageError

if TYPE_CHECKING:
    from semsearch.cli.addresses import Address
    from semsearch.cli.clients import Setup
    from semsearch.cli.health import Check
    from semsearch.cli.locations import IndexPlace

Host = Annotated[str, typer.Option("--host", help="Address that the server listens on.")]
Port = Annotated[int, typer.Option("--port", help="Port that the server listens on.")]
Url = Annotated[
    str,
    typer.Option(
        "--url", help="Address at which clients reach the server, if different, such as https://search.example.org."
    ),
]
Client = Annotated[
    str | None,
    typer.Option("--client", help="Print only what to paste into this client; run without it to list the clients."),
]


def doctor(
    index: opt.AllIndexes = None,
    host: Host = "127.0.0.1",
    port: Port = 8_000,
    url: Url = "",
    client: Client = None,
    as_json: opt.AsJson = False,
) -> None:
    """Check the installation and show how to connect clients.

    Prints which API a server offers at which address and what to paste into each client. No server has to be running.
    Keys are never requested or printed: replace YOUR_KEY with your own.
    """
    from semsearch.cli.addresses import address_of
    from semsearch.cli.clients import CLIENTS, Setup

    if client is not None and client not in CLIENTS:
        raise UsageError(f"unknown client {client!r}; expected one of {', '.join(CLIENTS)}")
    address = address_of(host, port, url)
    indexes = named_indexes(index or []) if index or indexes_in(home()) else {}
    places = {name: one.resolve() if isinstance(one, Path) else one for name, one in indexes.items()}
    setup = Setup(address, _command(), places, address.port or port)
    if client is not None:
        _refuse_missing(places)
        _print_client(client, setup, as_json)
        return
    checks = _checks(setup, expected=bool(url))
    if as_json:
        terminal.print_json(_as_object(setup, checks))
    else:
        _print(setup, checks)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)


def _refuse_missing(places: Mapping[str, IndexPlace]) -> None:
    """Raise NoIndexError if an index is missing, because the client's settings would not work."""
    from semsearch.index import Index

    for folder in places.values():
        if not Index.exists(folder):
            raise NoIndexError(f"no index in {str(folder)!r}; create one with: semsearch index CORPUS --index {folder}")


def _checks(setup: Setup, *, expected: bool) -> list[Check]:
    """Run all checks without fetching anything from the hub."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from semsearch.cli import health

    indexes = list(health.check_indexes(setup.indexes)) or [
        health.Check(
            "index",
            health.NOTE,
            "none in indexes/; create one with: semsearch index CORPUS, or choose one with --index",
        )
    ]
    server = health.check_server(setup.address.url, tuple(setup.indexes), expected=expected)
    return [*health.check_versions(), *health.check_extras(), *health.check_model(), *indexes, *server]


def _print(setup: Setup, checks: list[Check]) -> None:
    terminal.table(("check", "state", "found"), checks)
    terminal.heading(f"APIs of a server at {setup.address.url}, and the address to paste")
    terminal.table(("what", "paste", "from inside docker"), _served(setup.address))
    from semsearch.cli.clients import CLIENTS, DOCKER

    terminal.heading(
        f"settings to paste into a client: semsearch doctor --client NAME, where NAME is {', '.join(CLIENTS)}"
    )
    terminal.line(f"{DOCKER} {shlex.join(setup.serve)}")


def _served(address: Address) -> list[tuple[str, str, str]]:
    from semsearch.cli.addresses import SERVED

    return [(one.what, f"{address.url}{one.path}", f"{address.docker_url}{one.path}") for one in SERVED]


def _print_client(name: str, setup: Setup, as_json: bool) -> None:
    from semsearch.cli.clients import CLIENTS, DOCKER, IN_CONTAINERS

    pastes = CLIENTS[name](setup)
    if as_json:
        terminal.print_json({"client": name, "paste": [asdict(paste) for paste in pastes]})
        return
    for paste in pastes:
        terminal.heading(f"{name}: {paste.where}")
        for line in paste.text.split("\n"):
            terminal.line(line)
        if paste.note:
            terminal.line(paste.note)
    if name in IN_CONTAINERS:
        terminal.line(f"{DOCKER} {shlex.join(setup.serve)}")


def _as_object(setup: Setup, checks: list[Check]) -> dict[str, Any]:
    from semsearch.cli.clients import CLIENTS

    served = [dict(zip(("what", "url", "docker_url"), row, strict=True)) for row in _served(setup.address)]
    return {
        "url": setup.address.url,
        "docker_url": setup.address.docker_url,
        "indexes": {name: str(folder) for name, folder in setup.indexes.items()},
        "checks": [check._asdict() for check in checks],
        "served": served,
        "serve": setup.serve,
        "clients": {name: [asdict(paste) for paste in make(setup)] for name, make in CLIENTS.items()},
    }


def _command() -> tuple[str, ...]:
    """Return the command that runs semsearch from any folder: the script next to this Python, or else the module."""
    script = shutil.which("semsearch", path=str(Path(sys.executable).parent))
    return (script,) if script else (sys.executable, "-m", "semsearch")
