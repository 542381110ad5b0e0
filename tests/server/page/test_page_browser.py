"""The page in a real Chromium, against a real server: its views, keyboard use, accessibility and security."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

import pytest
from serving import build, served, wait_for
from test_chatbot import model_server

from semsearch import Encoder, Index, WordHashEncoder
from semsearch.corpus.chunking import Chunking
from semsearch.encoder.encoder import PoolingWarning
from semsearch.explain.records import whole_words
from semsearch.server.keys import Key
from semsearch.server.settings import Settings
from semsearch.snippets import make_snippets

pytestmark = pytest.mark.slow

SAMPLE = Path(__file__).parents[3] / "corpora/sample/corpus.jsonl"
RECORDS = [
    record
    for record in map(json.loads, SAMPLE.read_text("utf-8").splitlines())
    if record["metadata"]["topic"] in ("cooking", "gardening")
]
THIRSTY = "why do my plants look thirsty"

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><b>bold</b> {{7*7}} \"'`${1}` "
    "javascript:window.hacked=1"
)
"""Hostile markup, placed in every field that may hold text."""

LONG = "\n\n".join(f"Chapter {n}. " + f"It tells of {'🌱' * 3} matter {n} and no other. " * 12 for n in range(60))
NEEDLE = "The zeppelin hid beneath the waterfall."
ODD: list[dict[str, Any]] = [
    {"_id": HOSTILE, "title": HOSTILE, "text": f"About hedgehogs: {HOSTILE}", "url": "javascript:hacked=1",
     HOSTILE: HOSTILE, "group": HOSTILE},
    {"_id": "h2", "title": "", "text": "More about hedgehogs in gardens.", "group": HOSTILE,
     "url": "https://example.test/hedge"},
    {"_id": "..", "title": "Dots", "text": "Badgers dig.", "group": "plain"},
    {"_id": "long", "title": "A long one", "text": f"{LONG}\n\n{NEEDLE}\n\n{LONG}", "group": "plain"},
    {"_id": "__proto__", "title": "constructor", "text": "Wolves howl at night.", "__proto__": "toString",
     "group": "plain"},
    {"_id": "wide", "title": "W" * 300, "text": "Unbroken " + "x" * 3_000, "group": "plain", "wide": "y" * 30},
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Index the same documents with two poolers of the real model, and odd documents with word hashes."""
    home = tmp_path_factory.mktemp("page")
    for name, pooler in (("sample", "mean"), ("sample-cls", "cls")):
        with Index.open(home / name, create=True, encoder=encoder_with(pooler)) as index:
            index.add(RECORDS)
    return {"sample": home / "sample", "sample-cls": home / "sample-cls", "odd": build(home / "odd", ODD)}


