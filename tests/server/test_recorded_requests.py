"""Recorded requests of front ends, and the fields that those front ends read from the answers.

`recorded/*.json` holds one list per front end. In an expected answer, `<text>` stands for a non-empty string, `<whole>`
for an integer, `<number>` for any number and `<0..1>` for a number in that range. Additional fields are allowed, and a
list with one element stands for a list of one or more elements of that form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from contract_serving import make_index, served

from semsearch import WordHashEncoder
from semsearch.server.keys import Key

FOLDER = Path(__file__).parent / "recorded"
REQUESTS = [
    pytest.param(request, id=f"{path.stem}: {request['what']}")
    for path in sorted(FOLDER.glob("*.json"))
    for request in json.loads(path.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = make_index(tmp_path_factory.mktemp("recorded") / "birds")
    with served({"birds": folder}, keys=(Key.parse("secret"),)) as client:
        yield client


PLACEHOLDERS: dict[str, Callable[[Any], bool]] = {
    "<text>": lambda value: isinstance(value, str) and bool(value),
    "<whole>": lambda value: type(value) is int,
    "<number>": lambda value: type(value) in (int, float),
    "<0..1>": lambda value: type(value) in (int, float) and 0 <= value <= 1,
}


def check(found: Any, expected: Any, place: str = "answer") -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict), f"{place} is {found!r:.200}"
        for name, value in expected.items():
            assert name in found, f"{place} lacks {name}: {found!r:.200}"
            check(found[name], value, f"{place}.{name}")
    elif isinstance(expected, list):
        assert isinstance(found, list), f"{place} is {found!r:.200}"
        assert found, f"{place} is empty"
        for index, one in enumerate(found):
            check(one, expected[0], f"{place}[{index}]")
    elif expected in PLACEHOLDERS:
        assert PLACEHOLDERS[expected](found), f"{place} is {found!r:.200}, expected {expected}"
    else:
        assert found == expected, place


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_recorded_request_gets_what_its_client_reads(client: httpx.Client, request_: dict[str, Any]):
    content = b"" if request_["body"] is None else json.dumps(request_["body"]).encode()
    vector = WordHashEncoder(4096).encode_query("a heron in the reeds").tolist()
    content = content.replace(b'"<vector>"', json.dumps(vector).encode())
    answer = client.request(request_["method"], request_["path"], headers=request_["headers"], content=content)
    assert answer.status_code == request_["status"], answer.text
    if request_["answer"] is not None:
        assert answer.headers["content-type"] == "application/json"
        check(answer.json(), request_["answer"])


def test_a_check_can_fail():
    for found, expected in [({}, {"a": 1}), ([], ["<text>"]), ([1, "x"], ["<whole>"]), (1.5, "<0..1>"), ("", "<text>")]:
        with pytest.raises(AssertionError):
            check(found, expected)


def test_every_front_end_that_we_have_requests_of_is_there():
    assert {path.stem for path in FOLDER.glob("*.json")} == {"dify", "librechat", "open_webui"}
