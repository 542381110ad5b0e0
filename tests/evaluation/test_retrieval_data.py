"""Tests for retrieval data in BEIR's layout: hand-written folders, errors in bad ones, and counts of real ones."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from semsearch.corpus.readers import ReadOptions
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.kinds import kind_of
from semsearch.evaluation.request import Request
from semsearch.evaluation.retrieval_data import load_retrieval, read_qrels
from semsearch.types import Document, Query

HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a folder with three queries, the second without judgments, and judgments of a query that is missing."""
    folder = tmp_path / "birds"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "Heron", "text": "A bird that waits.", "metadata": {}}\n'
        '{"_id": "d2", "title": "", "text": "A loaf."}\n'
    )
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "who waits?", "metadata": {"from": "me"}}\n'
        '{"_id": "q2", "text": "what is this?"}\n'
        '{"_id": 3, "text": "bread"}\n'
    )
    (folder / "qrels" / "test.tsv").write_text(f"{HEADER}3\td2\t2\nq9\td1\t1\nq1\td1\t1\nq1\td2\t0\nq1\tgone\t1\n")
    return folder


def qrels_of(folder: Path, text: str | bytes) -> dict[str, dict[str, int]]:
    path = folder / "some.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_qrels(path)


def test_a_folder_by_hand_has_its_documents_its_judged_queries_and_their_judgments(folder: Path):
    found = load_retrieval(folder)
    assert found.name == "birds"
    assert found.queries == (Query("q1", "who waits?"), Query("3", "bread"))  # in file order
    assert list(found.qrels.items()) == [("q1", {"d1": 1, "d2": 0, "gone": 1}), ("3", {"d2": 2})]  # in the same order
    assert (found.unjudged, found.unknown_queries) == (1, ("q9",))
    first, second = found.documents()
    assert (first.doc_id, first.title, first.text, first.metadata) == ("d1", "Heron", "A bird that waits.", {})
    assert (second.doc_id, second.title, second.text) == ("d2", "", "A loaf.")
    assert list(found.documents()) == [first, second]  # it can be read again


def test_a_path_may_be_text_and_nothing_but_a_path(folder: Path):
    assert load_retrieval(str(folder)) == load_retrieval(folder)
    assert read_qrels(str(folder / "qrels/test.tsv")) == read_qrels(folder / "qrels/test.tsv")
    for path in (b"birds", None, 5):
        with pytest.raises(UsageError, match=r"`folder` is .*; expected a path as text or pathlib\.Path"):
            load_retrieval(path)


def test_the_corpus_is_read_as_it_is_wished(folder: Path):
    (folder / "corpus.jsonl").write_text('{"key": "d1", "body": "A heron."}\n{oops\n{"key": "d2", "body": "A loaf."}\n')
    options = ReadOptions(id_field="key", text_field="body")
    read = load_retrieval(folder, options=options, skip_bad=True).documents()
    assert [(document.doc_id, document.text) for document in read] == [("d1", "A heron."), ("d2", "A loaf.")]
    with pytest.raises(RecordError, match=r"corpus\.jsonl:2"):
        list(load_retrieval(folder, options=options).documents())


