"""Test `compare_poolers` in scripts, notebooks and the command: every form of the result has the same numbers."""

from __future__ import annotations

import csv
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from command import call, jsonl
from fakes import tiny_checkpoint
from layouts import DOCUMENTS, SCORED, beir, write_labeled, write_pairs
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

from semsearch import CacheWarning, PoolerComparison, ReadOptions, compare_poolers
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.request import EXPECTED, Request

pytestmark = pytest.mark.usefixtures("one_thread")

POOLERS = ("mean", "cls")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "model", head=False))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs("scored.tsv")
    beir("judged")
    write_labeled("labeled.tsv")
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))


Compare = Callable[..., PoolerComparison]

DATA = {
    "scored.tsv": ("sts", "--data"),
    "judged": ("retrieval", "--data"),
    "labeled.tsv": ("transfer", "--data"),
    "notes.jsonl": ("corpus",),
}
"""Data to compare on, with the subcommand and options for it."""

EACH = pytest.mark.parametrize("data", DATA)


@pytest.fixture
def compare(model: str) -> Compare:
    """Return a function that compares two poolers of a small model; keyword arguments override the defaults."""

    def compare(data: str | Path, **wishes: Any) -> PoolerComparison:
        return compare_poolers(data, **{"poolers": POOLERS, "model": model, **wishes})

    return compare


def command(data: str, model: str, *words: object) -> Any:
    return call("eval", *DATA[data], data, "--model", model, "--poolers", ",".join(POOLERS), *words)


def without_times(text: str) -> str:
    return re.sub(r"in [\d.]+ s\b", "in … s", text)


# --- one result for all


@EACH
def test_scoring_is_told_row_by_row_and_geometry_likewise(data: str, compare: Compare):
    told: list[tuple[int, int]] = []
    result = compare(data, scored=lambda *counts: told.append(counts))
    rows = len(result.candidates)
    assert rows == (5 if data == "judged" else 2)
    assert told == [(number, rows) for number in range(rows + 1)]
    told.clear()
    result.report(geometry=True)
    assert told == [(0, 2), (1, 2), (2, 2)]


@EACH
def test_a_row_with_the_same_vectors_counts_once_in_the_correction_and_a_note_says_so(data: str, compare: Compare):
    alone = compare(data, poolers=["mean", "cls", "max"])
    twice = compare(data, poolers=["mean", "mean-sqrt-len", "cls", "max"])
    place = alone.table.columns.index(alone.study.column)
    for label, cells in alone.table.rows.items():
        ours = twice.table.rows[label][place]
        assert (ours.value, ours.p, ours.best, ours.tied) == pytest.approx(
            (cells[place].value, cells[place].p, cells[place].best, cells[place].tied)
        )
    assert not [note for note in alone.notes if "one row in the correction" in note]
    (note,) = [note for note in twice.notes if "one row in the correction" in note]
    assert "mean-sqrt-len is mean" in note
    assert ("mean-sqrt-len, hybrid is mean, hybrid" in note) == (data == "judged")


FORMS = ("", "--markdown", "--latex")


@pytest.mark.parametrize("form", FORMS)
@EACH
def test_a_table_says_what_its_numbers_are_and_what_its_columns_ask(data: str, form: str, model: str):
    done = command(data, model, *form.split())
    measure, explained = {
        "scored.tsv": ("Spearman x 100", ""),
        "judged": ("nDCG@10", ""),
        "labeled.tsv": ("accuracy x 100", "each value is that of a logistic regression"),
        "notes.jsonl": ("nDCG@10", "sentence: the query is one sentence, the answer the rest of its passage"),
    }[data]
    assert measure in next(line for line in done.out.splitlines() if data.split(".")[0] in line or "@10" in line)
    assert explained in done.err


