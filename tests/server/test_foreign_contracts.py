"""The table of foreign contracts: every route belongs to a row, and every error has the shape of that row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from contract_serving import make_index, served
from fastapi.routing import APIRoute
from pydantic import BaseModel

from semsearch.server.app import shape_for
from semsearch.server.contracts import contracts
from semsearch.server.keys import Key
from semsearch.server.problems import BUG, TABLE, Problem
from semsearch.server.routes.foreign import FOREIGN
from semsearch.server.schema import REFUSALS

OWN = 502
"""Status of a failing language model, which only the chat route of the server's own API returns."""

PROBLEMS = [
    *(Problem(status, code, "`k` is 0", seconds) for status, code, seconds in TABLE.values() if status != OWN),
    BUG,
]
ROUTES = [(contract, route) for contract in FOREIGN for route in contract.router.routes if isinstance(route, APIRoute)]


def asked_path(route: APIRoute) -> str:
    return route.path.replace("{vector_store_id}", "birds").replace("{name}", "birds").replace("{model:path}", "birds")


def test_there_are_routes():
    assert len(ROUTES) >= 15
    assert {contract.name for contract in FOREIGN} <= {contract.name for contract in contracts()}


@pytest.mark.parametrize(("contract", "route"), ROUTES, ids=[route.path for _, route in ROUTES])
def test_the_errors_of_a_route_have_the_shape_of_its_contract(contract, route):
    assert shape_for(contracts(), asked_path(route)) is contract.shape


@pytest.mark.parametrize("contract", FOREIGN, ids=lambda contract: contract.name)
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.code)
def test_an_error_is_json_with_its_message_in_the_shape_that_the_document_shows(contract, problem: Problem):
    status, body = contract.shape(problem, "id")
    told = json.loads(json.dumps(body))
    assert "`k` is 0" in json.dumps(told) or problem is BUG
    assert (400 <= status < 500) == (400 <= problem.status < 500)
    route = next(route for one, route in ROUTES if one is contract)
    if problem.status not in (499, 500):  # undocumented: a 499 reaches no client, a 500 is a fault
        model = route.responses[status]["model"]
        assert issubclass(model, BaseModel)
        assert model.model_validate(told, strict=True)
        assert status in REFUSALS or status == 422


def test_retry_after_goes_with_what_may_succeed_later():
    status, body = FOREIGN[0].shape(Problem(429, "overloaded", "too much is waiting", 1), "id")
    assert (status, body["error"]["type"], body["error"]["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")


def test_no_route_can_be_asked_without_a_key(tmp_path: Path):
    with served({"birds": make_index(tmp_path / "birds")}, keys=(Key.parse("K"),)) as client:
        for contract, route in ROUTES:
            for method in route.methods:
                refused = client.request(method, asked_path(route), json={})
                assert refused.status_code in (401, 403), route.path
                told: dict[str, Any] = refused.json()
                status, expected = contract.shape(Problem(401, "unauthorized", "", None), "")
                assert (refused.status_code, set(told)) == (status, set(expected))
                assert client.request(method, asked_path(route), json={}, headers={"api-key": "K"}).status_code not in (
                    *(401, 403, 500),
                )


def test_a_write_key_reads_nothing(tmp_path: Path):
    with served({"birds": make_index(tmp_path / "birds")}, keys=(Key.parse("K"), Key.parse("write:W"))) as client:
        for path, body in [
            ("/v1/embeddings", {"input": "x"}),
            ("/v1/vector_stores/birds/search", {"query": "x"}),
            ("/rerank", {"query": "x", "documents": ["x"]}),
            ("/embed", {"inputs": "x"}),
            ("/api/embed", {"input": "x"}),
            ("/retrieval", {"knowledge_id": "birds", "query": "x"}),
            ("/tools/search", {"query": "x"}),
            ("/web_search", {"query": "x"}),
            ("/collections/birds/points/query", {"query": [0.0] * 4_096}),
        ]:
            assert client.post(path, json=body, headers={"api-key": "W"}).status_code == 403, path
            assert client.post(path, json=body, headers={"api-key": "K"}).status_code == 200, path


def test_an_index_that_disappears_is_told_in_each_shape(tmp_path: Path):
    folder = make_index(tmp_path / "birds")
    with served({"birds": folder}) as client:
        assert client.post("/retrieval", json={"knowledge_id": "birds", "query": "x"}).status_code == 200
        shutil.rmtree(folder)
        gone = client.post("/retrieval", json={"knowledge_id": "birds", "query": "x"})
        assert (gone.status_code, gone.json()["error_code"]) == (400, 2001)
        assert client.post("/v1/vector_stores/birds/search", json={"query": "x"}).status_code == 404
        assert client.get("/v1/models").json()["data"] == []
        assert client.get("/api/tags").json() == {"models": []}
        unknown = client.post("/v1/embeddings", json={"input": "x", "model": "hash:4096"})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
