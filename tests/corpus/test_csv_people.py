"""CSV as people and spreadsheets write it: other delimiters, no ids, texts in several columns, and bad files."""

import csv
import io
import random
import time
from pathlib import Path

import pytest

from semsearch.corpus.formats.delimiters import DELIMITERS, detect_delimiter
from semsearch.corpus.readers import ReadingWarning, ReadOptions, read_corpus, read_queries
from semsearch.errors import RecordError, UsageError
from semsearch.types import Document


def read(path: Path, content: str | bytes, **options) -> list[Document | RecordError]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_corpus(path, ReadOptions(**options)))


def written(rows: list[list[str]], delimiter: str, quoting: int = csv.QUOTE_MINIMAL) -> str:
    """Return rows as the csv module of Python writes them."""
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, quoting=quoting).writerows(rows)
    return file.getvalue()


# --- Several columns as the text ---


def test_columns_are_joined_with_their_names_and_stay_metadata(tmp_path):
    content = "id,type,address,year\n1,fiction,12 High Street,1999\n2,,Quay 3,\n"
    first, second = read(tmp_path / "a.csv", content, text_field="type, address,year")
    assert first.text == "type: fiction\naddress: 12 High Street\nyear: 1999"
    assert first.metadata == {"type": "fiction", "address": "12 High Street", "year": 1999}
    assert second.text == "address: Quay 3"


def test_one_column_is_its_value_alone(tmp_path):
    (document,) = read(tmp_path / "a.csv", "id,type,year\n1,fiction,1999\n", text_field="year")
    assert (document.text, document.metadata) == ("1999", {"type": "fiction"})


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_name_with_a_comma_is_matched_as_a_whole_first(tmp_path, ending):
    content = {"csv": 'id,"Name, full",full\n1,Ada,x\n', "jsonl": '{"id": 1, "Name, full": "Ada", "full": "x"}'}[ending]
    assert read(tmp_path / f"a.{ending}", content, text_field="Name, full")[0].text == "Ada"
    both = read(tmp_path / f"b.{ending}", content, text_field=("Name, full", "full"))[0].text
    assert both == "Name, full: Ada\nfull: x"


def test_json_lines_are_joined_too_and_may_lack_a_field(tmp_path):
    content = '{"_id": 1, "a": "x", "b": ["p", 2], "c": true}\n{"_id": 2, "a": null, "c": 1.5}\n{"_id": 3}\n'
    first, second, error = read(tmp_path / "a.jsonl", content, text_field="a,b,c")
    assert (first.text, second.text) == ("a: x\nb: p, 2\nc: true", "c: 1.5")
    assert error.line == 3
    assert 'no "a" field (found: _id)' in error.reason
    (error,) = read(tmp_path / "a.jsonl", '{"_id": 1, "a": {"x": 1}, "b": ""}', text_field="a,b")
    assert error.reason == '"a" is {"x": 1}; expected text, a number, or a list of these'


def test_a_misspelled_name_among_several_is_reported(tmp_path):
    (error,) = read(tmp_path / "a.csv", "id,type,address\n1,x,y\n", text_field="type,adress")
    assert error.reason == 'no "adress" field (found: id, type, address); specify the text field with `text_field`'
    with pytest.warns(ReadingWarning, match='no record has the field "adress", which `text_field` names'):
        read(tmp_path / "a.jsonl", '{"id": 1, "type": "x", "address": "y"}', text_field="type,adress")


@pytest.mark.parametrize("given", [(), ("a", 1), 5, ["a"]])
def test_an_unsuitable_text_field_is_an_error(given):
    with pytest.raises(UsageError, match="`text_field` is"):
        ReadOptions(text_field=given)


SUGGESTIONS = {
    "a.csv": "id,name,description,year\n1,Red Scarf,warm and soft wool for winter,2001\n2,Hat,a felt hat,1999\n",
    "b.csv": "id;name;url;description\n1;Red Scarf;http://a.b/c;warm wool\n",
    "c.jsonl": '{"id": 1, "name": "Red Scarf", "description": "warm and soft", "year": 2001}',
}


@pytest.mark.parametrize("name", SUGGESTIONS)
def test_without_a_text_column_the_error_suggests_columns(tmp_path, name):
    (error,) = read(tmp_path / name, SUGGESTIONS[name])
    assert error.reason.endswith(
        "specify the text field with `text_field`, for example `text_field`='name,description'"
    )