def test_the_name_is_that_of_the_folder_from_within_it_too(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    assert load_retrieval(Path()).name == "birds"


def test_another_split_has_judgments_of_its_own(folder: Path):
    (folder / "qrels" / "dev.tsv").write_text(f"{HEADER}q2\td1\t1\n")
    found = load_retrieval(folder, "dev")
    assert (found.queries, found.qrels, found.unjudged) == ((Query("q2", "what is this?"),), {"q2": {"d1": 1}}, 2)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named_with_its_place_and_the_layout(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(SourceError) as caught:
        load_retrieval(folder)
    layout = "corpus.jsonl, queries.jsonl, qrels/test.tsv"
    assert str(caught.value) == f"no {folder / name}; expected BEIR's layout: {layout}, each optionally with .gz"


def test_where_a_split_is_missing_the_others_are_named(folder: Path):
    (folder / "qrels" / "dev.tsv").write_text(HEADER)
    with pytest.raises(SourceError, match=r"no .*train\.tsv \(available splits: dev, test\); expected .* qrels/train"):
        load_retrieval(folder, "train")


@pytest.mark.parametrize("names", [["corpus.jsonl"], ["queries.jsonl"], ["qrels/test.tsv"], None])
def test_gzipped_files_are_read_as_plain_ones(folder: Path, names: list[str] | None):
    plain = load_retrieval(folder)
    documents = [(document.doc_id, document.title, document.text) for document in plain.documents()]
    for name in names or ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]:
        path = folder / name
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    found = load_retrieval(folder)
    assert (found.queries, found.qrels) == (plain.queries, plain.qrels)
    assert [(document.doc_id, document.title, document.text) for document in found.documents()] == documents
    assert kind_of(Request(data=folder)) == "retrieval"
    with pytest.raises(SourceError, match=r"available splits: test\)"):
        load_retrieval(folder, "dev")


def test_a_plain_file_is_read_rather_than_a_gzipped_one_beside_it(folder: Path):
    (folder / "qrels" / "test.tsv.gz").write_bytes(b"nothing")
    assert load_retrieval(folder).qrels


def test_gzipped_judgments_that_are_cut_off_are_one_line(folder: Path):
    path = folder / "qrels" / "test.tsv"
    (folder / "qrels" / "test.tsv.gz").write_bytes(gzip.compress((HEADER + "q1\td1\t1\n" * 500).encode())[:-15])
    path.unlink()
    with pytest.raises(SourceError, match=r"test\.tsv\.gz cannot be read: "):
        load_retrieval(folder)


def test_a_folder_in_the_place_of_a_file_and_a_folder_that_is_not_there_are_missing_files(folder: Path):
    (folder / "queries.jsonl").unlink()
    (folder / "queries.jsonl").mkdir()
    with pytest.raises(SourceError, match=r"no .*queries\.jsonl; expected"):
        load_retrieval(folder)
    shutil.rmtree(folder)
    with pytest.raises(SourceError, match=r"no .*corpus\.jsonl; expected"):
        load_retrieval(folder)


@pytest.mark.parametrize("text", [HEADER, f"{HEADER}q9\td1\t1\n"])
def test_judgments_of_no_query_that_is_there_are_an_error(folder: Path, text: str):
    (folder / "qrels" / "test.tsv").write_text(text)
    with pytest.raises(SourceError, match=r"no query in .*queries\.jsonl has judgments in .*test\.tsv"):
        load_retrieval(folder)


def test_a_file_of_queries_without_one_is_an_error(folder: Path):
    (folder / "queries.jsonl").write_text("\n")
    with pytest.raises(SourceError, match="contains no queries"):
        load_retrieval(folder)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"_id": "q1", "text": "again"}', "duplicate query id 'q1'"),
        ('{"_id": "q4", "text": " "}', "the query is empty"),
        ('{"_id": "q4"}', 'no "text"'),
        ("q4\twho?", "not valid JSON"),
    ],
)
def test_a_bad_query_is_named_by_file_and_line(folder: Path, line: str, said: str):
    with (folder / "queries.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(RecordError, match=rf"queries\.jsonl:4: {said}"):
        load_retrieval(folder)


def test_a_bad_document_is_raised_with_its_line_when_it_is_reached(folder: Path):
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('\n{"_id": "d3", "text": "unfinished\n{"_id": "d4", "text": "fine"}\n')
    documents = load_retrieval(folder).documents()
    assert [next(documents).doc_id, next(documents).doc_id] == ["d1", "d2"]
    with pytest.raises(RecordError, match=r"corpus\.jsonl:4: not valid JSON"):
        next(documents)


def test_an_empty_corpus_has_no_documents(folder: Path):
    (folder / "corpus.jsonl").write_text("")
    assert list(load_retrieval(folder).documents()) == []


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm_anywhere(folder: Path):
    before = load_retrieval(folder)
    documents = list(before.documents())
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    after = load_retrieval(folder)
    assert after == before
    assert list(after.documents()) == documents


BY_HAND = {
    "plain": (f"{HEADER}q\td\t1\n", {"q": {"d": 1}}),
    "no last line end": (f"{HEADER}q\td\t1", {"q": {"d": 1}}),
    "blank lines": (f"{HEADER}\nq\td\t1\n\n\n", {"q": {"d": 1}}),
    "old Macintosh line ends": (f"{HEADER}q\td\t1\n".replace("\n", "\r"), {"q": {"d": 1}}),
    "nothing but a header": (HEADER, {}),
    "judged twice: the last one counts": (f"{HEADER}q\td\t1\nq\te\t1\nq\td\t3\n", {"q": {"d": 3, "e": 1}}),
    "quotes are letters": (f'{HEADER}"q\t\'d\t1\n"q"\td"d\t2\n', {'"q': {"'d": 1}, '"q"': {'d"d': 2}}),
    "spaces and commas are letters": (f"{HEADER}a q\td, e\t1\n q\td \t2\n", {"a q": {"d, e": 1}, " q": {"d ": 2}}),
    "other columns, in another order": ("score\tby\tcorpus-id\tquery-id\n2\tme\td\tq\n", {"q": {"d": 2}}),
    "more cells than the header": (f"{HEADER}q\td\t1\tmore\tstill\n", {"q": {"d": 1}}),
    "a trailing tab everywhere": (f"{HEADER}q\td\t1\n".replace("\n", "\t\n"), {"q": {"d": 1}}),
    "zero, negative, signed, padded": (f"{HEADER}q\ta\t0\nq\tb\t-1\nq\tc\t+2 \n", {"q": {"a": 0, "b": -1, "c": 2}}),
    "ids with a line separator": (f"{HEADER}q\u2028\td\x85\x0c\t1\n", {"q\u2028": {"d\x85\x0c": 1}}),
    "numbers as ids stay text": (f"{HEADER}007\t1.0\t1\n", {"007": {"1.0": 1}}),
    "the largest gain": (f"{HEADER}q\td\t10000\nq\te\t-10000\n", {"q": {"d": 10_000, "e": -10_000}}),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_judgments_are_read_as_they_stand(tmp_path: Path, name: str):
    text, expected = BY_HAND[name]
    assert qrels_of(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "the header lacks query-id, corpus-id, score; expected query-id, corpus-id, score"),
        ("q\td\t1\n", 1, "the header lacks query-id, corpus-id, score"),  # BEIR's files have a header
        ("q1 0 d1 1\n", 1, "the header lacks query-id, corpus-id, score"),  # trec_eval's have none
        ("query-id\tcorpus-id\n", 1, "the header lacks score"),
        ("query-id,corpus-id,score\n", 1, "the header lacks query-id, corpus-id, score"),
        (f"{HEADER}q\td\t1\nq\n", 3, "expected query-id, corpus-id, score"),
        (f"{HEADER}q\td\n", 2, "the score is None; expected a whole number"),
        (f"{HEADER}q\td\t\n", 2, "the score is ''; expected a whole number"),
        (f"{HEADER}q\td\t1\nq\te\t0.5\n", 3, r"the score is '0\.5'; expected a whole number"),
        (f"{HEADER}q\td\t1.0\n", 2, r"the score is '1\.0'"),
        (f"{HEADER}q\td\tyes\n", 2, "the score is 'yes'"),
        (f"{HEADER}q\td\t10001\n", 2, "the score is '10001'; expected a whole number up to 10,000"),
        (f"{HEADER}q\td\t-10001\n", 2, "the score is '-10001'"),
        (f"{HEADER}q\td\t{10**30}\n", 2, "expected a whole number up to 10,000"),  # would overflow in trec_eval
        (f"{HEADER}q\td\t{'9' * 5000}\n", 2, "expected a whole number up to 10,000"),  # longer than int() accepts
        (f"{HEADER}\td\t1\n", 2, "expected query-id, corpus-id, score"),
        (f"{HEADER}q\t\t1\n", 2, "expected query-id, corpus-id, score"),
        (f"{HEADER}\n\nq\td\tx\n", 4, "the score is 'x'"),
        (f"{HEADER}q\t{'d' * 200_000}\t1\n", 2, "field larger than field limit"),
    ],
)
def test_a_bad_line_of_judgments_is_named(tmp_path: Path, text: str, line: int, said: str):
    with pytest.raises(RecordError, match=rf"some\.tsv:{line}: .*{said}") as caught:
        qrels_of(tmp_path, text)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize("text", [f"{HEADER}q\td\t1\n".encode("utf-16"), HEADER.encode() + b"q\xe9\td\t1\n"])
def test_judgments_that_are_not_utf_8_are_an_error(tmp_path: Path, text: bytes):
    with pytest.raises(SourceError, match=r"some\.tsv cannot be read: .*utf-8"):
        qrels_of(tmp_path, text)


def test_the_sample_has_40_queries_and_94_judgments():
    found = load_retrieval(Path(__file__).parents[2] / "corpora" / "sample")
    assert (len(found.queries), sum(map(len, found.qrels.values()))) == (40, 94)
    assert (found.name, found.unjudged, found.unknown_queries) == ("sample", 0, ())
    documents = {document.doc_id: document for document in found.documents()}
    assert {doc for judged in found.qrels.values() for doc in judged} <= documents.keys()
    assert all(isinstance(document, Document) for document in documents.values())


def test_cranfield_has_225_queries_and_1837_judgments(data: Path):
    found = load_retrieval(data / "cranfield")
    assert (len(found.queries), sum(map(len, found.qrels.values()))) == (225, 1_837)
    assert sum(1 for _ in found.documents()) == 1_400