def encoder_with(pooler: str) -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PoolingWarning)
        return Encoder.load(pooler=pooler, device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def address(folders: dict[str, Path]) -> Iterator[str]:
    with served(folders, Settings(runtime="torch", device="cpu")) as client:
        yield str(client.base_url)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page in its own window; fail on any error, dialog or request to another host."""
    windows, troubles = [], []

    def visit(
        address: str, state: dict[str, str] | None = None, *, width: int = 1280, expected: str = "$^", **wishes: Any
    ) -> Any:
        window = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce", **wishes)
        window.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error('policy', event.violatedDirective))"
        )
        page = window.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda told: re.search(expected, told.text) or troubles.append(told.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(address) or troubles.append(asked.url))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        windows.append((window, page))
        page.goto(f"{address}/#{urlencode(state or {})}")
        return page

    yield visit
    for window, page in windows:
        if not page.is_closed() and page.evaluate("window.hacked"):
            troubles.append("a document ran a script")
        window.close()
    assert troubles == []


def until(page: Any, true: str, arg: Any = None) -> None:
    """Wait until an expression, or a function of `arg`, is true; poll from Python, since the policy forbids eval."""
    wait_for(lambda: page.evaluate(true, arg), 30)


def titles(page: Any, column: int = 0) -> list[str]:
    return page.locator("#lists .hits").nth(column).locator("h3").all_inner_texts()  # type: ignore[no-any-return]


def settled(page: Any) -> None:
    until(
        page,
        "document.querySelectorAll('.hit').length > 0 && !document.getElementById('search').hasAttribute('aria-busy')",
    )


def expected(folder: Path, query: str, **wishes: Any) -> list[str]:
    with Index.open(folder, runtime="torch", device="cpu") as index:
        return [hit.title or hit.doc_id for hit in index.search(query, **wishes)]


def marks(folder: Path, query: str) -> list[str]:
    with Index.open(folder, runtime="torch", device="cpu") as index:
        snippets = make_snippets(query, index.search(query))
    return [snippet.text[start:end] for snippet in snippets for start, end in snippet.highlights]


# --- search as you type


def test_hits_come_while_one_types_and_a_key_at_a_time_is_no_question_each(visit, address, folders):
    page = visit(address)
    asked: list[str] = []
    page.on(
        "request", lambda request: request.url.endswith("/search") and asked.append(request.post_data_json["query"])
    )
    with page.expect_request(lambda request: request.url.endswith("/search") and asked[-1:] == [THIRSTY]):
        page.type("#query", THIRSTY, delay=15)  # a busy machine sends the last query some time after the last key
    settled(page)
    until(page, "!document.querySelector('#count').textContent.startsWith('Searching')")
    assert asked[-1] == THIRSTY
    assert len(asked) < len(THIRSTY) / 3
    assert titles(page) == expected(folders["sample"], THIRSTY)
    assert page.inner_text("#count").startswith("10 hits by meaning and words")
    assert page.locator("#count").get_attribute("role") == "status"
    assert page.locator(".snippet mark").all_inner_texts() == marks(folders["sample"], THIRSTY)
    assert THIRSTY.split()[0] in page.url.split("#")[1]  # in the fragment, which browsers do not send


def test_a_stale_answer_is_dropped(visit, address, folders):
    page = visit(address)
    slow = Event()

    def hold(route: Any) -> None:
        if route.request.post_data_json["query"] == "steak":
            slow.set()
            page.wait_for_timeout(600)
        route.continue_()

    page.route("**/search", hold)
    page.wait_for_selector("#facets label")
    page.fill("#query", "steak")
    page.wait_for_timeout(250)
    page.fill("#query", THIRSTY)
    page.wait_for_timeout(1500)
    assert slow.is_set()
    assert titles(page) == expected(folders["sample"], THIRSTY)


def test_what_was_typed_before_the_page_was_ready_is_searched(visit, address, folders):
    page = visit(address)
    page.route("**/indexes", lambda route: (page.wait_for_timeout(500), route.continue_()))
    page.reload(wait_until="commit")
    page.fill("#query", THIRSTY)
    settled(page)
    assert titles(page) == expected(folders["sample"], THIRSTY)


def test_the_mode_decides_how_it_is_searched_and_more_hits_can_be_had(visit, address, folders):
    page = visit(address, {"q": "soil", "index": "sample"})
    settled(page)
    for label, mode in (("Words", "keyword"), ("Meaning", "dense")):
        page.get_by_label(label, exact=True).check(force=True)
        until(page, "(way) => document.querySelector('#count').textContent.includes(way)", arg=f"by {label.lower()}")
        assert titles(page) == expected(folders["sample"], "soil", mode=mode)
    page.get_by_role("button", name="More hits").click()
    until(page, "document.querySelectorAll('.hit').length === 20")
    assert titles(page) == expected(folders["sample"], "soil", k=20, mode="dense")


def test_a_hit_tells_why_it_was_found(visit, address, folders):
    page = visit(address, {"q": THIRSTY, "index": "sample"})
    settled(page)
    page.get_by_role("button", name=re.compile("^Why .* was found")).first.click()
    page.wait_for_selector(".why .shaded")
    with Index.open(folders["sample"], runtime="torch", device="cpu") as index:
        (hit, *_) = index.search(THIRSTY)
        (explained,) = index.explain(THIRSTY, [hit])
    assert explained.dense
    assert explained.keyword
    shares = f"meaning {explained.dense.share:.3f} + words {explained.keyword.share:.3f}"
    assert page.locator(".why p").first.inner_text() == f"Score {hit.score:.3f} = {shares}"
    told = page.locator(".why p").nth(1).inner_text()
    assert all(f"{one.term} {one.score:.2f}" in told for one in explained.keyword.terms if one.score > 0)
    words = [one for one in whole_words(explained.dense.tokens) if one.contribution > 0]
    best = max(words, key=lambda one: one.contribution)
    assert f": {best.token} {best.contribution:.3f}" in page.locator(".why p").nth(2).inner_text()
    assert page.locator(".why .shaded").evaluate("(node) => node.textContent") == hit.text
    page.get_by_role("button", name=re.compile("^Why .* was found")).first.click()
    page.wait_for_selector(".why", state="detached")


def test_nonsense_is_marked_as_no_closer_than_chance(visit, address):
    page = visit(address, {"q": "qqzzyy blorp", "index": "sample", "mode": "dense"})
    settled(page)
    assert page.locator(".hits > li").first.inner_text().startswith("Hits from here on are no closer")


# --- filters


def test_facets_are_the_values_of_the_corpus_and_filter_the_hits(visit, address):
    page = visit(address, {"q": "how to", "index": "sample"})
    settled(page)
    group = page.get_by_role("group", name="level")
    counted = Counter(record["metadata"]["level"] for record in RECORDS)
    shown = {row.split("\n")[0]: int(row.split("\n")[-1]) for row in group.locator("label").all_inner_texts()}
    assert shown == dict(counted)
    group.get_by_label("advanced").check()
    until(page, "document.querySelector('#filters-count').textContent === '(1)'")
    allowed = {record["title"] for record in RECORDS if record["metadata"]["level"] == "advanced"}
    until(page, "(n) => document.querySelectorAll('.hit').length === n", arg=min(10, len(allowed)))
    assert set(titles(page)) <= allowed
    page.reload()  # the selection is kept in the URL
    settled(page)
    assert group.get_by_label("advanced").is_checked()
    assert set(titles(page)) <= allowed
    page.get_by_role("button", name="Clear filters").click()
    until(page, "document.querySelectorAll('.hit').length === 10")
    assert not group.get_by_label("advanced").is_checked()


def test_members_of_lists_and_expressions_filter_together(visit, address):
    counted = Counter(tag for record in RECORDS for tag in record["metadata"]["tags"])
    tag = counted.most_common(1)[0][0]
    page = visit(
        address, {"q": "how to", "index": "sample", "where": "year >= 2018", "chosen": json.dumps({"tags": [tag]})}
    )
    allowed = {r["title"] for r in RECORDS if tag in r["metadata"]["tags"] and r["metadata"]["year"] >= 2018}
    until(page, "(n) => document.querySelectorAll('.hit').length === n", arg=min(10, len(allowed)))
    assert set(titles(page)) <= allowed


def test_an_expression_that_cannot_be_read_says_so_beside_it(visit, address):
    page = visit(address, {"q": "soil", "index": "sample"}, expected="400")
    settled(page)
    page.fill("#where", "year >= ")
    page.wait_for_selector("#where-trouble:not([hidden])")
    assert page.locator("#where").get_attribute("aria-invalid") == "true"
    page.fill("#where", "year >= 2015")
    page.wait_for_selector("#where-trouble", state="hidden")
    assert page.locator("#where").get_attribute("aria-invalid") == "false"


# --- documents that are nearly the same


def test_copies_are_one_hit_that_lists_them_and_what_they_hid_is_explained(visit, tmp_path):
    poem = " ".join(f"heron{n}" for n in range(50))
    copies = [{"_id": f"copy {n:02}", "text": f"{poem} {n}"} for n in range(14)]
    other = {"_id": "other", "title": "Ponds", "text": f"heron1 alone, {'and no other bird ' * 40}"}
    with served({"birds": build(tmp_path / "birds", [*copies, other])}) as client:
        ungrouped = {"query": "heron1", "mode": "keyword", "k": 10}
        found = [hit["id"] for hit in client.post("/search", json=ungrouped).json()["hits"]]
        assert "other" not in found  # it is deeper than the page shows hits
        page = visit(str(client.base_url), {"q": "heron1", "mode": "keyword"})
        settled(page)
        assert titles(page) == [found[0], "Ponds"]
        more = page.locator(".hit").first.locator(".similar")
        assert page.locator(".similar").count() == 1
        assert more.locator("summary").inner_text() == "and 13 more like it"
        assert not more.locator("a").first.is_visible()
        page.get_by_role("button", name="Why Ponds was found").click()
        page.wait_for_selector(".why p")
        assert "heron1" in page.locator(".why p").nth(1).inner_text()
        more.locator("summary").click()
        assert {found[0], *more.locator("a").all_inner_texts()} == {copy["_id"] for copy in copies}
        last = more.locator("a").last
        name, address = last.inner_text(), last.get_attribute("href")
        last.click()
        page.wait_for_selector("#document-title")
        assert page.inner_text("#document-title") == name
        alone = visit(f"{client.base_url}", {})
        alone.goto(f"{client.base_url}/{address}")
        alone.reload()
        alone.wait_for_selector("#document-title")
        assert alone.inner_text("#document-title") == name


def test_the_other_list_may_have_a_document_under_a_copy_of_it(visit, tmp_path):
    poem = " ".join(f"heron{n}" for n in range(50))
    first = build(tmp_path / "first", [{"_id": "a", "text": f"{poem} crane"}, {"_id": "b", "text": poem}])
    second = build(tmp_path / "second", [{"_id": "b", "text": poem}])
    with served({"first": first, "second": second}) as client:
        page = visit(
            str(client.base_url), {"q": "crane heron1", "index": "first", "mode": "keyword", "beside": "keyword/second"}
        )
        settled(page)
        assert (titles(page), titles(page, 1)) == (["a"], ["b"])
        assert page.locator(".there").all_inner_texts() == ["rank 1 in the other list"] * 2


def test_a_hit_shows_its_section_and_its_page(visit, tmp_path):
    body = "\n\n".join([*(f"Paragraph {n} is about bread and salt." for n in range(20)), "Herons are counted by hand."])
    (tmp_path / "guide.md").write_text(f"# Guide\n\n## Usage\n\n### Options\n\n{body}\n")
    chunking = Chunking(tokens=40, overlap=0)
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder(256), chunking=chunking) as index:
        index.add(tmp_path / "guide.md")
        index.add([{"_id": "paged", "text": "First page.\fEgrets are on the second.", "page_starts": [0, 5]}])
    with served({"index": tmp_path / "index"}) as client:
        page = visit(str(client.base_url), {"q": "herons", "mode": "keyword"})
        settled(page)
        assert page.locator(".hit .section").all_inner_texts() == ["Usage > Options"]
        page.fill("#query", "egrets")
        until(page, "document.querySelector('.hit h3')?.textContent === 'paged'")
        assert "page 1" in page.locator(".hit .facts").inner_text()
        assert page.locator(".hit .section").count() == 0


# --- side by side


def test_two_poolers_stand_side_by_side(visit, address, folders):
    page = visit(address, {"q": THIRSTY, "index": "sample"})
    settled(page)
    page.select_option("#beside", label="sample-cls · cls")
    until(page, "document.querySelectorAll('#lists .hits').length === 2")
    left, right = expected(folders["sample"], THIRSTY), expected(folders["sample-cls"], THIRSTY)
    assert (titles(page), titles(page, 1)) == (left, right)
    told = page.locator("#lists .column").first.locator(".there").all_inner_texts()
    assert told == [
        f"rank {right.index(title) + 1} in the other list" if title in right else "not in the other list"
        for title in left
    ]
    page.select_option("#beside", label="by words")
    until(page, "document.querySelectorAll('.column h2')[1]?.textContent.endsWith('· words')")
    assert titles(page, 1) == expected(folders["sample"], THIRSTY, mode="keyword")


# --- documents


def test_a_hit_opens_its_document_at_the_passage_and_back_leads_back(visit, address, folders):
    page = visit(address, {"q": "zeppelin beneath the waterfall", "index": "odd", "mode": "keyword"})
    settled(page)
    with Index.open(folders["odd"]) as index:
        (hit, *_) = index.search("zeppelin beneath the waterfall", mode="keyword")
    assert hit.start > 10_000
    page.locator(".hit h3 a").first.click()
    mark = page.locator("#passage")
    mark.wait_for()
    assert mark.evaluate("(node) => node.textContent") == hit.text  # 🌱 has length 2 in JavaScript, 1 in Python
    assert NEEDLE in hit.text
    top, bottom = mark.evaluate("(node) => [node.getBoundingClientRect().top, node.getBoundingClientRect().bottom]")
    assert bottom > 0
    assert top < 800
    assert page.evaluate("document.activeElement.id") == "document-title"
    page.reload()
    mark.wait_for()
    page.go_back()
    page.wait_for_selector("#document", state="hidden")
    page.locator(".hit h3 a").first.click()
    mark.wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector("#document", state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "A long one"


def test_the_citation_that_is_copied_names_its_place(visit, address):
    page = visit(address, {"q": "badgers", "index": "odd"}, permissions=["clipboard-read", "clipboard-write"])
    settled(page)
    page.get_by_role("button", name="Copy citation of Dots").click()
    until(page, "document.getElementById('said').textContent === 'Citation copied.'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"“Badgers dig.” Dots (..), characters 0–12. {address}/doc/?id=..&index=odd&chars=0-12#passage"
    page.locator(".hit h3 a", has_text="Dots").click()
    page.wait_for_selector("#passage")
    assert page.inner_text("#passage") == "Badgers dig."


def test_a_document_that_is_gone_says_so(visit, address):
    page = visit(address, {"doc": "nowhere", "from": "sample"}, expected="404")
    assert "no document 'nowhere'" in page.locator("#document .bad").inner_text()


# --- the map


def test_the_map_shows_every_document_and_opens_it(visit, address):
    page = visit(address, {"view": "map", "index": "sample", "q": "steak"})
    page.wait_for_selector("circle")
    assert page.locator("circle").count() == len(RECORDS)
    until(page, "document.querySelectorAll('circle.ring').length === 10")
    page.select_option("#colors", "topic")
    until(page, "document.querySelectorAll('#legend button').length === 2")
    classes = page.locator("circle").evaluate_all("(all) => all.map((one) => one.classList[0])")
    counted = Counter(record["metadata"]["topic"] for record in RECORDS)
    assert sorted(Counter(classes).values()) == sorted(counted.values())
    page.focus("#drawing svg")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    named = page.inner_text("#point").split(" · ")[0]
    page.keyboard.press("Enter")
    page.wait_for_selector("#document-title")
    assert page.inner_text("#document-title") == named


# --- the chat


class Telling:
    """A language model server that sends the first piece at once, and the rest once `go_on` is set."""

    def __init__(self, first: str, rest: str) -> None:
        self.go_on = Event()
        pieces, go_on = (first, rest), self.go_on

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for piece in pieces:
                    event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                    event["choices"] = [{"index": 0, "delta": {"content": piece}}]
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                    self.wfile.flush()
                    go_on.wait(20)
                end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
                self.wfile.write(f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Telling:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def chatting(stack: ExitStack, folder: Path, url: str = "") -> str:
    settings = Settings(llm_base_url=url, llm_model="m" if url else "", runtime="torch", device="cpu")
    return str(stack.enter_context(served({"sample": folder}, settings)).base_url)


def test_an_answer_comes_piece_by_piece_with_citations_that_open(visit, folders):
    with ExitStack() as stack, Telling("Let it **rest** [1]", f" well [99]. {HOSTILE}") as model:
        page = visit(chatting(stack, folders["sample"], model.url), {"view": "chat"})
        page.fill("#question", "how long should a steak rest")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer .cite")
        assert page.inner_text(".answer p") == "Let it rest [1]"
        assert page.locator(".answer").get_attribute("aria-busy") == "true"
        assert page.get_by_role("button", name="Stop").is_visible()
        model.go_on.set()
        page.wait_for_selector(".answer:not([aria-busy])")
        assert page.inner_text(".answer p") == f"Let it rest [1] well [99]. {HOSTILE}".replace("`${1}`", "${1}")
        assert page.locator(".answer img, .answer script, .answer b").count() == 0
        assert page.locator(".answer .cite").count() == 1
        page.locator(".answer .cite").click()
        page.wait_for_selector("#passage")
        assert page.inner_text("#document-title") == page.locator(".sources a").first.inner_text()


def test_an_answer_can_be_stopped(visit, folders):
    with ExitStack() as stack, Telling("Let it rest", " well.") as model:
        page = visit(chatting(stack, folders["sample"], model.url), {"view": "chat"})
        page.fill("#question", "how long should a steak rest")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('.answer')?.textContent === 'Let it rest'")
        page.get_by_role("button", name="Stop").click()
        page.wait_for_selector(".answer:not([aria-busy])")
        assert page.inner_text(".answer").endswith("Stopped.")


def test_the_chat_shows_what_is_known_without_a_language_model_and_says_when_it_is_down(visit, folders):
    with ExitStack() as stack:
        page = visit(chatting(stack, folders["sample"]), {"view": "chat"})
        page.fill("#question", "how long should a steak rest")
        page.get_by_role("button", name="Ask").click()
        page.wait_for_selector(".sources a")
        assert "No language model is connected" in page.inner_text(".answer")
        with Index.open(folders["sample"], runtime="torch", device="cpu") as index:
            context = index.context("how long should a steak rest")
        assert page.locator(".sources .snippet").all_inner_texts() == [excerpt.text for excerpt in context.excerpts]
        down = visit(chatting(stack, folders["sample"], "http://127.0.0.1:9/v1"), {"view": "chat"})
        down.fill("#question", "how long should a steak rest")
        down.keyboard.press("Enter")
        down.wait_for_selector(".answer .bad")
        assert "cannot be reached" in down.inner_text(".answer")
        assert down.locator(".sources a").count() == len(context.excerpts)  # the excerpts are shown nevertheless


def test_nonsense_from_the_model_or_to_it_is_told_as_such(visit, folders):
    with ExitStack() as stack, model_server(lambda asked: b"<html>") as (url, requests):
        page = visit(chatting(stack, folders["sample"], url), {"view": "chat"})
        page.fill("#question", "qqzzyy blorp")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer:not([aria-busy])")
        assert page.inner_text(".answer").startswith("I don't know")
        assert requests == []
        page.fill("#question", "how long should a steak rest")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer .bad")
        assert "no readable answer" in page.locator(".answer .bad").inner_text()


# --- keyboard only


def test_everything_can_be_reached_with_the_keyboard(visit, address, folders):
    page = visit(address, {"index": "sample"})
    page.wait_for_selector("#facets label")
    focused = "document.activeElement"
    assert page.evaluate(f"{focused}.id") == "query"
    page.keyboard.type(THIRSTY)
    settled(page)
    hits = expected(folders["sample"], THIRSTY)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(f"{focused}.textContent") == hits[1]
    style = page.evaluate(f"getComputedStyle({focused}).outlineStyle + getComputedStyle({focused}).outlineWidth")
    assert style == "solid2px"
    page.keyboard.press("Enter")
    page.wait_for_selector("#document-title")
    assert page.inner_text("#document-title") == hits[1]
    page.keyboard.press("Escape")
    assert page.evaluate(f"{focused}.textContent") == hits[1]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(f"{focused}.id") == "query"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert page.evaluate(f"{focused}.id") == "query"
    page.evaluate(f"{focused}.blur()")
    page.keyboard.press("/")
    assert page.evaluate(f"{focused}.id") == "query"
    assert page.input_value("#query") == THIRSTY
    for _ in range(5):  # the index picker and three view buttons come between
        page.keyboard.press("Shift+Tab")
    assert page.evaluate(f"{focused}.id") == "skip"
    assert page.locator("#skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "main"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(f"{focused}.id || {focused}.className || {focused}.tagName"))
    assert {"query", "beside", "where", "A", "quiet"} <= reached


# --- security


@pytest.mark.parametrize("view", ["search", "map", "chat", "document"])
def test_hostile_documents_stay_text(visit, address, view):
    page = visit(address, {"index": "odd", "q": "hedgehogs", "view": "search" if view == "document" else view})
    if view == "search":
        settled(page)
        assert HOSTILE in titles(page)
        assert page.get_by_role("group", name="group").get_by_text(HOSTILE).count() == 1
        page.get_by_role("group", name="group").get_by_label(HOSTILE).check()
        until(page, "document.querySelectorAll('.hit').length === 2")
        assert sorted(titles(page)) == sorted([HOSTILE, "h2"])
    elif view == "map":
        page.wait_for_selector("circle")
        page.hover("circle.ring")
    elif view == "chat":
        page.fill("#question", "hedgehogs")
        page.keyboard.press("Enter")
        page.wait_for_selector(".sources a")
        assert HOSTILE in page.locator(".sources a").all_inner_texts()
    else:
        settled(page)
        page.locator(".hit h3 a", has_text="script").click()
        page.wait_for_selector("#document dl")
        assert page.inner_text("#document-title") == HOSTILE
        assert HOSTILE in page.locator("#document dt").all_inner_texts()
        assert page.locator("#document dl a").count() == 0  # a javascript: URL is not a link
    assert page.locator("main img, main script, main b b, main iframe").count() == 0
    page.wait_for_timeout(100)


def test_a_source_is_a_link_only_if_it_is_an_address(visit, address):
    page = visit(address, {"index": "odd", "doc": "h2", "from": "odd"})
    link = page.locator("#document dl a")
    assert (link.get_attribute("href"), link.get_attribute("rel")) == (
        "https://example.test/hedge",
        "noreferrer noopener",
    )


MADE_UP = [
    {"chosen": "{oops"},
    {"chosen": '{"__proto__": ["x"]}', "q": "wolves"},
    {"view": "constructor"},
    {"chars": "9-1", "doc": "long", "from": "odd"},
    {"index": "gone", "q": "x"},
    {"beside": "hybrid/gone", "q": "wolves"},
]


@pytest.mark.parametrize("state", MADE_UP)
def test_an_address_that_somebody_made_up_does_no_harm(visit, address, state):
    page = visit(address, {"index": "odd", **state}, expected="40[04]")
    page.wait_for_timeout(500)
    assert page.locator("#index option").count() == 3


TRICKS = {
    "innerHTML": "() => { document.body.innerHTML = '<b>x</b>' }",
    "eval": "() => new Promise((done, fail) => setTimeout(() => { try { done(eval('1')) } catch (e) { fail(e) } }))",
    "script": "() => { const s = document.createElement('script'); s.append('hacked = 2'); document.head.append(s) }",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_markup_and_scripts_cannot_be_made_even_on_purpose(visit, address, trick):
    page = visit(address, expected="policy|Policy|TrustedHTML|TrustedScript")
    try:
        page.evaluate(TRICKS[trick])
        refused = trick == "script"  # blocked without raising an error
    except Exception as error:
        refused = "rusted" in str(error) or "unsafe-eval" in str(error)
    assert refused
    assert page.evaluate("window.hacked") is None


# --- narrow screens and accessibility


@pytest.mark.parametrize("view", ["search", "map", "chat", "document", "beside"])
def test_nothing_is_wider_than_a_phone(visit, address, view):
    state = {"index": "odd", "q": "unbroken hedgehogs waterfall", "view": view if view in ("map", "chat") else "search"}
    if view == "beside":
        state["beside"] = "keyword/odd"
    page = visit(address, state, width=360)
    if view == "chat":
        page.fill("#question", "unbroken")
        page.keyboard.press("Enter")
        page.wait_for_selector(".sources a")
    elif view == "map":
        page.wait_for_selector("circle")
    else:
        settled(page)
    if view == "document":
        page.locator(".hit h3 a").first.click()
        page.wait_for_selector("#document-title")
        assert page.evaluate("document.getElementById('document').scrollWidth") <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("wishes", [{}, {"color_scheme": "dark"}, {"width": 360}])
@pytest.mark.parametrize("view", ["search", "beside", "map", "chat", "document", "key"])
def test_axe_finds_nothing(visit, address, folders, view, wishes):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    state = {"index": "sample", "q": THIRSTY, "view": view if view in ("map", "chat") else "search"}
    if view == "beside":
        state["beside"] = "hybrid/sample-cls"
    with ExitStack() as stack:
        if view == "key":
            keyed = served({"sample": folders["sample"]}, Settings(keys=(Key("k"),), runtime="torch"))
            address = str(stack.enter_context(keyed).base_url)
        page = visit(address, state, expected="401", **wishes)
        if view == "chat":
            page.fill("#question", "how long should a steak rest")
            page.keyboard.press("Enter")
            page.wait_for_selector(".sources a")
        elif view == "map":
            page.wait_for_selector("circle")
        elif view == "key":
            page.wait_for_selector("dialog[open]")
        else:
            settled(page)
        if view == "document":
            page.locator(".hit h3 a").first.click()
            page.wait_for_selector("#passage")
        found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found] == []


# --- keys


def test_the_key_is_asked_for_once_and_never_stands_in_an_address(visit, browser, folders):
    keys = (Key("open sesame"),)
    with served({"sample": folders["sample"]}, Settings(keys=keys, runtime="torch", device="cpu")) as client:
        address = str(client.base_url)
        page = visit(address, {"q": THIRSTY}, expected="401")
        seen: list[str] = []
        page.on("request", lambda request: seen.append(request.url))
        page.wait_for_selector("dialog[open]")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('key-why').textContent.startsWith('That key is wrong')")
        page.fill("#key-field", "open sesame")
        page.keyboard.press("Enter")
        settled(page)
        page.reload()
        settled(page)
        assert not page.locator("dialog[open]").count()
        assert not any("sesame" in url for url in [*seen, page.url])
        link = f"{address}/{page.locator('.hit h3 a').first.get_attribute('href')}"
        assert client.get(link).headers["www-authenticate"].startswith("Basic ")  # makes the browser prompt for it
        window = browser.new_context(http_credentials={"username": "", "password": "open sesame"})
        shown = window.new_page()
        shown.goto(link)
        assert shown.locator("mark").count() == 1
        window.close()