# --- Ids ---


def ids(documents: list[Document]) -> dict[str, str]:
    return {document.text: document.doc_id for document in documents}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_an_id_depends_on_the_content_of_its_row_alone(tmp_path, ending):
    def made(*rows: tuple[str, str]) -> str:
        if ending == "csv":
            return "text,year\n" + "".join(f"{text},{year}\n" for text, year in rows)
        return "".join(f'{{"text": "{text}", "year": {year}}}\n' for text, year in rows)

    before = ids(read(tmp_path / f"a.{ending}", made(("one", "1"), ("two", "2"))))
    after = ids(read(tmp_path / f"a.{ending}", made(("new", "0"), ("two", "2"), ("one", "1"))))
    assert before == {text: after[text] for text in before}
    assert len(set(after.values())) == 3
    assert all(len(one.removeprefix(f"a.{ending}:")) == 12 for one in after.values())
    assert after["one"] != ids(read(tmp_path / f"a.{ending}", made(("one", "3"))))["one"]


def test_an_id_outlives_another_delimiter_order_of_columns_and_an_empty_column(tmp_path):
    (plain,) = read(tmp_path / "a.csv", "text,year\none,1\n")
    (other,) = read(tmp_path / "a.csv", '"year";"note";"text"\n1;;one\n')
    assert plain.doc_id == other.doc_id


def test_the_id_is_the_hash_of_the_fields(tmp_path):
    (document,) = read(tmp_path / "a.csv", "text,year\none,1\n")
    # printf '{"text": "one", "year": "1"}' | sha256sum
    assert document.doc_id == "a.csv:1357a5e8b843"


def test_repeated_rows_are_numbered(tmp_path):
    documents = read(tmp_path / "a.csv", "text\none\ntwo\none\none\n")
    first, _, second, third = (document.doc_id for document in documents)
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_an_id_column_that_is_named_must_exist(tmp_path):
    for name, content in (("a.csv", "ident,text\n1,x\n"), ("a.jsonl", '{"ident": 1, "text": "x"}')):
        (error,) = read(tmp_path / name, content, id_field="idnet")
        assert error.reason == 'no "idnet" field (found: ident, text); specify the id field with `id_field`'


def test_in_json_lines_with_ids_a_record_without_one_is_bad(tmp_path):
    first, error = read(tmp_path / "a.jsonl", '{"_id": 1, "text": "x"}\n{"text": "y"}\n')
    assert (first.doc_id, error.line) == ("1", 2)
    assert 'no "_id" field' in error.reason


def test_queries_need_their_ids(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"text": "herons"}\n')
    with pytest.raises(RecordError, match='no "_id" field'):
        list(read_queries(tmp_path / "q.jsonl"))


# --- Delimiters ---

NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("delimiter", DELIMITERS, ids=NAMES.get)
def test_csv_with_any_delimiter_and_with_all_of_them_in_its_cells(tmp_path, delimiter, quoting):
    rows = [
        ["id", "Name, full", "text", "price"],
        *([str(n), "a; b", "one, two;\nthree | four\tfive", "3,50"] for n in range(3)),
    ]
    documents = read(tmp_path / "a.csv", written(rows, delimiter, quoting))
    assert [document.text for document in documents] == [rows[1][2]] * 3
    assert documents[0].metadata == {"Name, full": "a; b", "price": "3,50"}


def test_the_delimiter_of_random_tables_is_found(tmp_path):
    pick = random.Random(1)
    words = ["heron,", "reeds;", "and", "a|b", "3,5", '"so"', "it's", "12:30", "pond"]
    wrong = 0
    for number in range(200):
        delimiter, width = pick.choice(",;|\t"), pick.randint(2, 6)
        rows = [[f"column {n}" for n in range(width)]]
        rows += [
            [" ".join(pick.choices(words, k=pick.randint(1, 20))) for _ in range(width)] for _ in range(number % 9)
        ]
        lines = written(rows, delimiter).splitlines(keepends=True)
        wrong += detect_delimiter(lines, ",", lambda header: False, complete=True) != delimiter
    assert wrong == 0


