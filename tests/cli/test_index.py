"""`semsearch index`: how it handles corpora and options, what it prints, and its warnings."""

from __future__ import annotations

import gzip
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from command import DOCUMENTS, HASH, call, indexed, jsonl, run
from fakes import ranking_checkpoint


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, where indexes are created in `indexes/`."""
    monkeypatch.chdir(tmp_path)


def test_index_says_what_it_did_and_where():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    first, *rest = run("index", "notes.jsonl", *HASH).ok().out.splitlines()
    assert first.startswith("4 documents in ")
    assert first.endswith(" s: 4 encoded (4 passages)")
    # Tokens (words and punctuation marks) of title and text: 1 + 7, 1 + 6, 1 + 2, 1 + 6.
    assert rest == ["no passage was truncated (25 tokens)", f"index: {Path('indexes/notes')}"]


def test_index_as_json_counts_what_was_done():
    indexed()
    changed = [DOCUMENTS[0] | {"text": "The heron left."}, DOCUMENTS[1] | {"year": 2011}, DOCUMENTS[2]]
    Path("notes.jsonl").write_bytes(jsonl(changed))
    report = call("index", "notes.jsonl", "--delete-missing", "--json").ok().json
    assert report.pop("seconds") >= 0
    assert report.pop("storage")["store_precision"] == "float32"
    assert report == {
        "index": str(Path("indexes/notes")),
        **{"documents": 3, "encoded": 1, "taken": 0, "described": 1, "unchanged": 1, "deleted": 1},
        **{"passages": 1, "truncated": 0, "tokens": 5, "tokens_lost": 0},
        **{"bad": 0, "vanished": 0, "not_deleted": 0, "empty": 0, "empty_ids": [], "vanished_ids": [], "errors": []},
        **{"textless": 0, "textless_files": [], "shards": 0, "shards_found": 0},
        **{"unknown": 0, "unknown_ids": [], "checked": 0, "unknown_language": 0, "unknown_language_ids": []},
    }


def test_index_says_in_words_what_it_did_to_known_documents():
    indexed()
    Path("notes.jsonl").write_bytes(jsonl([DOCUMENTS[1] | {"year": 2011}, DOCUMENTS[2]]))
    first = call("index", "notes.jsonl", "--delete-missing").ok().out.splitlines()[0]
    assert first.endswith(": 0 encoded, 1 with new metadata, 1 unchanged, 2 deleted")


CSV = b"_id,text\na,one\nb,two\n"
CORPORA: dict[str, tuple[str, bytes, str, set[str]]] = {
    "jsonl": ("notes.jsonl", jsonl(DOCUMENTS), "notes", {"a", "b", "c", "d"}),
    "gzip": ("notes.jsonl.gz", gzip.compress(jsonl(DOCUMENTS)), "notes", {"a", "b", "c", "d"}),
    "csv": ("table.csv", CSV, "table", {"a", "b"}),
    "a text is one document": ("lines.txt", b"one\ntwo\n", "lines", {"lines.txt"}),
    "a folder": ("folder/deep/lines.txt", b"one\ntwo\n", "folder", {"deep/lines.txt"}),
}


@pytest.mark.parametrize(("file", "content", "name", "ids"), CORPORA.values(), ids=CORPORA)
def test_an_index_is_named_after_its_corpus(file, content, name, ids):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_bytes(content)
    assert call("index", Path(file).parts[0], *HASH, "--json").ok().json["index"] == str(Path("indexes", name))
    assert {hit["doc_id"] for hit in call("query", "one", "--json").ok().json["hits"]} == ids


def test_index_reads_standard_input():
    assert run("index", "-", *HASH, "--json", stdin=jsonl(DOCUMENTS)).ok().json["documents"] == 4
    assert call("status", "-i", "indexes/stdin", "--json").ok().json["origin"] == "<stdin>"
    table = run("index", "-", *HASH, "--format", "csv", "-i", "table", "--json", stdin=CSV).ok()
    assert (table.json["index"], table.json["documents"]) == ("table", 2)


def test_several_paths_make_one_index_under_the_first_one_s_name():
    Path("first.jsonl").write_bytes(jsonl(DOCUMENTS[:1]))
    Path("second.jsonl").write_bytes(jsonl(DOCUMENTS[1:]))
    report = call("index", "first.jsonl", "second.jsonl", *HASH, "--json").ok().json
    assert (report["index"], report["documents"]) == (str(Path("indexes/first")), 4)


def test_options_name_the_fields_of_a_record():
    record = {"key": 7, "head": "Water", "body": "flows", "_id": "x", "year": 1}
    Path("odd.jsonl").write_bytes(jsonl([record]))
    call("index", "odd.jsonl", *HASH, "--id-field", "key", "--title-field", "head", "--text-field", "body").ok()
    (hit,) = call("query", "water", "--json").ok().json["hits"]
    shown = {name: hit[name] for name in ("doc_id", "title", "text", "metadata")}
    assert shown == {"doc_id": "7", "title": "Water", "text": "flows", "metadata": {"_id": "x", "year": 1}}


def test_per_line_makes_each_line_a_document():
    Path("lines.txt").write_text("one\ntwo\n")
    assert call("index", "lines.txt", *HASH, "--per-line", "--json").ok().json["documents"] == 2


LONG = " ".join(f"word{n}" for n in range(300))
"""A text of 300 tokens; the word-hash encoder sees at most 256."""


def test_truncation_is_counted_and_said():
    Path("long.jsonl").write_bytes(jsonl([{"_id": "a", "text": LONG}]))
    done = call("index", "long.jsonl", *HASH, "--on-long", "truncate").ok()
    assert "1 of 1 passage truncated: 44 of 300 tokens lost (14.7%); --on-long chunk keeps them all" in done.out


@pytest.mark.parametrize(
    ("options", "passages"),
    [
        ((), 2),
        (("--overlap", 0, "--chunk-tokens", 100), 3),
        (("--overlap", 50, "--chunk-tokens", 100), 5),
        (("--max-tokens", 50, "--overlap", 0), 6),
    ],
)
def test_long_documents_become_passages_of_the_length_asked_for(options, passages):
    Path("long.jsonl").write_bytes(jsonl([{"_id": "a", "text": LONG}]))
    report = call("index", "long.jsonl", *HASH, *options, "--json").ok().json
    assert (report["passages"], report["truncated"]) == (passages, 0)


def test_the_title_is_encoded_with_the_text_unless_it_is_left_out():
    indexed()
    call("index", "notes.jsonl", *HASH, "--no-title", "-i", "bare").ok()
    words = ("query", "kettle", "--mode", "dense")
    scores = [
        {hit["doc_id"]: hit["score"] for hit in call(*words, "-i", folder, "--json").ok().json["hits"]}
        for folder in ("indexes/notes", "bare")
    ]
    # `Kettle Fill it, then wait.` has five words.
    assert [score["d"] for score in scores] == [pytest.approx(1 / math.sqrt(5)), 0]
    assert call("status", "-i", "bare", "--json").ok().json["chunking"]["title"] is False


def test_a_rerun_without_options_goes_on_with_those_of_the_index():
    indexed("notes", DOCUMENTS, "--model", "hash:32", "--chunk-tokens", "20", "--overlap", "3", "--no-title")
    report = call("index", "notes.jsonl", "--json").ok().json
    assert (report["encoded"], report["unchanged"]) == (0, 4)
    status = call("status", "--json").ok().json
    assert status["encoder"]["model"] == "hash:32"
    assert status["chunking"] == {"on_long": "chunk", "tokens": 20, "overlap": 3, "title": False, "sections": True}


def test_options_of_the_encoder_arrive_and_are_kept(checkpoint: Callable[..., Path]):
    model = checkpoint()
    asked = {"pooler": "max", "max_tokens": 32, "query_prefix": "q: ", "passage_prefix": "p: ", "precision": "float32"}
    options = [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", value)]
    indexed("notes", DOCUMENTS, "--model", model, *options, "--dim", 16, "--transform", "whiten:3", "--device", "cpu")
    assert call("index", "notes.jsonl", "--refit", "--json").ok().json["unchanged"] == 4
    status = call("status", "--json").ok().json
    assert status["transform"] == "fitted"
    expected = {**asked, "model": str(model), "transform": "whiten:3", "dim": 16}
    assert {name: status["encoder"][name] for name in expected} == expected
    assert len(call("query", "water", "--device", "cpu", "--json").ok().json["hits"]) == 4


def test_simcse_names_are_read_as_simcse_means_them(checkpoint: Callable[..., Path]):
    indexed("notes", DOCUMENTS, "--model", checkpoint(), "--pooler", "cls", "--simcse-names")
    assert call("status", "--json").ok().json["encoder"]["pooler"] == "pooler-output"


POOLING = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
}


ENGLISH = [document for document in DOCUMENTS if document["_id"] != "c"]


def test_a_warning_is_one_line_on_standard_error(checkpoint: Callable[..., Path]):
    Path("notes.jsonl").write_bytes(jsonl(ENGLISH))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = call("index", "notes.jsonl", "--model", checkpoint(files=POOLING), "--pooler", "cls", "--json")
    assert done.json["documents"] == 3
    assert done.err.startswith("warning: ")
    assert done.err.count("\n") == 1
    assert all(name in done.err for name in ("'mean'", "'cls'"))


@pytest.mark.slow
def test_the_default_model_warns_of_another_pooler_than_its_own():
    Path("notes.jsonl").write_bytes(jsonl(ENGLISH))
    done = run("index", "notes.jsonl", "--pooler", "cls")
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert done.err.startswith("warning: ")
    assert all(name in done.err for name in ("'mean'", "'cls'"))


@pytest.mark.filterwarnings("always::semsearch.CheckpointWarning")
def test_similarity_is_an_option_that_status_shows_and_an_index_keeps():
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))
    model = str(ranking_checkpoint(Path("tiny"), "euclidean"))
    wishes = ("--model", model, "--runtime", "torch", "--device", "cpu")
    call("index", "notes.jsonl", *wishes, "--similarity", "cosines").fails(
        2, "--similarity is 'cosines'; expected auto, cosine, dot, euclidean"
    )
    told = call("index", "notes.jsonl", *wishes, "--similarity", "dot")
    assert (told.code, "declares the similarity function 'euclidean', but 'dot' is used" in told.err) == (0, True)
    assert ["encoder.similarity", "dot"] in call("status").ok().rows
    call("index", "notes.jsonl", "--similarity", "dot").ok()  # the same again
    refused = call("index", "notes.jsonl", "--similarity", "cosine")
    refused.fails(1, "was built with another encoder: it has similarity dot, not cosine")
    (hit,) = call("query", "water", "-k", 1, "--mode", "dense", "--json").ok().json["hits"]
    assert hit["kind"] == "dot"
    assert call("query", "water", "-k", 1, "--mode", "dense", "--explain").ok().rows[1][-2].startswith("meaning: dot ")
    moved = call("reencode", "--similarity", "auto", "--runtime", "torch").ok().out.splitlines()[0]
    assert moved.endswith(" s")
    assert "(pooler mean, similarity dot) to" in moved
    assert "(pooler mean, similarity euclidean) in" in moved