@EACH
def test_it_says_what_the_command_says(data: str, compare: Compare, model: str):
    result, done = compare(data, cache_mb=0), command(data, model, "--cache-mb", 0)
    heading, *lines = str(result).splitlines()
    assert heading == result.study.tables[0].name
    timed = DATA[data][0] == "retrieval"
    rows = [re.split("  +", line) for line in lines[: lines.index("")]]
    table = done.rows[: len(rows)]
    assert [row[: len(row) - timed] for row in rows] == [row[: len(row) - timed] for row in table]
    said = without_times("\n".join(lines[lines.index("") + 1 :])).split("\n\n")
    shown = [] if DATA[data][0] != "transfer" else [said.pop(0)]
    assert [part.split("\n")[0] for part in shown] == [table.name for table in result.study.tables[1:]]
    assert said[0] == without_times(done.err.removesuffix("\n"))
    assert said[1:] == (["\n".join(done.out.splitlines()[-2:])] if DATA[data][0] == "corpus" else [])


@EACH
def test_numbers_are_had_by_row_and_column(data: str, compare: Compare, model: str):
    result = compare(data)
    shown = json.loads(command(data, model, "--json").out)
    rows = shown["tables"][0]["rows"]
    assert result.rows == {label: {name: cell["value"] for name, cell in row.items()} for label, row in rows.items()}
    baseline = ["majority class"] if DATA[data][0] == "transfer" else []
    assert [*(candidate.label for candidate in result.candidates), *baseline] == [*rows]
    for label, row in rows.items():
        for column, cell in row.items():
            assert result.value(label, column) == cell["value"]
    assert result.value("mean") == rows["mean"][result.study.column]["value"]
    assert result.notes == shown["notes"] or DATA[data][0] == "retrieval"  # these notes contain times
    with pytest.raises(UsageError, match=r"unknown row 'max'; expected one of: mean; cls"):
        result.value("max")
    with pytest.raises(UsageError, match=r"unknown column 'AUC'; expected one of: "):
        result.value("mean", "AUC")


def test_the_best_is_a_candidate_with_its_pooler(compare: Compare):
    result = compare("scored.tsv")
    values = {label: row["scored"] or 0.0 for label, row in result.rows.items()}
    assert result.best.pooler == max(values, key=lambda label: values[label])
    write_pairs("flat.tsv", [("a", "b", 1.0), ("c", "d", 1.0)])
    flat = compare("flat.tsv")
    assert flat.rows == {"mean": {"flat": None}, "cls": {"flat": None}}
    with pytest.raises(UsageError, match="there is no best pooler: none has a value in column 'flat'"):
        _ = flat.best


@EACH
def test_its_repr_is_one_readable_line(data: str, compare: Compare):
    result = compare(data)
    number = f"{result.value(result.best.label):.4f}"
    (line,) = repr(result).splitlines()
    assert line.startswith(f"<PoolerComparison {DATA[data][0]}: Poolers of ")
    assert f"{len(result.candidates)} candidates, best in {result.study.column} {result.best.label!r}" in line
    assert line.endswith(f" with {number}>")


def test_progress_is_told_of_every_text_once(compare: Compare):
    told: list[int] = []
    compare("scored.tsv", progress=told.append)
    assert sum(told) == len({sentence for pair in SCORED for sentence in pair[:2]})


def test_bad_records_are_passed_over_with_a_warning_or_stop_the_comparison(compare: Compare):
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS) + b"{oops\n")
    with pytest.raises(RecordError, match=r"notes\.jsonl:9"):
        compare("notes.jsonl")
    with pytest.warns(UserWarning, match="bad records skipped: 1"):
        compare("notes.jsonl", skip_bad=True)


def test_documents_are_read_as_one_says(compare: Compare):
    Path("odd").write_bytes(jsonl([{"key": d["_id"], "name": d["title"], "body": d["text"]} for d in DOCUMENTS]))
    reading = ReadOptions(id_field="key", text_field="body", title_field="name", format="jsonl")
    odd, plain = compare("odd", reading=reading), compare("notes.jsonl")
    assert odd.rows == plain.rows
    assert odd.study.next.partition("--id-field key --text-field body --title-field name --format jsonl")[1]


