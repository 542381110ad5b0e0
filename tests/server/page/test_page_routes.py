"""The files of the page and the routes that it calls, without a browser."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from command import call
from serving import build, served
from test_chatbot import model_server

from semsearch.errors import LanguageModelError
from semsearch.server.keys import Key
from semsearch.server.page.files import FOLDER, KINDS
from semsearch.server.page.language_model import LanguageModel
from semsearch.server.settings import Settings

TEXTS = (
    "Gardens need water in dry summers.",
    "A kettle boils in four minutes.",
    "Trains to the coast leave at noon.",
    "Roses like water, and gardens like roses.",
    "Salt melts ice on the stairs.",
    "The moon was bright last night.",
    "Bread rises when it is warm.",
    "Chess ends with a king that cannot move.",
)

DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": f"d{n}",
        "title": f"Note {n}",
        "text": text,
        "lang": "de" if n % 3 else "en",
        "tags": ["wet", "green"] if n % 2 else ["wet"],
        "checked": n > 2,
        "unique": f"value {n}",
        "always": "same",
        "doc_id": f"shadow {n % 2}",
    }
    for n, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def gardens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("gardens") / "index", DOCUMENTS)


@pytest.fixture(scope="module")
def client(gardens: Path) -> Iterator[httpx.Client]:
    with served({"gardens": gardens}) as client:
        yield client


def test_every_file_of_the_page_is_served_under_the_policy(client: httpx.Client):
    answers = [client.get("/"), *(client.get(f"/static/{path.name}") for path in FOLDER.iterdir())]
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answers[0].text == (FOLDER / "index.html").read_text("utf-8")


BANNED = ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style=", "<style", " onclick=")


def test_the_files_have_nothing_inline_and_ask_nobody_else():
    for path in FOLDER.iterdir():
        text = path.read_text("utf-8")
        assert path.suffix in KINDS
        for banned in BANNED:
            assert banned not in text, (path.name, banned)
        addresses = text.replace("http://www.w3.org/2000/svg", "").replace("^https?:", "")
        assert "http" not in addresses, path.name


@pytest.mark.parametrize("name", ["..%2findex.html", "%2e%2e/page/files.py", "files.py", "x.js", "", ".", "static/x"])
def test_nothing_else_is_served(client: httpx.Client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_facets_count_what_divides_the_index(client: httpx.Client):
    facets = {one["field"]: one for one in client.get("/facets").json()["facets"]}
    assert facets.keys() == {"lang", "tags", "checked"}  # no constant or unique field, nor one named `id`
    for field in ("lang", "checked"):
        counted = Counter(document[field] for document in DOCUMENTS)
        assert [(one["value"], one["count"]) for one in facets[field]["values"]] == counted.most_common()
    assert facets["tags"]["values"] == [{"value": "wet", "count": 8}, {"value": "green", "count": 4}]
    kinds = {field: one["kind"] for field, one in facets.items()}
    assert kinds == {"lang": "value", "checked": "value", "tags": "list"}


def test_the_map_has_every_document_once_with_its_value(client: httpx.Client):
    points = client.get("/map", params={"field": "tags"}).json()["points"]
    assert {one["id"]: one["value"] for one in points} == {document["_id"]: "wet" for document in DOCUMENTS}
    assert all(abs(one[axis]) <= 1 for one in points for axis in "xy")
    assert {one["value"] for one in client.get("/map").json()["points"]} == {None}
    checked = client.get("/map", params={"field": "checked"}).json()["points"]
    assert {one["value"] for one in checked} == {"true", "false"}
    assert client.get("/map", params={"n": 5_000}).status_code == 400


def test_keys_hold_for_what_the_page_asks_and_not_for_the_page(gardens: Path):
    keys = (Key.parse("secret"), Key.parse("@other:narrow"))
    with served({"gardens": gardens, "other": gardens}, Settings(keys=keys)) as client:
        assert client.get("/").status_code == client.get("/static/app.js").status_code == 200
        closed = ("/facets?index=gardens", "/map?index=gardens", "/documents/?id=d1&index=gardens", "/static")
        for path in (*closed, "/static/../indexes"):
            assert client.get(path).status_code in (401, 404), path
        assert client.post("/chat", json={"question": "x", "index": "gardens"}).status_code == 401
        narrow = {"authorization": "Bearer narrow"}
        for path in ("/facets?index=gardens", "/map?index=gardens"):
            assert client.get(path, headers=narrow).json()["error"]["code"] == "unknown_index"
        refused = client.post("/chat", json={"question": "gardens", "index": "gardens"}, headers=narrow)
        assert refused.json()["error"]["code"] == "unknown_index"
        assert client.get("/facets", headers=narrow).json()["index"] == "other"


def test_a_document_is_read_by_any_id(tmp_path: Path):
    ids = ["..", "a/../b", "x?y#z", "%2e", "\U0001f331"]
    folder = build(tmp_path / "index", [{"_id": one, "text": f"text of {number}"} for number, one in enumerate(ids)])
    with served({"odd": folder}) as client:
        for number, one in enumerate(ids):
            assert client.get("/documents/", params={"id": one}).json()["text"] == f"text of {number}"


def test_a_hit_is_explained_by_what_sums_to_its_score(client: httpx.Client):
    search = {"query": "gardens water", "mode": "hybrid", "where": "lang = 'en'"}
    (first, *_) = client.post("/search", json=search).json()["hits"]
    answer = client.post("/explain", json={**search, "id": first["id"]}).json()
    explained = answer["explanation"]
    assert (explained["doc_id"], explained["score"]) == (first["id"], pytest.approx(first["score"]))
    assert explained["dense"]["share"] + explained["keyword"]["share"] == pytest.approx(first["score"])
    assert {term["term"] for term in explained["keyword"]["terms"]} == {"gardens", "water"}
    refused = client.post("/explain", json={**search, "id": "d1"})  # d1 is in German
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "unknown_document")


def test_snippets_say_what_matches(client: httpx.Client):
    hits = client.post("/search", json={"query": "gardens water", "mode": "keyword", "snippets": True}).json()["hits"]
    shown = {hit["id"]: [hit["snippet"]["text"][a:b] for a, b in hit["snippet"]["highlights"]] for hit in hits}
    assert {hit["snippet"] for hit in client.post("/search", json={"query": "gardens water"}).json()["hits"]} == {None}
    assert shown == {"d0": ["Gardens", "water"], "d3": ["water", "gardens"]}


# --- the chat


def told(client: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    answer = client.post("/chat", json={"question": "gardens water", **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_without_a_language_model_the_chat_tells_what_is_known(client: httpx.Client):
    head, done = told(client, where="lang = 'en'")
    assert (head["model"], done) == (None, {"done": True})
    assert [(one["number"], one["id"]) for one in head["excerpts"]] == [(1, "d0"), (2, "d3")]
    first = head["excerpts"][0]
    assert first["url"] == f"/doc/{first['id']}?chars={first['start']}-{first['end']}#passage"


def chatting(gardens: Path, url: str, **wishes: Any) -> Any:
    return served({"gardens": gardens}, Settings(llm_base_url=url, llm_model="m", **wishes))


def test_the_model_answers_from_the_excerpts(gardens: Path):
    with model_server(lambda asked: "Water [1].") as (url, requests), chatting(gardens, url, llm_key="k") as client:
        head, *pieces, done = told(client)
        assert "".join(one["text"] for one in pieces) == "Water [1]."
        assert (head["model"], done) == ("m", {"done": True})
        (asked,) = requests
    system, prompt = asked["messages"]
    assert system["role"] == "system"
    assert prompt["content"].endswith("The question: gardens water")
    for one in head["excerpts"]:
        assert f"[{one['number']}] Note" in prompt["content"]
        assert one["text"] in prompt["content"]


def test_a_follow_up_question_gets_its_subject_back(gardens: Path):
    def reply(asked: dict[str, Any]) -> str:
        return "gardens water" if "Rewrite the last question" in asked["messages"][-1]["content"] else "Yes [1]."

    history = [{"role": "user", "content": "Do gardens need water?"}, {"role": "assistant", "content": "Yes [1]."}]
    with model_server(reply) as (url, requests), chatting(gardens, url) as client:
        head, *_ = told(client, question="how much of it", history=history)
        assert head["question"] == "gardens water"
        assert head["excerpts"]
        assert [message["role"] for message in requests[1]["messages"]] == ["system", "user", "assistant", "user"]


def test_the_model_is_not_asked_about_what_nothing_answers(gardens: Path):
    with model_server(lambda asked: "made up") as (url, requests), chatting(gardens, url) as client:
        head, done = told(client, question="qqzzyy blorp")
        assert (head["excerpts"], done, requests) == ([], {"done": True}, [])


def failure(client: httpx.Client) -> str:
    *_, error, done = told(client)
    assert done == {"done": True}
    assert error["error"]["code"] == "language_model"
    message: str = error["error"]["message"]
    assert "\n" not in message
    assert "sk-secret" not in message
    return message


NONSENSE = {
    "a page": (b"<html>hello</html>", "returned no readable answer"),
    "nothing": (b"", "returned no readable answer"),
    "no JSON": (b"data: {oops\n\n", "sent a malformed answer"),
    "a list": (b"data: [1, 2]\n\ndata: [DONE]\n\n", ""),
    "odd choices": (b'data: {"choices": [{"delta": null}]}\n\n', "sent a malformed answer"),
    "numbers": (b'data: {"choices": [{"delta": {"content": 7}}]}\n\n', "returned no readable answer"),
    "an error": (b'data: {"error": {"message": "key sk-secret is wrong"}}\n\n', ""),
    "bytes": (b"data: \xff\xfe\n\n", ""),
}


def piece(text: str, end: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": end}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


ENDINGS = {
    "it breaks off": (piece("Water"), "broke off in the middle of its answer"),
    "it may say no more": (piece("Water", "length"), "reached its limit before the end"),
    "a filter": (piece("Water", "content_filter"), "withheld the rest"),
    "it never ends": (piece("Water") * 5_000, "was cut off after 20,000 characters"),
}


@pytest.mark.parametrize("kind", ENDINGS)
def test_an_answer_that_is_not_whole_says_so(gardens: Path, kind):
    said, expected = ENDINGS[kind]
    with model_server(lambda asked: said) as (url, _), chatting(gardens, url, llm_key="sk-secret") as client:
        assert expected in failure(client)


@pytest.mark.parametrize("kind", [*NONSENSE, *ENDINGS])
def test_what_a_model_server_says_is_read_to_its_end_or_let_go(kind):
    """Check that no iterator is left unfinished: the event loop would close it at its end and log a traceback."""
    said, _ = (NONSENSE | ENDINGS)[kind]
    complaints: list[dict[str, Any]] = []

    async def ask(url: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        with pytest.raises(LanguageModelError):
            async for _ in LanguageModel(url, "m").answer("water", "", []):
                pass

    gc.collect()
    gc.disable()  # otherwise a collection could close the iterator by chance
    try:
        with model_server(lambda asked: said) as (url, _):
            asyncio.run(ask(url))
    finally:
        gc.enable()
    assert complaints == []


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_model_server_that_talks_nonsense_gives_one_clear_line(gardens: Path, kind):
    said, expected = NONSENSE[kind]
    with model_server(lambda asked: said) as (url, _), chatting(gardens, url, llm_key="sk-secret") as client:
        assert expected in failure(client)


def test_a_model_server_that_is_down_or_slow_gives_one_clear_line(gardens: Path):
    with chatting(gardens, "http://127.0.0.1:9/v1") as client:
        assert failure(client) == (
            "the language model server 127.0.0.1:9 cannot be reached; start it, or check `llm_base_url`"
        )
    ended = Event()
    with model_server(lambda asked: "late" if ended.wait(20) else "") as (url, _):
        with chatting(gardens, url, max_seconds=1.0) as client:
            assert "sent nothing for 1 seconds" in failure(client)
        ended.set()


def test_a_model_server_that_refuses_is_named_with_its_status(gardens: Path):
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(401, "the key sk-secret is wrong")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    with chatting(gardens, f"http://127.0.0.1:{server.server_port}/v1", llm_key="sk-secret") as client:
        assert "refused the request with status 401" in failure(client)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llm-base-url", "http://127.0.0.1:9/v1"], "--llm-base-url requires --llm-model"),
        (["--llm-model", "m"], "--llm-model requires --llm-base-url"),
        (
            ["--llm-base-url", "localhost:9", "--llm-model", "m"],
            "expected an address such as http://127.0.0.1:11434/v1",
        ),
    ],
)
def test_half_a_language_model_is_refused_before_anything_is_served(options, message):
    call("serve", *options).fails(2, message)
