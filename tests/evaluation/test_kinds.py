"""Tests for recognizing the kind of data at a path and for refusing options of other kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import jsonl
from layouts import DOCUMENTS, beir, transfer_tasks, two_tasks, write_labeled, write_pairs

from semsearch import Chunking, ReadOptions, SemsearchError
from semsearch.errors import SourceError, UsageError
from semsearch.evaluation.kinds import KINDS, OPTIONAL, kind_of, study
from semsearch.evaluation.request import Request


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_texts() -> str:
    Path("texts").mkdir()
    Path("texts/a.md").write_text("A heron.")
    return "texts"


def make_pairs() -> str:
    write_pairs("scored.tsv")
    return "scored.tsv"


def make_labeled() -> str:
    write_labeled("labeled.tsv")
    return "labeled.tsv"


def make_both() -> str:
    """Create a folder with both sentence pairs and transfer tasks, as SentEval has them."""
    two_tasks()
    transfer_tasks(".")
    return "."


def make_file(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def make_unjudged() -> str:
    """Create a folder in BEIR's layout without judgments."""
    folder = beir("unjudged")
    (folder / "qrels/test.tsv").unlink()
    (folder / "qrels").rmdir()
    return "unjudged"


def make_senteval() -> str:
    two_tasks()
    return "."


def make_year() -> str:
    Path("years/STS/STS13-en-test").mkdir(parents=True)
    return "years"


FOUND: dict[str, tuple[Any, str]] = {
    "BEIR": (lambda: str(beir("judged")), "retrieval"),
    "BEIR as a path": (lambda: beir("judged"), "retrieval"),
    "BEIR without judgments": (make_unjudged, "corpus"),
    "SentEval": (make_senteval, "sts"),
    "a year of SentEval": (make_year, "sts"),
    "pairs": (make_pairs, "sts"),
    "pairs with more columns": (lambda: make_file("a.tsv", "id\tscore\tsentence2\tsentence1\n1\t2\tb\ta\n"), "sts"),
    "pairs as CSV": (lambda: make_file("a.csv", '"sentence1","sentence2","score"\n'), "sts"),
    "pairs with a mark of UTF-8": (lambda: make_file("a.csv", "\ufeffsentence1,sentence2,score\r\n"), "sts"),
    "pairs as JSON": (
        lambda: make_file("a.jsonl", json.dumps({"sentence1": "a", "sentence2": "b", "score": 1})),
        "sts",
    ),
    "transfer tasks": (lambda: str(transfer_tasks()), "transfer"),
    "a single transfer task": (
        lambda: Path("x/MR").mkdir(parents=True) or (make_file("x/MR/rt-polarity.pos", "") and "x"),
        "transfer",
    ),
    "all of SentEval": (make_both, "sts"),
    "labels": (make_labeled, "transfer"),
    "labels as JSON": (lambda: make_file("a.jsonl", '{"sentence": "a", "label": 1, "split": 2}'), "transfer"),
    "documents with a label": (lambda: make_file("a.jsonl", '{"_id": "1", "text": "a", "label": 1}'), "corpus"),
    "documents as JSON": (lambda: make_file("a.jsonl", jsonl(DOCUMENTS).decode()), "corpus"),
    "documents as CSV": (lambda: make_file("a.csv", "id,text\n1,sentence1 sentence2 score\n"), "corpus"),
    "bad JSON": (lambda: make_file("a.jsonl", "{oops"), "corpus"),
    "deep JSON": (lambda: make_file("a.jsonl", "[" * 100_000), "corpus"),
    "a list": (lambda: make_file("a.jsonl", '["sentence1", "sentence2", "score"]'), "corpus"),
    "no text": (lambda: Path("a.tsv").write_bytes(b"\xff\xfe\x00") and "a.tsv", "corpus"),
    "empty": (lambda: make_file("a.tsv", ""), "corpus"),
    "a folder of texts": (make_texts, "corpus"),
    "standard input": (lambda: "-", "corpus"),
}


