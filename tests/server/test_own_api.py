"""The server's own API over a real connection: searching, adding, deleting, and bad requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

import httpx
import pytest
from serving import NOTES, build, served

from semsearch import Index, WordHashEncoder
from semsearch.server.settings import Settings


@pytest.fixture
def client(tmp_path) -> Iterator[httpx.Client]:
    with served({"notes": build(tmp_path / "notes")}) as client:
        yield client


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Iterator[httpx.Client]:
    """Serve two indexes that no test changes."""
    folder = tmp_path_factory.mktemp("indexes")
    places = {name: build(folder / name) for name in ("notes", "birds")}
    with served(places, Settings(max_k=100, max_query_chars=100, max_batch=5, max_body_bytes=20_000)) as client:
        yield client


def refused(answer: httpx.Response, status: int, *parts: str) -> None:
    """Assert the status and the shape of the error, and that its message is one line that contains all parts."""
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert set(error) == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "\n" not in error["message"]
    for part in parts:
        assert part in error["message"]


@pytest.mark.parametrize("mode", [None, "dense", "keyword", "hybrid"])
@pytest.mark.parametrize("where", [None, "year >= 2020", {"year": {">=": 2020}}])
def test_a_search_finds_what_the_library_finds(reader, tmp_path, mode, where):
    asked = {"index": "notes", "query": "water and salt", "k": 3, "mode": mode, "where": where}
    answer = reader.post("/search", json=asked).json()
    with Index.open(build(tmp_path / "same"), encoder=WordHashEncoder(4_096)) as index:
        expected = [asdict(hit) for hit in index.search("water and salt", 3, mode=mode, where=where)]
    assert len(answer["hits"]) == len(expected) >= 1
    for ours, theirs in zip(answer["hits"], expected, strict=True):
        assert ours["id"] == theirs.pop("doc_id")
        assert ours["similar"] == list(theirs.pop("similar")) == []
        score = theirs.pop("score")
        assert ours["score"] == pytest.approx(score)
        confidence = theirs.pop("confidence")
        assert ours["confidence"] == (confidence if confidence is None else pytest.approx(confidence, abs=0.05))
        assert {name: ours[name] for name in theirs} == theirs
    assert (answer["mode"], answer["warming"]) == (mode or "hybrid", False)


def test_similar_hits_are_one_on_request(client):
    poem = " ".join(f"heron{n}" for n in range(50))
    documents = [{"id": f"poem {n}", "text": f"{poem} {n}"} for n in range(4)]
    assert client.post("/documents", json={"index": "notes", "documents": documents}).status_code == 200
    asked = {"index": "notes", "query": "heron1", "k": 3, "mode": "keyword"}
    assert [hit["similar"] for hit in client.post("/search", json=asked).json()["hits"]] == [[], [], []]
    (hit,) = client.post("/search", json={**asked, "group": True}).json()["hits"]
    assert sorted([hit["id"], *hit["similar"]]) == [f"poem {n}" for n in range(4)]


def test_a_hit_that_copies_hid_is_explained_on_request(client):
    poem = " ".join(f"heron{n}" for n in range(50))
    documents = [{"id": f"poem {n}", "text": f"{poem} {n}"} for n in range(4)]
    documents += [{"id": "other", "text": f"heron1 alone, {'and no other bird ' * 40}"}]
    assert client.post("/documents", json={"index": "notes", "documents": documents}).status_code == 200
    asked = {"index": "notes", "query": "heron1", "k": 2, "mode": "keyword", "group": True}
    (_, hidden) = client.post("/search", json=asked).json()["hits"]
    refused(client.post("/explain", json={**asked, "group": False, "id": "other"}), 404, "not among the 2 best hits")
    explained = client.post("/explain", json={**asked, "id": "other"}).json()["explanation"]
    assert (hidden["id"], explained["score"]) == ("other", pytest.approx(hidden["score"]))


def test_a_link_of_a_hit_opens_its_passage(reader):
    (hit,) = reader.post("/search", json={"index": "birds", "query": "slash", "k": 1, "mode": "keyword"}).json()["hits"]
    assert hit["url"] == "/doc/a/b%20c.md?index=birds&chars=0-34#passage"
    page = reader.get(hit["url"])
    assert page.status_code == 200
    assert '<mark id="passage">An id with a slash, about gardens.</mark>' in page.text


@pytest.mark.parametrize(
    ("asked", "status", "parts"),
    [
        ({"query": "a", "index": "nothing"}, 404, ["unknown index 'nothing'", "notes, birds"]),
        ({"query": "a"}, 400, ["`index` is missing", "notes, birds"]),
        ({"query": "a", "index": 3}, 400, ["`index`"]),
        ({"query": "", "index": "notes"}, 400, ["the query is empty"]),
        ({"query": " \n", "index": "notes"}, 400, ["the query is empty"]),
        ({"query": "x" * 101, "index": "notes"}, 413, ["101", "100"]),
        ({"query": "a", "index": "notes", "k": 0}, 400, ["`k`"]),
        ({"query": "a", "index": "notes", "k": -1}, 400, ["`k`"]),
        ({"query": "a", "index": "notes", "k": 1_000_000}, 413, ["1,000,000", "100"]),
        ({"query": "a", "index": "notes", "k": 10**30}, 413, ["100"]),
        ({"query": "a", "index": "notes", "k": "many"}, 400, ["`k`"]),
        ({"query": "a", "index": "notes", "k": 1.5}, 400, ["`k`"]),
        ({"query": "a", "index": "notes", "mode": "psychic"}, 400, ["`mode`"]),
        ({"query": "a", "index": "notes", "fusion": "cold"}, 400, ["`fusion`"]),
        ({"query": "a", "index": "notes", "kk": 3}, 400, ["`kk`"]),
        ({"query": ["a"], "index": "notes"}, 400, ["`query`"]),
        ({"query": None, "index": "notes"}, 400, ["`query`"]),
        ({"index": "notes"}, 400, ["`query`"]),
        ({"query": "a", "index": "notes", "where": "nothing = 1"}, 400, ["nothing"]),
        ({"query": "a", "index": "notes", "where": "year ~ 1"}, 400, ["~"]),
        ({"query": "a", "index": "notes", "where": {"year": {"$regex": "x"}}}, 400, ["$regex"]),
        ({"query": "a", "index": "notes", "where": 7}, 400, ["`where"]),
        ({"query": "a", "index": "notes", "min_confidence": 2}, 400, ["`min_confidence`"]),
        ([], 400, []),
        ("a", 400, []),
        (None, 400, []),
    ],
)
def test_a_bad_search_is_refused_in_one_line(reader, asked, status, parts):
    refused(reader.post("/search", json=asked), status, *parts)


@pytest.mark.parametrize("where", [None, {"mode": None, "where": None, "min_confidence": None}])
def test_explicit_nulls_are_as_nothing(reader, where):
    assert reader.post("/search", json={"query": "salt", "index": "notes", **(where or {})}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"query": "a"', b"\xff\xfe", b'{"query": "\\ud800", "index": "notes"}', b"query=a", b"[" * 10_000],
)
def test_a_malformed_body_is_refused(reader, body):
    answer = reader.post("/search", content=body, headers={"content-type": "application/json"})
    refused(answer, 400)


def test_a_nul_byte_finds_nothing_and_breaks_nothing(reader):
    assert reader.post("/search", json={"query": "\0", "index": "notes"}).status_code in (200, 400)
    assert reader.post("/search", json={"query": "sa\0lt salt", "index": "notes"}).status_code == 200
    assert reader.get("/documents/%00?index=notes").status_code == 404


def test_a_body_that_is_too_large_is_refused_before_it_is_read(reader):
    large = json.dumps({"query": "a" * 30_000}).encode()
    refused(reader.post("/search", content=large), 413, "20,000 bytes")
    pieces = iter([large[:15_000], large[15_000:]])  # sent without a Content-Length
    refused(reader.post("/search", content=pieces, headers={"content-type": "application/json"}), 413, "20,000 bytes")


def test_an_unknown_path_and_a_wrong_method_are_refused(reader):
    refused(reader.get("/nothing"), 404)
    refused(reader.put("/search"), 405)
    assert reader.get("/docs").status_code == 404  # FastAPI's page would load scripts from a CDN


def test_nonsense_finds_nothing_if_confidence_is_asked_for(tmp_path):
    documents = [{"_id": str(n), "text": f"a document about the number {n} and other numbers"} for n in range(60)]
    with served({"notes": build(tmp_path / "notes", documents)}) as client:
        for mode in ("dense", "keyword", "hybrid"):
            asked = {"query": "qqzzyy blorp", "min_confidence": 0.5, "mode": mode}
            assert client.post("/search", json=asked).json()["hits"] == []


def test_a_context_is_that_of_the_library(tmp_path):
    documents = [{"_id": str(n), "text": f"Document number {n} is about zebras and stripes."} for n in range(60)]
    documents += [{"_id": "web", "text": "The okapi has a long tongue.", "url": "https://okapi.example"}]
    folder = build(tmp_path / "notes", documents)
    with served({"notes": folder}) as client:
        found = client.post(
            "/context", json={"question": "tongue of an okapi", "budget": 200, "min_confidence": 0}
        ).json()
        nothing = client.post("/context", json={"question": "qqzzyy blorp", "budget": 200}).json()
        refused(client.post("/context", json={"question": "a", "budget": 3}), 400, "`budget`")
        refused(client.post("/context", json={"question": "a", "k": 3}), 400, "`k`")
        refused(client.post("/context", json={"question": " "}), 400, "empty")
    with Index.open(folder, encoder=WordHashEncoder(4_096)) as index:
        expected = index.context("tongue of an okapi", 200, min_confidence=0)
    assert [one["id"] for one in found["excerpts"]] == [one.doc_id for one in expected.excerpts]
    (first, *_) = found["excerpts"]
    assert (first["id"], first["url"], first["number"]) == ("web", "https://okapi.example", 1)
    assert "The okapi has a long tongue." in found["text"]
    assert (found["mode"], found["warming"], found["tokens"] <= 200) == ("hybrid", False, True)
    assert (nothing["excerpts"], nothing["text"]) == ([], "No document in the index answers the question.")


def test_documents_are_added_changed_and_deleted(client):
    new = {"id": "robin/1", "text": "A robin sings.", "title": None, "metadata": {"year": 2023, "tags": ["bird"]}}
    added = client.post("/documents", json={"documents": [new]}).json()
    assert (added["ids"], added["encoded"], added["passages"]) == (["robin/1"], 1, 1)
    again = client.post("/documents", json={"documents": [new]}).json()
    assert (again["encoded"], again["unchanged"]) == (0, 1)
    (hit,) = client.post("/search", json={"query": "robin", "k": 1, "where": "year = 2023"}).json()["hits"]
    assert (hit["id"], hit["metadata"]) == ("robin/1", {"year": 2023, "tags": ["bird"]})
    stored = client.get("/documents/robin/1").json()
    assert (stored["text"], stored["passages"]) == ("A robin sings.", [{"start": 0, "end": 14}])
    assert client.delete("/documents/robin%2F1").json()["deleted"] == ["robin/1"]
    refused(client.delete("/documents/robin/1"), 404, "'robin/1'")
    refused(client.get("/documents/robin/1"), 404)
    many = client.post("/documents/delete", json={"ids": ["bread", "nothing"]}).json()
    assert (many["deleted"], many["missing"]) == (["bread"], ["nothing"])
    assert client.get("/indexes").json()["indexes"][0]["documents"] == len(NOTES) - 1


@pytest.mark.parametrize(
    ("documents", "parts"),
    [
        ([], ["`documents`"]),
        ([{"text": "no id"}], ["`documents.0.id`"]),
        ([{"id": "", "text": "a"}], ["`documents.0.id`"]),
        ([{"id": " ", "text": "a"}], ["empty"]),
        ([{"id": "x", "text": 3}], ["`documents.0.text`"]),
        ([{"id": "x", "text": "a", "metadata": 3}], ["`documents.0.metadata`"]),
        ([{"id": "x", "text": "a", "extra": 3}], ["`documents.0.extra`"]),
        ([{"id": "x", "text": "a"}, {"id": "x", "text": "b"}], ["duplicate document id 'x'"]),
    ],
)
def test_bad_documents_are_refused_and_nothing_is_added(client, documents, parts):
    good = {"id": "new", "text": "good"}
    asked = [good, *documents] if documents and "0" not in "".join(parts) else documents
    refused(client.post("/documents", json={"documents": asked}), 400, *parts)
    assert client.get("/documents/new").status_code == 404


def test_numbers_that_json_cannot_hold_are_refused(client):
    body = b'{"documents": [{"id": "x", "text": "a", "metadata": {"n": NaN}}]}'
    refused(client.post("/documents", content=body, headers={"content-type": "application/json"}), 400)


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b'{"query": "a" "k": 3}', JSON, ["not valid JSON at character 14", "delimiter"]),
        (b"[" * 20, JSON, ["not valid JSON at character"]),
        (b'{"query": "a"}', {"content-type": "text/plain"}, ["JSON object", "Content-Type: application/json"]),
        (b"", JSON, ["JSON object", "Content-Type: application/json"]),
        (b"[]", JSON, ["JSON object"]),
        (b"null", JSON, ["JSON object"]),
    ],
)
def test_a_body_that_is_no_json_object_is_told_so(reader, body, headers, words):
    refused(reader.post("/search", content=body, headers=headers), 400, *words)


def test_too_many_documents_at_once_are_refused(reader):
    documents = [{"id": str(n), "text": "a"} for n in range(6)]
    refused(reader.post("/documents", json={"index": "notes", "documents": documents}), 413, "6", "5")
    refused(reader.post("/documents/delete", json={"index": "notes", "ids": ["a"] * 6}), 413, "6", "5")


IDS = [
    "../../etc/passwd",
    "/etc/passwd",
    "a//b",
    ".",
    "..",
    "%2e%2e",
    "c:\\x",
    "?index=birds",
    "#x",
    "a b+c&d=é",
    "\u202e",
    "two\nlines",
]


@pytest.mark.parametrize("doc_id", IDS)
def test_ids_that_look_like_paths_are_ids_and_nothing_else(client, doc_id):
    given = {"documents": [{"id": doc_id, "text": "a peculiar zebra"}]}
    assert client.post("/documents", json=given).status_code == 200
    (hit,) = client.post("/search", json={"query": "zebra", "k": 1, "mode": "keyword"}).json()["hits"]
    assert hit["id"] == doc_id
    page = client.get(hit["url"])
    assert (page.status_code, "a peculiar zebra" in page.text) == (200, True)
    assert client.post("/documents/delete", json={"ids": [doc_id]}).json()["deleted"] == [doc_id]
    refused(client.get("/doc/", params={"id": doc_id}), 404)


def test_what_is_served_is_told_without_places_on_the_machine(reader, tmp_path_factory):
    answer = reader.get("/indexes")
    first, second = answer.json()["indexes"]
    assert (first["name"], first["documents"], first["dim"], first["state"]) == ("notes", 4, 4_096, "warm")
    assert first["fields"] == ["lang", "year"]
    assert second["name"] == "birds"
    assert str(tmp_path_factory.getbasetemp()) not in answer.text
    assert reader.get("/health").json() == {"status": "ok"}
    assert reader.head("/health").status_code == 200
    assert reader.get("/ready").json() == {"status": "ready", "indexes": {"notes": "warm", "birds": "warm"}}


def test_numbers_are_counted_for_prometheus(client):
    client.post("/search", json={"query": "water"})
    page = client.get("/metrics").text
    assert 'semsearch_requests_total{method="POST",route="/search",status="200"} 1.0' in page
    assert "semsearch_waiting_texts 0.0" in page
    client.get("/tools/indexes")
    assert (
        'semsearch_requests_total{method="GET",route="/tools/indexes",status="200"} 1.0' in client.get("/metrics").text
    )


def test_every_operation_is_described_with_an_id_and_its_errors(reader):
    document = reader.get("/openapi.json").json()
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    ids = [one["operationId"] for one in operations]
    assert len(set(ids)) == len(ids) >= 10
    assert all("401" in one["responses"] for one in operations)
    malformed = {path for path, methods in document["paths"].items() if "422" in str(methods)}
    assert malformed == {"/embed", "/info", "/rerank", "/v1/rerank", "/v2/rerank"}  # TEI itself answers 422
    assert "examples" in document["components"]["schemas"]["Search"]
