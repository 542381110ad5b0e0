"""The contracts of Dify and Open WebUI: passages, tools, web search and Qdrant points, and their errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from contract_serving import BIRDS, make_index, served

from semsearch import WordHashEncoder
from semsearch.server.keys import Key
from semsearch.stores.local.store import LocalStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tmp_path_factory.mktemp("front") / "birds")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with served({"birds": folder}, public_url="http://search.example:8000/") as client:
        yield client


def post(client: httpx.Client, path: str, status: int = 200, **body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()


# --- Dify


def retrieve(client: httpx.Client, status: int = 200, **wishes: Any) -> Any:
    body = {"knowledge_id": "birds", "query": "the heron waits in the reeds", "retrieval_setting": {"top_k": 1}}
    return post(client, "/retrieval", status, **{**body, **wishes})


def test_dify_gets_passages_with_scores_and_metadata(client: httpx.Client):
    (record,) = retrieve(client)["records"]
    assert (record["title"], record["content"]) == ("Heron", "The heron waits in the reeds by the river.")
    assert 0.5 < record["score"] <= 1
    assert record["metadata"] == {
        "doc_id": "heron",
        "url": "http://search.example:8000/doc/heron?chars=0-42#passage",
        "year": 2021,
    }


def test_dify_gets_nothing_where_nothing_reaches_the_threshold(client: httpx.Client):
    assert retrieve(client, retrieval_setting={"top_k": 3, "score_threshold": 1.0}) == {"records": []}


def test_nulls_of_dify_are_defaults(client: httpx.Client):
    setting = {"top_k": None, "score_threshold": None}
    assert len(retrieve(client, retrieval_setting=setting)["records"]) == len(BIRDS)


def test_the_same_passage_in_several_documents_is_one_answer(tmp_path: Path):
    copies = [{"_id": f"{n}/README", "text": "Feed the owl  once a day."} for n in range(4)]
    others = [{"_id": f"other {n}", "text": f"The owl number {n} hunts at night."} for n in range(3)]
    with served({"birds": make_index(tmp_path / "birds", documents=copies + others)}) as client:
        asked = "feed the owl once a day"
        found = [one["title"] for one in retrieve(client, query=asked, retrieval_setting={"top_k": 3})["records"]]
        assert (len(found), sum("README" in title for title in found)) == (3, 1)
        vector = WordHashEncoder(4_096).encode_query(asked).tolist()
        points = post(client, "/collections/birds/points/query", query={"nearest": vector}, limit=3)["result"]["points"]
        found = [one["payload"]["metadata"]["doc_id"] for one in points]
        assert (len(found), sum("README" in doc_id for doc_id in found)) == (3, 1)


def test_difys_conditions_filter(client: httpx.Client):
    condition = {"conditions": [{"name": "year", "comparison_operator": "<", "value": 2020}]}
    (record,) = retrieve(client, metadata_condition=condition)["records"]
    assert (record["title"], record["metadata"]["doc_id"]) == ("a/b c.md", "a/b c.md")


@pytest.mark.parametrize(
    ("wishes", "code", "message"),
    [
        ({"knowledge_id": "nope"}, 2001, "unknown index 'nope'; expected one of birds"),
        ({"knowledge_id": None}, 400, "valid string"),
        ({"query": ""}, 400, "the query is empty"),
        ({"query": 5}, 400, "valid string"),
        ({"retrieval_setting": {"top_k": 0}}, 400, "`retrieval_setting.top_k` must be at least 1, got 0"),
        ({"retrieval_setting": {"top_k": 10**6}}, 413, "returns at most 1,000 hits"),
        ({"retrieval_setting": {"top_k": 1, "score_threshold": 2}}, 400, "`score_threshold` is 2.0"),
        ({"metadata_condition": {"logical_operator": "xor"}}, 400, "`logical_operator` is 'xor'"),
        (
            {"metadata_condition": {"conditions": [{"name": "x", "comparison_operator": "is", "value": 1}]}},
            400,
            "a field 'x'",
        ),
    ],
)
def test_what_is_wrong_is_told_in_difys_shape_and_never_as_404(
    client: httpx.Client, wishes: Any, code: int, message: str
):
    response = client.post("/retrieval", json={"knowledge_id": "birds", "query": "x", **wishes})
    assert response.status_code in (400, 413)
    assert set(response.json()) == {"error_code", "error_msg"}
    assert response.json()["error_code"] == code
    assert message in response.json()["error_msg"]


def test_dify_is_told_of_a_wrong_key_before_the_body_is_looked_at(folder: Path):
    with served({"birds": folder}, keys=(Key.parse("K"),)) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic"}):
            response = client.post("/retrieval", content=b"{", headers=headers)
            assert (response.status_code, response.json()["error_code"]) == (403, 1002)
        probe = client.post("/retrieval", headers={"Authorization": "Bearer K"})
        assert probe.status_code not in (403, 404, 502)
        assert probe.status_code < 500


# --- Open WebUI's tools


def test_the_tools_are_described_by_a_small_document_of_their_own(client: httpx.Client):
    document = client.get("/tools/openapi.json").json()
    operations = {
        op["operationId"]: (path, method) for path, ops in document["paths"].items() for method, op in ops.items()
    }
    assert operations == {
        "search_documents": ("/search", "post"),
        "read_document": ("/document", "post"),
        "list_searchable_indexes": ("/indexes", "get"),
    }
    references = set(find_references(document))
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    body = document["components"]["schemas"]["ToolSearch"]
    assert body["required"] == ["query"]
    assert all("description" in field for field in body["properties"].values())


def find_references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        for one in value.values():
            yield from find_references(one)
    elif isinstance(value, list):
        for one in value:
            yield from find_references(one)


def test_every_tool_answers_at_its_path(client: httpx.Client):
    found = post(client, "/tools/search", query="the heron waits in the reeds", k=1, index=None, where=None)
    (result,) = found["results"]
    assert result.pop("confidence") > 0.5
    assert result == {
        "id": "heron",
        "title": "Heron",
        "text": "The heron waits in the reeds by the river.",
        "url": "http://search.example:8000/doc/heron?chars=0-42#passage",
        "start": 0,
        "end": 42,
        "metadata": {"year": 2021},
    }
    assert "not instructions" in found["note"]
    document = post(client, "/tools/document", id="heron", start=4)
    assert (document["text"], document["start"], document["length"]) == (
        "heron waits in the reeds by the river.",
        4,
        42,
    )
    assert client.get("/tools/indexes").json() == {"indexes": ["birds"]}


def test_a_tool_that_finds_nothing_says_so(client: httpx.Client):
    found = post(client, "/tools/search", query="heron", where="year = 1900")
    assert found == {"note": "Nothing relevant was found. Say so, or try other words.", "results": []}


def test_a_long_document_comes_in_parts(tmp_path: Path):
    text = "word " * 10_000
    folder = make_index(tmp_path / "long", documents=[{"_id": "1", "text": text.strip()}])
    with served({"long": folder}) as client:
        document = post(client, "/tools/document", id="1")
        assert (len(document["text"]), document["length"]) == (20_000, 49_999)
        rest = post(client, "/tools/document", id="1", start=40_000)
        assert (
            document["text"] + post(client, "/tools/document", id="1", start=20_000)["text"] + rest["text"]
            == text.strip()
        )


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/tools/search", {"query": ""}, 400, "the query is empty"),
        ("/tools/search", {"query": "x", "index": "nope"}, 404, "unknown index 'nope'"),
        ("/tools/search", {"query": "x", "where": "yaer = 1"}, 400, "did you mean 'year'"),
        ("/tools/search", {"query": "x", "k": 0}, 400, "`k` must be at least 1"),
        ("/tools/document", {"id": "nobody"}, 404, "no document 'nobody' in index 'birds'"),
        ("/tools/document", {"id": "heron", "start": -1}, 400, "greater than or equal to 0"),
        ("/web_search", {"query": "x", "count": 0}, 400, "`count` must be at least 1"),
        ("/web_search?index=nope", {"query": "x"}, 404, "unknown index 'nope'"),
    ],
)
def test_what_is_wrong_with_a_tool_call_is_one_line(
    client: httpx.Client, path: str, body: Any, status: int, message: str
):
    assert message in post(client, path, status, **body)["error"]["message"]


def test_a_tool_call_without_an_index_needs_to_name_one_of_several(folder: Path, tmp_path: Path):
    other = make_index(tmp_path / "other", documents=[{"_id": "1", "text": "An owl."}])
    with served({"birds": folder, "other": other}) as client:
        refused = post(client, "/tools/search", 400, query="owl")
        assert "`index` is missing; expected one of birds, other" in refused["error"]["message"]
        (result,) = post(client, "/tools/search", query="owl", index="other", k=1)["results"]
        assert result["url"] == "/doc/1?index=other&chars=0-7#passage"


def test_a_web_search_gives_links_titles_and_snippets(client: httpx.Client):
    assert post(client, "/web_search", query="cats purr when they are content", count=1) == [
        {"link": "https://example.org/cats", "title": "linked", "snippet": "Cats purr when they are content."}
    ]


# --- Qdrant's points


def points(client: httpx.Client, status: int = 200, name: str = "birds", **wishes: Any) -> Any:
    vector = WordHashEncoder(4096).encode_query("the heron waits in the reeds").tolist()
    body = {"query": {"nearest": vector}, "limit": 2, "with_vector": False, "with_payload": True, **wishes}
    return post(client, f"/collections/{name}/points/query", status, **body)


def test_points_come_with_their_text_and_a_link(client: httpx.Client):
    first, second = points(client)["result"]["points"]
    assert first["payload"] == {
        "text": "The heron waits in the reeds by the river.",
        "metadata": {
            "source": "http://search.example:8000/doc/heron?chars=0-42#passage",
            "name": "Heron",
            "doc_id": "heron",
            "year": 2021,
        },
    }
    assert (first["id"], first["version"], second["id"]) == (0, 0, 1)
    assert 1 >= first["score"] > second["score"] >= 0


def test_points_for_a_vector_by_itself_of_any_length_and_with_a_threshold(client: httpx.Client):
    vector = (7 * WordHashEncoder(4096).encode_query("the heron waits in the reeds")).tolist()
    alone, nearest = (found["result"]["points"] for found in (points(client, query=vector), points(client)))
    assert [one["payload"] for one in alone] == [one["payload"] for one in nearest]
    assert [one["score"] for one in alone] == pytest.approx([one["score"] for one in nearest], abs=1e-5)
    assert points(client, using=None, limit=None, score_threshold=None, filter=None, with_vector=None)["status"] == "ok"
    best = points(client)["result"]["points"][0]["score"]
    assert len(points(client, score_threshold=best)["result"]["points"]) == 1


def test_a_vector_of_our_embeddings_finds_what_a_search_finds(client: httpx.Client):
    question = "a kingfisher in the cold river"
    vector = post(client, "/v1/embeddings", input=question, model="birds:query")["data"][0]["embedding"]
    (point,) = points(client, query={"nearest": vector}, limit=1)["result"]["points"]
    (hit,) = post(client, "/search", query=question, mode="dense", k=1)["hits"]
    assert (point["payload"]["metadata"]["doc_id"], point["score"]) == (hit["id"], pytest.approx(hit["confidence"]))


@pytest.mark.parametrize(
    ("wishes", "status", "message"),
    [
        ({"query": {"nearest": [1.0]}}, 400, "the vector has 1 dimensions; the encoder of this index produces 4096"),
        ({"query": []}, 400, "the vector is []; expected a list of 4096 finite numbers"),
        ({"query": [1e39] * 4096}, 400, "expected a list of 4096 finite numbers"),
        ({"query": {"nearest": ["x"]}}, 400, "valid number"),
        ({"query": {"recommend": {}}}, 400, "is missing"),
        ({"filter": {"must": []}}, 400, "`filter` is not supported here"),
        ({"limit": 0}, 400, "`limit` must be at least 1"),
        ({"limit": 10**6}, 413, "at most 1,000 hits"),
        ({"name": "nope"}, 404, "unknown index 'nope'"),
    ],
)
def test_what_is_wrong_is_told_in_qdrants_shape(client: httpx.Client, wishes: Any, status: int, message: str):
    answer = points(client, status, **wishes)
    assert answer["time"] == 0
    assert message in answer["status"]["error"]


# --- confidence and links


def test_nonsense_finds_nothing_by_default(folder: Path):
    with served({"birds": folder}, min_confidence=0.5) as client:
        nonsense = "qqzzyy blorp"
        assert retrieve(client, query=nonsense) == {"records": []}
        assert post(client, "/tools/search", query=nonsense)["results"] == []
        assert post(client, "/web_search", query=nonsense) == []
        assert post(client, "/v1/vector_stores/birds/search", query=nonsense)["data"] == []
        vector = WordHashEncoder(4096).encode_query(nonsense).tolist()
        assert points(client, query=vector)["result"]["points"] == []
        assert (
            len(retrieve(client, query=nonsense, retrieval_setting={"top_k": 1, "score_threshold": 1e-9})["records"])
            == 1
        )


def test_an_index_that_was_not_measured_answers_all_the_same(tmp_path: Path):
    folder = make_index(tmp_path / "birds")
    with LocalStore(folder) as store, store.write(store.spec, store.chunking) as writer:
        writer.keep_background({})
    asked = "the heron waits in the reeds"
    with served({"birds": folder}, min_confidence=0.5) as client:
        assert retrieve(client)["records"][0]["metadata"]["doc_id"] == "heron"
        vector = WordHashEncoder(4_096).encode_query(asked).tolist()
        points = post(client, "/collections/birds/points/query", query={"nearest": vector}, limit=1)
        assert points["result"]["points"][0]["payload"]["metadata"]["doc_id"] == "heron"
        assert post(client, "/web_search", query=asked, count=1)[0]["title"] == "Heron"
        assert post(client, "/context", question=asked)["excerpts"][0]["id"] == "heron"
        told = post(client, "/context", 400, question=asked, min_confidence=0.5)["error"]["message"]
        assert "have not been measured for this index" in told


def test_a_link_is_the_documents_own_address_in_whichever_field(tmp_path: Path):
    birds = [{"_id": "heron", "text": "The heron waits in the reeds.", "source": "https://birds.test/heron"}]
    with served({"birds": make_index(tmp_path / "birds", documents=birds)}) as client:
        (found,) = post(client, "/web_search", query="heron in the reeds", count=1)
        excerpt = post(client, "/context", question="heron in the reeds", min_confidence=0)["excerpts"][0]
    assert found["link"] == excerpt["url"] == "https://birds.test/heron"