def test_what_is_asked_of_retrieval_reaches_it(compare: Compare):
    def highest(fusion: str) -> float:
        runs = compare("judged", modes=["hybrid"], fusion=fusion).study.runs
        return max(score for run in runs.values() for hits in run.values() for score in hits.values())

    assert highest("rrf") <= 2 / 61, "of two rankings, each with 1 / (60 + rank)"
    assert highest("convex") > 2 / 61
    beir("two", split="dev")
    result = compare("two", split="dev", style="st", modes=["dense"], measures=["P@1", "R@2"])
    assert result.study.tables[0].name == "Retrieval (st)"
    assert result.table.columns == ("P@1", "R@2")
    assert result.study.column == "P@1"
    assert "queries without a relevant document, not counted: 1" in result.notes
    with pytest.raises(SourceError, match="available splits: dev"):
        compare("two")


# --- notebooks


@EACH
def test_a_notebook_shows_the_same_table_with_the_best_in_bold(data: str, compare: Compare):
    result = compare(data)
    page = LexborHTMLParser(result._repr_html_())
    table = page.css_first("table")
    head, *rows = [[cell.text() for cell in row.css("th, td")] for row in table.css("tr")]
    assert [head, *rows] == [
        [cell.replace("*", "").replace("~", " ~") for cell in re.split("  +", line)]
        for line in str(result).splitlines()[1 : 2 + len(rows)]
    ]
    best = {
        (row[0], column)
        for row, cells in zip(rows, table.css("tr")[1:], strict=True)
        for column, cell in zip(head[1:], cells.css("td"), strict=True)
        if cell.css_first("b")
    }
    comparison = result.table
    assert best == {
        (label, column)
        for label, cells in comparison.rows.items()
        for column, cell in zip(comparison.columns, cells, strict=True)
        if cell.best
    }
    assert not page.css("script, style, link, img")
    assert "best in its column" in page.css_first("p").text()


def test_names_from_files_are_text_in_a_notebook_and_nothing_else(compare: Compare):
    name = '<b onclick="x">&amp;<script>'
    write_pairs(f"{name}.tsv")
    page = LexborHTMLParser(compare(f"{name}.tsv")._repr_html_())
    assert [cell.text() for cell in page.css("th")][:2] == ["Spearman x 100", name]
    assert not page.css("script, [onclick]")


# --- files


def saved(result: PoolerComparison, name: str) -> str:
    result.save(name)
    return Path(name).read_text(encoding="utf-8")


@EACH
def test_every_form_that_is_saved_has_the_numbers(data: str, compare: Compare):
    result = compare(data)
    shown = json.loads(saved(result, "a.json"))
    cells = shown["tables"][0]["rows"]
    assert {label: {name: cell["value"] for name, cell in row.items()} for label, row in cells.items()} == result.rows
    assert (shown["notes"], shown["refused"], shown["seed"]) == (result.notes, {}, "0")
    first = result.study.tables[0].name
    lines = [line for line in csv.DictReader(saved(result, "a.CSV").splitlines()) if line["table"] == first]
    lines = [line for line in lines if line["column"] != "ms/query"]
    assert [(line["row"], line["column"], float(line["value"])) for line in lines] == [
        (label, column, value) for label, row in result.rows.items() for column, value in row.items()
    ]
    tokens = MarkdownIt("commonmark").enable("table").parse(saved(result, "a.md"))
    markdown = [token.content for token in tokens if token.type == "inline"]
    latex = saved(result, "a.tex")
    scale, decimals = (100, 2) if DATA[data][0] in ("sts", "transfer") else (1, 4)
    for label, row in result.rows.items():
        assert label in markdown
        for value in row.values():
            printed = f"{scale * (value or 0):.{decimals}f}"
            assert any(printed in cell for cell in markdown)
            assert printed in latex
    page = LexborHTMLParser(saved(result, "a.html"))
    assert page.css_first("h1").text() == result.study.title
    assert {*map(str, result.rows)} <= {cell.text(strip=True) for cell in page.css("th")}


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("page.pdf", UsageError, r"`path` is 'page.pdf'; expected a name that ends in one of .html, .json, .csv, .md"),
        ("page", UsageError, "`path` is 'page'; expected a name that ends in"),
        (b"page.html", UsageError, "`path` is b'page.html'; expected a path as text or pathlib.Path"),
        (None, UsageError, "`path` is None; expected a path"),
        ("nowhere/page.csv", SourceError, "cannot write 'nowhere/page.csv': No such file or directory"),
        ("judged/qrels.md", SourceError, "cannot write 'judged/qrels.md': Is a directory"),
    ],
)
def test_what_cannot_be_saved_is_one_line(path: Any, error: type[Exception], said: str, compare: Compare):
    Path("judged/qrels.md").mkdir()
    with pytest.raises(error, match=re.escape(said) if error is SourceError else said) as raised:
        compare("scored.tsv").save(path)
    assert len(str(raised.value).splitlines()) == 1