def test_the_columns_that_are_needed_decide():
    lines = ["a,b;text\n", "1,x;y\n", "2,z;w\n"]
    assert detect_delimiter(lines, ",", lambda header: False, complete=True) == ","
    assert detect_delimiter(lines, ",", lambda header: "text" in header, complete=True) == ";"


def test_the_delimiter_that_fits_more_rows_wins():
    lines = ["Name;Remarks, if any\n", "Smith;tall, thin\n", "Jones;short\n", "Miller;\n"]
    assert detect_delimiter(lines, ",", lambda header: False, complete=True) == ";"


def test_a_sample_that_ends_inside_a_cell_is_no_hindrance(tmp_path):
    rows = [["id", "text"], ["1", "line, and line;\n" * 100], ["2", "x"]]
    first, second = read(tmp_path / "a.csv", written(rows, ";"))
    assert (len(first.text), second.text) == (1600, "x")


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", "text\na; b\n", "a; b"),
        ("a.csv", "text,note|s\na|b,c\n", "a|b"),
        ("a.tsv", "text\tnote,s\na,b;c\td\n", "a,b;c"),
        ("a.tsv", "id,text\n1,a\n2,b\n", "a"),
        ("a.tsv", "text\na; b\n", "a; b"),
    ],
)
def test_the_usual_delimiter_stays_unless_another_one_is_clear(tmp_path, name, content, text):
    assert read(tmp_path / name, content)[0].text == text


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("line", "delimiter"), [("sep=;", ";"), ('"sep=^"', "^"), ("SEP=\t", "\t"), ("sep=,", ",")])
def test_excels_line_declares_the_delimiter_and_is_skipped(tmp_path, mark, line, delimiter):
    content = f"{mark}{line}\r\nid{delimiter}text\r\n\r\n1{delimiter}x\r\n2\r\n".encode()
    for encoded in (content, content.decode("utf-8-sig").encode("utf-16")):
        document, error = read(tmp_path / "a.csv", encoded)
        assert (document.text, document.source) == ("x", f"{tmp_path}/a.csv:4")
        assert (error.line, error.reason) == (5, "expected 2 columns, as in the header, got 1")


def test_the_lines_of_errors_are_right_behind_cells_with_line_breaks(tmp_path):
    good, error = read(tmp_path / "a.csv", 'id;text\n1;"a\nb\nc"\n2;x;y\n')
    assert (good.source, error.line) == (f"{tmp_path}/a.csv:2", 5)


# --- Bad files ---


def test_10_000_columns_are_fine(tmp_path):
    header = ["id", "text", *(f"column {n}" for n in range(10_000))]
    rows = [[str(n), "some text", *["v"] * 10_000] for n in range(5)]
    started = time.perf_counter()
    documents = read(tmp_path / "a.csv", written([header, *rows], ";"))
    assert [len(document.metadata) for document in documents] == [10_000] * 5
    assert time.perf_counter() - started < 5
    (error,) = read(tmp_path / "b.csv", written([header[2:], rows[0][2:]], ";"))
    assert len(str(error)) < 500


def test_a_cell_of_50_mb_is_fine_and_one_beyond_the_bound_an_error(tmp_path):
    cell = "word " * 10_000_000
    first, second = read(tmp_path / "a.csv", f'id,text\n1,"{cell}"\n2,x\n')
    assert (first.text == cell, second.text) == (True, "x")
    error, second = read(tmp_path / "b.csv", f'id,text\n1,"{cell}{cell[:20_000_000]}"\n2,x\n')
    assert (error.line, second.text) == (2, "x")
    assert error.reason == "the line is longer than 67108864 bytes; split the document"


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", 1, "no header; expected column names on the first line"),
        ("\n\n", 1, "no header"),
        ("sep=;\n", 1, "no header"),
        ("a;text;a\n1;2;3\n", 1, "the header repeats a column name: a; rename one"),
        (
            "id;text\n1;x\n".encode("utf-16-le"),
            1,
            "a NUL character in the header; expected text in",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_one_error(tmp_path, content, line, reason):
    (error,) = read(tmp_path / "a.csv", content)
    assert error.line == line
    assert error.reason.startswith(reason)


def test_a_header_alone_has_no_documents(tmp_path):
    assert read(tmp_path / "a.csv", "name;text\n") == []