@pytest.mark.parametrize("name", FOUND)
def test_data_are_known_by_what_is_there(name: str):
    make, expected = FOUND[name]
    assert kind_of(Request(data=make())) == expected


def test_a_kind_that_is_named_is_not_looked_for():
    for kind in KINDS:
        assert kind_of(Request(data=beir(kind), kind=kind)) == kind
    with pytest.raises(UsageError, match="unknown kind 'beir'; expected one of auto, retrieval, sts, transfer, corpus"):
        kind_of(Request(data="retrieval", kind="beir"))


def make_pictures() -> str:
    Path("pictures").mkdir()
    for number in range(7):
        Path(f"pictures/{number}.png").touch()
    return "pictures"


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: "nowhere", "'nowhere' does not exist"),
        (lambda: Path("void").mkdir() or "void", "the folder 'void' is empty"),
        (make_pictures, "the folder 'pictures' contains 0.png, 1.png, 2.png, 3.png, 4.png, …"),
        (lambda: make_file("a.bin", ""), "'a.bin' is a file of no known kind"),
    ],
)
def test_data_of_no_kind_are_an_error_that_says_what_was_found_and_what_is_expected(make: Any, found: str):
    with pytest.raises(SourceError) as raised:
        kind_of(Request(data=make()))
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{found}; expected one of: a folder in BEIR's layout")
    for part in (
        "corpus.jsonl",
        "queries.jsonl",
        "qrels/",
        "STS/",
        "SICK/",
        "scored pairs",
        "MRPC/",
        "labeled texts",
        "`semsearch index`",
    ):
        assert part in line


def test_a_format_makes_a_file_with_an_unknown_ending_a_corpus():
    assert kind_of(Request(data=make_file("a.bin", "x"), reading=ReadOptions(format="text"))) == "corpus"


GIVEN: dict[str, Any] = {
    "tasks": ["STS-B"],
    "split": "dev",
    "measures": ["AP"],
    "style": "st",
    "modes": ["dense"],
    "fusion": "rrf",
    "chunking": Chunking(),
    "drop_same_id": False,
    "sample": 5,
    "check": False,
    "reading": ReadOptions(),
    "skip_bad": False,
}
"""A value for each option; FITS lists the options of each kind according to the docstring of compare_poolers."""

FITS = {
    "sts": {"tasks", "split"},
    "retrieval": {*GIVEN} - {"tasks", "sample", "check"},
    "transfer": {"tasks"},
    "corpus": {"sample", "check", "reading", "skip_bad"},
}


def test_every_option_of_some_kinds_is_tried():
    assert {*GIVEN} == OPTIONAL


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("kind", FITS)
def test_what_only_another_kind_has_is_refused(kind: str, name: str):
    data = {"sts": make_pairs, "retrieval": lambda: beir("judged"), "transfer": make_labeled, "corpus": make_texts}[
        kind
    ]()
    request = Request(data=data, model="no/such/model", **{name: GIVEN[name]})
    others = [repr(other) for other in ("retrieval", "sts", "transfer", "corpus") if name in FITS[other]]
    said = f"`{name}` applies only to data of kind {' or '.join(others)}, but '{data}' is treated as '{kind}'"
    foreign = name not in FITS[kind]
    with pytest.raises(UsageError if foreign else SemsearchError) as raised:  # otherwise the model or data fails
        study(request)
    assert (said in str(raised.value)) == foreign


def test_tasks_of_a_file_of_pairs_are_refused():
    with pytest.raises(UsageError, match=r"`tasks` applies only to a folder .*, but 'scored\.tsv' is a file of pairs"):
        study(Request(data=make_pairs(), tasks=["STS-B"]))


def test_tasks_of_a_file_of_labeled_texts_are_refused():
    said = r"`tasks` applies only to a folder of tasks, but 'labeled\.tsv' is a file of labeled texts"
    with pytest.raises(UsageError, match=said):
        study(Request(data=make_labeled(), tasks=["MR"]))
