"""The application: `create_app(indexes, settings)`; nothing is opened, loaded or bound before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from semsearch.errors import SemsearchError
from semsearch.server.contracts import Contract, contracts, own_shape
from semsearch.server.problems import problem_of
from semsearch.server.service import Service
from semsearch.server.settings import Settings
from semsearch.server.shelf import Shelf
from semsearch.version import __version__


def create_app(indexes: Mapping[str, str | Path], settings: Settings | None = None) -> FastAPI:
    """An application that serves indexes, for any ASGI server.

    Args:
        indexes: Folders by the names under which they are served.
        settings: How it behaves.
    """
    settings = settings or Settings()
    app = FastAPI(title="semsearch", version=__version__)
    app.state.service = Service(Shelf(indexes, settings), settings)
    app.state.contracts = contracts()
    for contract in app.state.contracts:
        app.include_router(contract.router, tags=[contract.name])
    app.add_exception_handler(SemsearchError, _refused)
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    problem = problem_of(error)
    status, body = shape_for(request.app.state.contracts, request.url.path)(problem, "")
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    return JSONResponse(body, status, headers)


def shape_for(known: tuple[Contract, ...], path: str):
    matching = [(len(start), contract.shape) for contract in known for start in contract.paths if path.startswith(start)]
    return max(matching, key=lambda one: one[0])[1] if matching else own_shape
