"""The richer tools, the document resource, and the descriptions that clients receive."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import jsonschema
import pytest
from assistant import ERAS, answer_of, call, connected, refusal, result
from mcp.shared.exceptions import MCPError
from odd_documents import ATTACK

from semsearch import Index, WordHashEncoder
from semsearch.mcp.budget import estimate_tokens
from semsearch.mcp.server import create_mcp

EACH_ERA = pytest.mark.parametrize("era", ERAS)


@pytest.fixture
def server(sample):
    return create_mcp({"sample": sample})


@EACH_ERA
def test_excerpts_are_cited_by_number_from_where_they_are(server, sample, era):
    answer = call(server, "search_documents", era, query="overwatered houseplants root rot", k=3)
    assert (answer["index"], answer["mode"]) == ("sample", "hybrid")
    assert [one["number"] for one in answer["excerpts"]] == list(range(1, len(answer["excerpts"]) + 1)) != []
    for one in answer["excerpts"]:
        document = sample.documents([one["id"]])[one["id"]]
        assert document.text[one["start"] : one["end"]] in answer["context"]
        assert f"[{one['number']}] {document.title} ({one['id']}" in answer["context"]
        assert one["confidence"] >= 0.5
        assert one["url"] == f"semsearch://sample/{one['id']}"


def test_what_stands_between_the_marked_lines_cannot_end_them(odd):
    contexts = [
        call(create_mcp({"odd": odd}), "search_documents", query="otters float on their backs")["context"]
        for _ in range(2)
    ]
    nonces = [re.fullmatch(r"(?s).*<<<(\w{16,})\n(.*)\n\1>>>", context)[1] for context in contexts]
    assert nonces[0] != nonces[1]
    assert all(ATTACK in context for context in contexts)
    # The sentence before the two marked lines names the nonce, too.
    assert all(context.count(nonce) == 3 for context, nonce in zip(contexts, nonces, strict=True))


@pytest.mark.parametrize(("query", "wishes"), [("qqzzyy blorp", {}), ("root rot", {"min_confidence": 1.0})])
def test_no_excerpt_is_an_answer(server, query, wishes):
    answer = call(server, "search_documents", query=query, **wishes)
    assert answer["excerpts"] == []
    assert "Nothing in the index is relevant" in answer["note"]


def test_a_least_confidence_of_zero_shows_whatever_there_is(server):
    assert call(server, "search_documents", query="qqzzyy blorp", min_confidence=0)["excerpts"] != []


def test_a_filter_holds_for_every_excerpt(server, sample):
    wishes = {"where": "year >= 2015 and lang = 'en'", "min_confidence": 0, "k": 20, "budget": 8_000}
    answer = call(server, "search_documents", query="how do I save money on food", **wishes)
    documents = sample.documents([one["id"] for one in answer["excerpts"]])
    assert len(documents) > 3
    assert all(one.metadata["year"] >= 2015 and one.metadata["lang"] == "en" for one in documents.values())


@pytest.mark.parametrize("budget", [150, 400, 3_000])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_a_context_keeps_to_its_budget_and_to_k(server, budget, k):
    answer = call(server, "search_documents", query="water", budget=budget, k=k, min_confidence=0)
    assert estimate_tokens(answer["context"]) <= budget
    assert 1 <= len(answer["excerpts"]) <= k


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"k": 0}, "`k` must be from 1 to 50, got 0"),
        ({"k": 1_000_000}, "`k` must be from 1 to 50, got 1,000,000"),
        ({"k": "many"}, 'search_documents: `k` is "many"; it should be a valid integer'),
        ({"where": {"lang": "en"}}, '`where` is {"lang": "en"}; it should be a valid string'),
        ({"budget": 99}, "`budget` must be from 100 to 8,000, got 99"),
        ({"budget": 10**9}, "`budget` must be from 100 to 8,000"),
        ({"neighbors": -1}, "`neighbors` must be from 0 to 5, got -1"),
        ({"min_confidence": 7}, "expected a number from 0 to 1"),
        ({"mode": "psychic"}, "'dense', 'keyword' or 'hybrid'"),
        ({"where": "nope = 1"}, "no document has a field 'nope' (known: 'lang'"),
        ({"where": "year >="}, "expected 'text' or a number"),
        ({"where": "year = 'a\0'"}, "NUL character"),
        ({"index": "nope"}, "unknown index 'nope'; expected one of: 'sample'"),
        ({"filter": "lang = 'en'"}, "`filter` is not recognized; expected arguments: query, index, where"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(server, wishes, said):
    assert said in refusal(server, "search_documents", query="water", **wishes)


def test_explicit_nulls_are_what_is_left_out(server):
    nulls = dict.fromkeys(("index", "where", "mode", "min_confidence"))
    answer = call(server, "search_documents", query="root rot", **nulls)
    assert answer["excerpts"] == call(server, "search_documents", query="root rot")["excerpts"]


def test_one_of_several_indexes_must_be_named(sample, odd):
    server = create_mcp({"one": sample, "two": odd})
    assert "`index` is missing; expected one of: 'one', 'two'" in refusal(server, "search_documents", query="gills")
    answer = call(server, "search_documents", query="axolotls gills", index="two")
    assert (answer["index"], answer["excerpts"][0]["id"]) == ("two", "two:../a b/c?d#chars=1-2:é")


@EACH_ERA
def test_a_document_is_read_to_its_end_piece_by_piece(odd, era):
    server, text, pieces = create_mcp({"odd": odd}), odd.documents(["long"])["long"].text, []
    offset: int | None = 0
    while offset is not None:
        answer = call(server, "read_document", era, id="long", offset=offset, budget=5_000)
        assert estimate_tokens(answer["text"]) <= 5_000
        assert (answer["start"], answer["length"]) == (offset, len(text))
        pieces.append(answer["text"])
        offset = answer.get("next_offset")
    assert len(pieces) > 5
    assert "".join(pieces) == text


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"offset": -1}, "`offset` must be from 0 to 27, got -1"),
        ({"offset": 28}, "`offset` must be from 0 to 27, got 28"),
        ({"budget": 1}, "`budget` must be from 100 to 8,000, got 1"),
        ({"id": "nope"}, "no document has the id 'nope'"),
    ],
)
def test_reading_outside_of_a_document_is_refused(odd, wishes, said):
    assert said in refusal(create_mcp({"odd": odd}), "read_document", **{"id": "untitled", **wishes})


def test_indexes_are_listed_with_what_filters_need_and_nothing_of_this_machine(sample, odd, sample_folder):
    given = result(create_mcp({"one": sample, "two": odd}), "list_indexes")
    one, two = answer_of(given)["indexes"]
    status = sample.status()
    assert {key: one[key] for key in ("documents", "passages", "fields")} == {
        key: status[key] for key in ("documents", "passages", "fields")
    }
    assert (one["name"], one["mode"], one["model"], two["name"]) == ("one", "hybrid", "hash:4096", "two")
    assert str(sample_folder.parent) not in given.content[0].text


# --- resources


@EACH_ERA
def test_documents_are_resources(sample, odd, era):
    server = create_mcp({"sample": sample, "odd": odd})

    async def read(client):
        (template,) = (await client.list_resource_templates()).resource_templates
        plain = await client.read_resource("semsearch://sample/gardening-015")
        long = await client.read_resource("semsearch://odd/long")
        return template.uri_template, plain.contents[0], long.contents[0].text

    template, plain, long = connected(server, read, era)
    assert template == "semsearch://{index}/{id}"
    assert (plain.mime_type, plain.text) == ("text/plain", sample.documents(["gardening-015"])["gardening-015"].text)
    assert estimate_tokens(long) < 25_100
    assert long.endswith("with the id 'odd:long' and an `offset`.]")


@pytest.mark.parametrize(
    "uri", ["semsearch://sample/nope", "semsearch://nope/a", "semsearch://sample/..%2F..%2Fetc", "x:y"]
)
def test_a_resource_that_is_not_there_is_an_error_of_the_request(server, uri):
    async def read(client):
        with pytest.raises(MCPError) as error:
            await client.read_resource(uri)
        return error.value.error.code

    assert connected(server, read) == -32602, "invalid params"


# --- descriptions for clients


@EACH_ERA
def test_every_tool_promises_to_change_nothing_and_says_what_it_takes_and_gives(server, era):
    tools = {tool.name: tool for tool in connected(server, lambda client: client.list_tools(), era).tools}
    assert list(tools) == ["search", "fetch", "search_documents", "read_document", "list_indexes"]
    for tool in tools.values():
        assert tool.annotations.model_dump(by_alias=True, exclude_none=True) == {
            "readOnlyHint": True,
            "destructiveHint": False,
            "idempotentHint": True,
            "openWorldHint": False,
        }
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
        assert (tool.input_schema["type"], tool.output_schema["type"]) == ("object", "object")
        assert 20 < len(tool.description) < 1_000
        assert all(one.get("description") for one in tool.input_schema["properties"].values())
    for name, argument in (("search", "query"), ("fetch", "id")):
        schema = tools[name].input_schema
        assert (list(schema["properties"]), schema["required"]) == ([argument], [argument])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {"query": "root rot"}),
        ("search", {"query": "qqzzyy blorp"}),
        ("fetch", {"id": "gardening-015"}),
        ("search_documents", {"query": "root rot"}),
        ("read_document", {"id": "gardening-015"}),
        ("list_indexes", {}),
    ],
)
def test_answers_are_of_the_schema_that_is_told(server, tool, arguments):
    tools = {one.name: one for one in connected(server, lambda client: client.list_tools()).tools}
    jsonschema.validate(call(server, tool, **arguments), tools[tool].output_schema)


def test_making_a_server_leaves_the_logging_of_the_process_alone(sample):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    create_mcp({"sample": sample})
    assert (root.handlers, root.level) == before


# --- deleted indexes


def test_an_index_that_disappears_is_an_error_without_a_path_and_the_others_are_searched(sample_folder, tmp_path, odd):
    folder = tmp_path / "gone"
    shutil.copytree(sample_folder, folder)
    with Index.open(folder) as index:
        server = create_mcp({"gone": index})
        assert call(server, "search", query="root rot")["results"]
        shutil.rmtree(folder)
        for tool, arguments in (
            ("search", {"query": "root rot"}),
            ("fetch", {"id": "gardening-015"}),
            ("search_documents", {"query": "root rot"}),
            ("read_document", {"id": "gardening-015"}),
        ):
            said = refusal(server, tool, **arguments)
            assert "the index 'gone' no longer exists" in said
            assert str(tmp_path) not in said
        both = create_mcp({"gone": index, "odd": odd})
        described = call(both, "list_indexes")["indexes"]
        assert "no longer exists" in described[0]["problem"]
        assert described[1]["documents"] == len(odd)
        assert call(both, "search_documents", query="axolotls gills", index="odd")["excerpts"]


def test_an_index_that_is_deleted_and_built_again_is_served_as_it_is_now(tmp_path: Path):
    def build(text: str) -> Path:
        with Index.open(tmp_path / "again", create=True, encoder=WordHashEncoder(256)) as made:
            made.add([{"_id": "1", "text": text}])
        return tmp_path / "again"

    with Index.open(build("the heron waits")) as index:
        server = create_mcp({"again": index})
        assert call(server, "fetch", id="1")["text"] == "the heron waits"
        shutil.rmtree(tmp_path / "again")
        assert "no longer exists" in refusal(server, "fetch", id="1")
        build("the bread rises")
        assert call(server, "search", query="bread rises")["results"][0]["id"] == "1"
        assert call(server, "fetch", id="1")["text"] == "the bread rises"