def test_a_path_may_be_a_path(compare: Compare):
    result = compare(Path("scored.tsv"))
    result.save(Path("a.md"))
    assert Path("a.md").read_text().startswith("| Spearman x 100 | scored |")
    assert result.rows == compare("scored.tsv").rows


# --- errors of one line

WRONG: dict[str, Any] = {
    **dict.fromkeys(("kind", "model", "precision", "device", "runtime", "split", "style", "fusion"), 5),
    **dict.fromkeys(("poolers", "transforms", "duel", "tasks", "measures", "modes"), "mean"),
    **dict.fromkeys(("max_tokens", "cache_mb", "seed", "sample"), 1.5),
    **dict.fromkeys(("simcse_names", "layers", "drop_same_id", "check", "skip_bad"), 1),
    "similarity": 1,
    **dict.fromkeys(("progress", "scored", "chunking", "reading"), "often"),
    "data": b"judged",
}


def test_every_parameter_is_checked_and_has_one_default():
    parameters = inspect.signature(compare_poolers).parameters
    assert {*parameters} == {*WRONG} == {*EXPECTED, "data"}
    defaults = {one.name: one.default for one in fields(Request)}
    assert {name: one.default for name, one in parameters.items() if name != "data"} == {
        name: default for name, default in defaults.items() if name != "data"
    }


@pytest.mark.parametrize("name", WRONG)
def test_a_value_of_a_wrong_type_is_one_line_that_names_the_parameter(name: str):
    with pytest.raises(UsageError) as raised:
        compare_poolers(**{"data": "judged", "model": "no/such/model", name: WRONG[name]})
    assert str(raised.value).startswith(f"`{name}` is {WRONG[name]!r}; expected ")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("value", [None, 5, [1], {"mean": 1}, b"mean", (name for name in POOLERS)])
def test_poolers_are_a_list_of_names(value: Any):
    with pytest.raises(UsageError, match=r"`poolers` is .*; expected a list of names, such as"):
        compare_poolers("judged", poolers=value)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"poolers": []}, "no pooler given; list some in `poolers` or pass all"),
        ({"poolers": ["mean", "auto"]}, "`poolers` cannot be auto, the pooler that a checkpoint declares ("),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"seed": True}, "`seed` is True; expected a whole number"),
        ({"cache_mb": -1}, "`cache_mb` must be at least 0 MiB (0 for no cache), got -1"),
        ({"duel": ["mean"]}, "`duel` must name two rows or none, got 1"),
        ({"duel": ["mean", "max"]}, "unknown row 'max' for `duel`; expected one of: mean; cls"),
        ({"kind": "beir"}, "unknown kind 'beir'; expected one of auto, retrieval, sts, transfer, corpus"),
        ({"measures": []}, "no measure given"),
        ({"modes": []}, "no mode given"),
        (
            {"tasks": ["STS-B"]},
            "`tasks` applies only to data of kind 'sts' or 'transfer', but 'judged' is treated as 'retrieval'",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(wishes: dict[str, Any], said: str, compare: Compare):
    with pytest.raises(UsageError) as raised:
        compare("judged", **wishes)
    assert str(raised.value).startswith(said)
    assert len(str(raised.value).splitlines()) == 1


def test_a_misspelt_option_is_a_type_error():
    with pytest.raises(TypeError, match="pooler"):
        compare_poolers("judged", pooler="mean")  # type: ignore[call-arg]


def test_the_cache_that_it_uses_is_the_user_s(compare: Compare, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEMSEARCH_CACHE", str(Path("scored.tsv").resolve()))
    with pytest.warns(CacheWarning, match="is not used"):
        compare("scored.tsv", precision="float32", runtime="torch")
