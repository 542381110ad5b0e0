"""The application: `create_app(indexes, settings)`; nothing is opened, loaded or bound before it starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

from semsearch.errors import SemsearchError
from semsearch.malformed import first_problem
from semsearch.server.contract import Contract, Shape, own_shape
from semsearch.server.contracts import contracts
from semsearch.server.desk import Desk
from semsearch.server.gate import REQUEST_ID, Gate
from semsearch.server.mcp_endpoint import add_mcp
from semsearch.server.metrics import Metrics
from semsearch.server.problems import Problem, problem_of
from semsearch.server.schema import describe
from semsearch.server.service import Service
from semsearch.server.settings import Settings
from semsearch.server.shelf import Shelf
from semsearch.version import __version__

METHODS = ("GET", "POST", "DELETE", "OPTIONS")


def create_app(indexes: Mapping[str, str | Path], settings: Settings | None = None) -> FastAPI:
    """An application that serves indexes, for any ASGI server.

    Args:
        indexes: Folders by the names under which they are served.
        settings: How it behaves.
    """
    settings = settings or Settings()
    metrics = Metrics(lambda: shelf.waiting)
    shelf = Shelf(indexes, settings, metrics.batch)
    spoken = contracts()
    app = FastAPI(
        title="semsearch",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,  # those pages are fetched from elsewhere
        redoc_url=None,
    )
    app.state.settings, app.state.metrics, app.state.contracts = settings, metrics, spoken
    app.state.service = Service(shelf, settings, Desk(settings))
    for contract in spoken:
        app.include_router(contract.router, tags=[contract.name])
    app.add_exception_handler(SemsearchError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _unroutable)
    app.add_middleware(Gate, settings=settings, metrics=metrics, answer=answer)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=[REQUEST_ID, "retry-after"],
        )
    app.state.mcp = add_mcp(app, app.state.service)
    describe(app, keys=bool(settings.keys))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the indexes beside the first requests, and let go of them after the last."""
    shelf: Shelf = app.state.service.shelf
    Thread(target=shelf.start, name="opener", daemon=True).start()
    async with app.state.mcp():
        yield
    await to_thread.run_sync(shelf.close)


def answer(scope: Scope, problem: Problem) -> JSONResponse:
    """A problem in the shape of the contract that a request belongs to."""
    shape = shape_for(scope["app"].state.contracts, scope["path"])
    status, body = shape(problem, scope["state"]["request_id"])
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="semsearch, key as password", charset="UTF-8"'
    return JSONResponse(body, status, headers)


def shape_for(known: tuple[Contract, ...], path: str) -> Shape:
    """How the contract with the longest matching path shapes errors."""
    matching = [(len(start), one.shape) for one in known for start in one.paths if path.startswith(start)]
    return max(matching, key=lambda one: one[0])[1] if matching else own_shape


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return answer(request.scope, problem_of(error))


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a request, as 400: clients of foreign contracts expect no 422."""
    assert isinstance(error, RequestValidationError)
    return answer(request.scope, Problem(400, "bad_request", _wrong(request, error)))


def _wrong(request: Request, error: RequestValidationError) -> str:
    """What is wrong first, in one line."""
    errors = error.errors()
    first, part = errors[0], errors[0]["loc"][0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it ends too early")
        return f"the body is not valid JSON at character {first['loc'][-1]}: {reason}"
    if first["loc"] == ("body",):
        return "expected a JSON object as the body, sent with the header Content-Type: application/json"
    given = {"body": error.body, "query": request.query_params, "path": request.path_params, "header": request.headers}
    same = [{**one, "loc": one["loc"][1:]} for one in errors if one["loc"][0] == part]
    return first_problem(same, given.get(part))


NAMES = {404: "not_found", 405: "method_not_allowed"}


async def _unroutable(request: Request, error: Exception) -> JSONResponse:
    """No such path, another method, or a body that cannot be read."""
    assert isinstance(error, HTTPException)
    reply = answer(request.scope, Problem(error.status_code, NAMES.get(error.status_code, "bad_request"), error.detail))
    reply.headers.update(error.headers or {})
    return reply
