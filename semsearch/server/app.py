"""The FastAPI application: `create_app(indexes, settings)`. Nothing is opened, loaded or bound before it starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
from semsearch.stores.open import Location
from semsearch.version import __version__

METHODS = ("GET", "POST", "DELETE", "OPTIONS")


def create_app(indexes: Mapping[str, Location], settings: Settings | None = None) -> FastAPI:
    """Create an application that serves indexes, for any ASGI server.

    Args:
        indexes: Index folders, keyed by the names under which they are served.
        settings: Server settings; None for the defaults.
    """
    settings = settings or Settings()
    metrics = Metrics(lambda: shelf.waiting)
    shelf = Shelf(indexes, settings, metrics.batch)
    spoken = contracts()
    app = FastAPI(
        title="semsearch",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,  # these pages would load scripts from a CDN
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
    """Open the indexes while the first requests are already answered, and close them after the last request."""
    shelf: Shelf = app.state.service.shelf
    Thread(target=shelf.start, name="opener", daemon=True).start()
    async with app.state.mcp():
        yield
    await to_thread.run_sync(shelf.close)


def answer(scope: Scope, problem: Problem) -> JSONResponse:
    """Return a problem as a response in the format of the contract that the request belongs to."""
    shape = shape_for(scope["app"].state.contracts, scope["path"])
    status, body = shape(problem, scope["state"]["request_id"])
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="semsearch, key as password", charset="UTF-8"'
    return JSONResponse(body, status, headers)


def shape_for(known: tuple[Contract, ...], path: str) -> Shape:
    """Return the error format of the contract with the longest matching path prefix, or our own if none matches."""
    matching = [(len(start), one.shape) for one in known for start in one.paths if path.startswith(start)]
    return max(matching, key=lambda one: one[0])[1] if matching else own_shape


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return answer(request.scope, problem_of(error))


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    """Report the first problem of a request as 400, because clients of foreign contracts do not expect a 422."""
    assert isinstance(error, RequestValidationError)
    return answer(request.scope, Problem(400, "bad_request", _wrong(request, error)))


def _wrong(request: Request, error: RequestValidationError) -> str:
    """Return the first problem of a request in one line."""
    errors = error.errors()
    first, part = errors[0], errors[0]["loc"][0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "unexpected end of input")
        return f"the body is not valid JSON at character {first['loc'][-1]}: {reason}"
    if first["loc"] == ("body",):
        return "expected a JSON object as the body, sent with the header Content-Type: application/json"
    given = {"body": error.body, "query": request.query_params, "path": request.path_params, "header": request.headers}
    same = [{**one, "loc": one["loc"][1:]} for one in errors if one["loc"][0] == part]
    return first_problem(same, given.get(part))


NAMES = {404: "not_found", 405: "method_not_allowed"}


async def _unroutable(request: Request, error: Exception) -> JSONResponse:
    """Report an unknown path, an unsupported method, or a body that cannot be read."""
    assert isinstance(error, HTTPException)
    reply = answer(request.scope, Problem(error.status_code, NAMES.get(error.status_code, "bad_request"), error.detail))
    reply.headers.update(error.headers or {})
    return reply
