"""`search` and `fetch` in both protocol eras: what ChatGPT's connectors expect, and what they must not receive."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
from assistant import ERAS, call, connected, refusal, result
from memory_store import MemoryStore
from older_index import make_older_index

from semsearch import Index, WordHashEncoder
from semsearch.errors import UsageError
from semsearch.mcp.budget import estimate_tokens
from semsearch.mcp.server import create_mcp
from semsearch.mcp.shelf import page_url

PAGES = "https://search.example.org/"

EACH_ERA = pytest.mark.parametrize("era", ERAS)


@EACH_ERA
def test_a_document_is_found_by_its_own_words_and_fetched(sample, era):
    server = create_mcp({"sample": sample}, public_url=PAGES)
    stored = sample.documents(["gardening-015"])["gardening-015"]
    found = call(server, "search", era, query=stored.text)
    assert found["results"][0] == {
        "id": "gardening-015",
        "title": "Houseplants that droop in wet soil",
        "url": f"https://search.example.org/doc/gardening-015?chars=0-{len(stored.text)}#passage",
    }
    assert all(set(one) == {"id", "title", "url"} and all(one.values()) for one in found["results"])
    fetched = call(server, "fetch", era, id="gardening-015")
    assert fetched.pop("metadata")["topic"] == "gardening"
    assert fetched == {
        "id": "gardening-015",
        "title": "Houseplants that droop in wet soil",
        "text": stored.text,
        "url": "https://search.example.org/doc/gardening-015",
    }


@EACH_ERA
def test_nonsense_finds_nothing_and_the_answer_says_so(sample, era):
    found = call(create_mcp({"sample": sample}), "search", era, query="qqzzyy blorp")
    assert found["results"] == []
    assert found["note"].startswith("Nothing in the index is relevant")


def test_every_id_that_is_found_can_be_fetched_and_its_address_read(odd):
    server = create_mcp({"odd": odd})
    words = {"axolotls": "../a b/c?d#chars=1-2:é", "wombats": "untitled", "otters": "attack"}
    for word, doc_id in words.items():
        (found,) = call(server, "search", query=word)["results"]
        assert (found["id"], call(server, "fetch", id=doc_id)["id"]) == (doc_id, doc_id)
        text = odd.documents([doc_id])[doc_id].text
        assert call(server, "fetch", id=found["id"])["text"] == text
        read = connected(server, lambda client, url=found["url"]: client.read_resource(url))
        assert read.contents[0].text == text


def test_the_address_is_the_documents_own_where_it_has_one(odd):
    for url in ("", PAGES):
        server = create_mcp({"odd": odd}, public_url=url)
        assert call(server, "search", query="pangolins")["results"][0]["url"] == "https://example.org/pangolin"
        assert call(server, "fetch", id="web")["url"] == "https://example.org/pangolin"
    assert call(server, "search", query="bilbies")["results"][0]["url"] == f"{PAGES}doc/far?chars=0-20#passage", (
        "not a long one"
    )
    linked = create_mcp({"odd": odd}, link=lambda *place: f"https://x.example/{place}")
    found = call(linked, "search", query="wombats")["results"][0]
    assert found["url"] == "https://x.example/('odd', 'untitled', 0, 27)"
    assert found["title"] == "untitled"


def test_a_long_document_is_fetched_around_what_was_found_and_says_how_to_read_on(odd):
    server = create_mcp({"odd": odd})
    found = call(server, "search", query="nothing at all: the quokka sleeps in the fig tree")["results"][0]
    assert found["id"].startswith("long#chars=")
    fetched = call(server, "fetch", id=found["id"])
    assert "The quokka sleeps in the fig tree." in fetched["text"]
    assert "quokka" not in call(server, "fetch", id="long")["text"]
    text, _, note = fetched["text"].rpartition("\n\n")
    length = len(odd.documents(["long"])["long"].text)
    start, end = (int(word) for word in note.split() if word.isdecimal())
    assert note.startswith(f"[Cut: characters {start} to {end} of {length}. To read more, call `read_document`")
    assert odd.documents(["long"])["long"].text[start:end].strip() == text.strip()


@pytest.mark.parametrize("place", ["#chars=999999999-1000000000", "#chars=0-0", "#chars=1000000000000000000-1"])
def test_a_place_beyond_a_document_shows_its_beginning_or_is_refused(odd, place):
    given = result(create_mcp({"odd": odd}), "fetch", id=f"long{place}")
    (item,) = given.content
    assert ("no document has the id" if given.is_error else "Sentence 0 speaks") in item.text


@pytest.mark.parametrize("doc_id", ["long", "attack", "controls", "lines"])
def test_no_answer_is_larger_than_an_assistant_takes(odd, doc_id):
    (item,) = result(create_mcp({"odd": odd}), "fetch", id=doc_id).content
    assert estimate_tokens(item.text) < 10_000, "above which Claude Code warns"
    assert len(item.text) < 27_000


def test_what_cannot_be_seen_is_left_out(odd):
    assert "\u202e" in odd.documents(["controls"])["controls"].text
    assert "\u202e" not in call(create_mcp({"odd": odd}), "fetch", id="controls")["text"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "the query is empty"),
        (" \n", "the query is empty"),
        ("word " * 100_000, "500,000 characters, but the limit is 4,000"),
    ],
)
def test_an_impossible_query_is_refused_with_what_to_do(sample, query, said):
    assert said in refusal(create_mcp({"sample": sample}), "search", query=query)
    assert said in refusal(create_mcp({"sample": sample}), "search_documents", query=query)


def test_a_nul_byte_is_no_word_and_no_id(sample):
    server = create_mcp({"sample": sample})
    assert call(server, "search", query="\0 qqzzyy\0blorp")["results"] == []
    assert "no document has the id 'a\\x00b'" in refusal(server, "fetch", id="a\0b")


def test_an_unknown_id_is_refused_with_what_to_do(sample):
    said = refusal(create_mcp({"sample": sample}), "fetch", id="nope" * 1_000)
    assert "use an id from the results of `search`" in said
    assert len(said) < 300


@pytest.mark.parametrize("arguments", [{}, {"query": 7}, {"query": None}, {"query": ["a"]}])
def test_wrong_arguments_are_errors_of_the_call(sample, arguments):
    assert "query" in refusal(create_mcp({"sample": sample}), "search", **arguments)


def test_fields_that_a_client_adds_are_let_pass(sample):
    assert call(create_mcp({"sample": sample}), "search", query="qqzzyy", top_k=3)["results"] == []


# --- several indexes


def test_ids_of_several_indexes_tell_them_apart(sample, odd):
    server = create_mcp({"one": sample, "two": odd}, public_url=PAGES)
    (found,) = call(server, "search", query="axolotls gills")["results"]
    assert found["id"] == "two:../a b/c?d#chars=1-2:é"
    assert call(server, "fetch", id=found["id"])["text"] == "Axolotls keep their gills for life."
    assert call(server, "fetch", id="one:gardening-015")["title"] == "Houseplants that droop in wet soil"
    for wrong in ("gardening-015", "two:gardening-015", "three:gardening-015", "one:", ":"):
        assert "no document has the id" in refusal(server, "fetch", id=wrong)
    assert call(server, "fetch", id="two:untitled")["url"] == "https://search.example.org/doc/untitled?index=two"


def test_the_surest_hits_of_all_indexes_come_first(sample, odd):
    wombats = odd.documents(["untitled"])["untitled"].text
    query = f"{wombats} {sample.documents(['gardening-015'])['gardening-015'].text[:60]}"
    found = call(create_mcp({"one": sample, "two": odd}), "search", query=query)["results"]
    by_hand = sorted(
        (
            (hit.confidence, f"{name}:{hit.doc_id}")
            for name, index in (("one", sample), ("two", odd))
            for hit in index.search(query, 10, min_confidence=0.5)
        ),
        key=lambda one: -one[0],
    )[:10]
    assert [one["id"].partition("#")[0] for one in found] == [doc_id for _, doc_id in by_hand]
    assert {doc_id.partition(":")[0] for _, doc_id in by_hand} == {"one", "two"}


def test_the_same_passage_in_several_documents_is_one_result():
    documents = [{"_id": f"{n}/README", "text": "Feed the owl once a day."} for n in range(4)]
    documents += [{"_id": f"other {n}", "text": f"The heron number {n} waits in the reeds."} for n in range(20)]
    with Index.open(MemoryStore(), create=True, encoder=WordHashEncoder(4_096)) as index:
        index.add(documents)
        found = call(create_mcp({"birds": index}), "search", query="feed the owl once a day")["results"]
    (readme,) = (one for one in found if "README" in one["id"])
    assert (readme["id"], readme["similar"]) == ("0/README", ["1/README", "2/README", "3/README"])


@pytest.mark.parametrize("several", [False, True])
def test_nearly_the_same_documents_are_one_result_that_names_some_of_them(sample, several):
    poem = " ".join(f"heron{n}" for n in range(50))
    documents = [{"_id": f"copy {n:02}", "text": f"{poem} {n}"} for n in range(40)]
    documents += [{"_id": "other", "text": f"The egret knows {poem[:110]}."}]
    documents += [{"_id": f"bread {n}", "text": f"Bread {n} takes flour, salt and time."} for n in range(150)]
    with Index.open(MemoryStore(), create=True, encoder=WordHashEncoder(4_096)) as index:
        index.add(documents)
        server = create_mcp({"birds": index, "sample": sample} if several else {"birds": index})
        found = call(server, "search", query=poem[:200])["results"]
        (copy,) = (one for one in found if "copy" in one["id"])
        assert any("other" in one["id"] for one in found), "which the copies do not crowd out"
        assert len(copy["similar"]) == len({copy["id"], *copy["similar"]}) - 1 == 10
        for one in copy["similar"]:
            assert call(server, "fetch", id=one)["text"].startswith(poem)


@pytest.mark.parametrize("name", ["", "a:b", "a/b", "-a", "a b", "é", "a" * 101])
def test_a_name_that_would_not_fit_into_an_id_is_refused(sample, name):
    with pytest.raises(UsageError, match="expected letters"):
        create_mcp({name: sample})


def test_a_server_without_an_index_is_refused():
    with pytest.raises(UsageError, match="no index to serve"):
        create_mcp({})


# --- indexes that are not fully usable


def test_an_index_that_was_never_measured_is_searched_and_says_so(tmp_path):
    folder = make_older_index(tmp_path / "older", [{"_id": "1", "text": "herons wait"}, {"_id": "2", "text": "bread"}])
    with Index.open(folder) as index:
        server = create_mcp({"older": index})
        found = call(server, "search", query="herons")
        assert found["results"][0]["id"] == "1"
        assert "has no confidence scores" in found["note"]
        rich = call(server, "search_documents", query="herons")
        assert rich["excerpts"][0]["id"] == "1"
        assert "has no confidence scores" in rich["note"]
        assert "min_confidence" in refusal(server, "search_documents", query="herons", min_confidence=0.5)


def test_until_a_model_is_loaded_words_are_searched_and_the_answer_says_so(sample):
    warm: set[str] = set()
    server = create_mcp({"sample": sample}, is_warm=warm.__contains__)
    nothing = call(server, "search", query="qqzzyy blorp")
    assert nothing == {"results": [], "note": nothing["note"]}
    assert "keyword search" in nothing["note"]
    assert "Nothing" not in nothing["note"], "which words alone do not tell"
    words = {hit.doc_id for hit in sample.search("root rot", 10, mode="keyword", min_confidence=0.5)}
    assert {one["id"] for one in call(server, "search", query="root rot")["results"]} == words != set()
    assert call(server, "list_indexes")["indexes"][0]["mode"] == "keyword"
    assert call(server, "search_documents", query="root rot", mode="dense")["mode"] == "dense"
    warm.add("sample")
    assert call(server, "search_documents", query="root rot")["mode"] == "hybrid"
    assert "words" not in json.dumps(call(server, "search", query="root rot"))


@pytest.mark.parametrize(
    "doc_id", ["a", "a b/c?d#é.md", "..", "../a", "a//b", "/etc", "./a", "a/..", "%2e%2e/a", "a&id=b"]
)
def test_the_address_of_a_page_names_the_document_whatever_its_id(doc_id):
    url = urljoin("https://h/x/", page_url("https://h/x", "notes", doc_id, 3, 9))  # as a browser resolves it
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    assert parts.path.startswith("/x/doc/")
    assert unquote(parts.path.removeprefix("/x/doc/")) or asked.pop("id")[0] == doc_id
    assert unquote(parts.path.removeprefix("/x/doc/")) in ("", doc_id)
    assert (asked, parts.fragment) == ({"index": ["notes"], "chars": ["3-9"]}, "passage")
