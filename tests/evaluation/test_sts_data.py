"""Tests for STS data: published counts of the real files, small hand-written files, and errors in bad ones."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.evaluation.sts_data import TASKS, holds_pairs, load_sts

PAIRS = {"STS12": 3108, "STS13": 1500, "STS14": 3750, "STS15": 3000, "STS16": 1186, "STS-B": 1379, "SICK-R": 4927}
"""Scored pairs of the test sets, as SentEval counts them."""


def test_the_real_test_sets_have_the_published_numbers_of_pairs(data: Path):
    tasks = load_sts(data / "sts")
    assert {task.name: sum(len(subset.first) for subset in task.subsets) for task in tasks} == PAIRS
    fifteen = {subset.name: subset.dropped for subset in tasks[3].subsets}
    assert fifteen["belief"] == 1625  # 2,000 lines, 375 of them scored
    assert all(
        0 <= subset.similarity.min() <= subset.similarity.max() <= 5 for task in tasks for subset in task.subsets
    )


def test_the_development_sets_are_those_of_two_tasks(data: Path):
    sizes = {task.name: len(task.subsets[0].first) for task in load_sts(data / "sts", split="dev")}
    assert sizes == {"STS-B": 1500, "SICK-R": 500}


def test_some_tasks_are_loaded_in_the_usual_order(data: Path):
    assert [task.name for task in load_sts(data / "sts", ["SICK-R", "STS16"])] == ["STS16", "SICK-R"]


FILES = {
    "a.tsv": 'sentence1\tsentence2\tscore\nA "heron\tA bird\t4\nA\tB\t\n',
    "a.csv": 'score,sentence1,sentence2\n4,"A ""heron",A bird\n,A,B\n',
    "a.jsonl": "\n".join(
        json.dumps(record)
        for record in (
            {"sentence1": 'A "heron', "sentence2": "A bird", "score": 4, "by": "me"},
            {"sentence1": "A", "sentence2": "B", "score": None},
        )
    ),
}


@pytest.mark.parametrize("path", [b"pairs.tsv", None, 5, ["pairs.tsv"]])
def test_what_is_no_path_is_one_line(path: Any):
    with pytest.raises(UsageError, match=r"`path` is .*; expected a path as text or pathlib\.Path"):
        load_sts(path)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_pairs_is_a_task(tmp_path: Path, name: str):
    (tmp_path / name).write_text(FILES[name])
    (task,) = load_sts(str(tmp_path / name))
    (subset,) = task.subsets
    assert (task.name, subset.first, subset.second, subset.similarity.tolist()) == (
        "a",
        ('A "heron',),
        ("A bird",),
        [4],
    )
    assert subset.dropped == 1


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ending", [str, str.upper, "{}.gz".format, "{}.GZ".format])
def test_blank_lines_gzip_and_large_letters_in_the_ending_change_nothing(tmp_path: Path, name: str, ending: Any):
    blank = {"a.tsv": ["", "  ", "\t\t"], "a.csv": ["", "  ", ",,"], "a.jsonl": ["", "  ", "\t"]}[name]
    between = "".join(f"{line}\n" for line in blank)
    lines = FILES[name].removesuffix("\n").split("\n")
    content = ("\n\n" + "".join(f"{line}\n{between}" for line in lines)).encode()
    path = tmp_path / ending(name)
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)
    assert holds_pairs(path)
    (task,) = load_sts(path)
    (subset,) = task.subsets
    assert (task.name.lower(), subset.first, subset.second, subset.dropped) == ("a", ('A "heron',), ("A bird",), 1)


@pytest.mark.parametrize(
    ("name", "row"), [("a.tsv", "A\tB\tfour"), ("a.csv", "four,A,B"), ("a.jsonl", '{"score": "x"')]
)
def test_a_bad_line_behind_blank_ones_keeps_its_number(tmp_path: Path, name: str, row: str):
    first = FILES[name].partition("\n")[0]
    (tmp_path / name).write_text(f"\n\n{first}\n\n\n{row}\n")
    with pytest.raises(RecordError, match=rf"{name}:6: "):
        load_sts(tmp_path / name)


def test_a_gzipped_file_that_is_cut_off_or_no_gzip_is_one_line(tmp_path: Path):
    path = tmp_path / "a.tsv.gz"
    whole = gzip.compress(FILES["a.tsv"].encode() * 500)
    for content in (whole[:-20], b"plain", whole[:40] + bytes(20) + whole[60:]):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"a\.tsv\.gz cannot be read: "):
            load_sts(path)


@pytest.mark.parametrize("name", FILES)
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, name: str):
    (tmp_path / name).write_text(FILES[name].replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    ((subset,),) = (task.subsets for task in load_sts(tmp_path / name))
    assert (subset.first, subset.second, subset.dropped) == (('A "heron',), ("A bird",), 1)


def test_a_quoted_line_break_stays_and_a_later_line_keeps_its_number(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text('sentence1,sentence2,score\n"a heron\nwaits","a\r\nbird",4\n', newline="")
    (subset,) = load_sts(path)[0].subsets
    assert (subset.first, subset.second) == (("a heron\nwaits",), ("a\r\nbird",))
    with path.open("a") as file:
        file.write("A,B,four\n")
    with pytest.raises(RecordError, match=r"a\.csv:5: the score is 'four'"):
        load_sts(path)


def test_without_quotes_a_line_ends_at_a_line_feed_alone(tmp_path: Path):
    path = tmp_path / "a.tsv"
    path.write_text("sentence1\tsentence2\tscore\nA\rheron\u2028waits\tB\t4\n\nC\tD\n", newline="")
    (subset,) = load_sts(path)[0].subsets
    assert (subset.first, subset.dropped) == (("A\rheron\u2028waits",), 1)


@pytest.mark.parametrize(
    ("names", "split", "said"),
    [
        (["STS17"], "test", f"unknown task 'STS17'; expected one of: {', '.join(TASKS)}"),
        (["STS12"], "dev", "task 'STS12' has no dev split; tasks with one: STS-B, SICK-R"),
        ([], "train", "unknown split 'train'; expected one of test, dev"),
    ],
)
def test_what_is_asked_for_must_be_there(tmp_path: Path, names: list[str], split: str, said: str):
    with pytest.raises(UsageError, match=said):
        load_sts(tmp_path, names, split)


def test_missing_files_are_named_with_the_place_that_was_looked_at(tmp_path: Path):
    with pytest.raises(SourceError, match=r"no .*STS.STSBenchmark.sts-test\.csv; expected SentEval's layout"):
        load_sts(tmp_path, ["STS-B"])


def test_fewer_scores_than_sentences_is_an_error(tmp_path: Path, data: Path):
    shutil.copytree(data / "sts" / "STS" / "STS13-en-test", tmp_path / "STS" / "STS13-en-test")
    gold = tmp_path / "STS" / "STS13-en-test" / "STS.gs.FNWN.txt"
    gold.write_text("".join(gold.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(SourceError, match=r"STS\.gs\.FNWN\.txt has 187 scores for 189 sentence pairs"):
        load_sts(tmp_path, ["STS13"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", "sentence1\tsentence2\nA\tB\n", "a.tsv:2: no score; expected sentence1, sentence2, score"),
        ("a.tsv", "sentence1\tsentence2\tscore\nA\tB\tfour\n", "a.tsv:2: the score is 'four'; expected a number"),
        ("a.tsv", "sentence1\tsentence2\tscore\nA\tB\tnan\n", "the score is 'nan'"),
        ("a.jsonl", '{"sentence1": "A"', "a.jsonl:1: not valid JSON"),
        ("a.csv", "sentence1,sentence2,score\nA\rB,C,4\n", "a.csv:2: expected two sentences and a score"),
        ("a.csv", f"sentence1,sentence2,score\nA,{'B' * 140_000},4\n", "a.csv:2: not valid CSV: field larger than"),
        ("a.jsonl", "[" * 100_000, "a.jsonl:1: nested too deeply"),
        ("a.jsonl", f'{{"sentence1": "A", "sentence2": "B", "score": 1{"0" * 400}}}', "a.jsonl:1: the score is 1000"),
        ("a.jsonl", "[1]", "not a JSON object"),
        ("a.jsonl", '{"sentence1": 7, "sentence2": "B", "score": 1}', "expected two sentences and a score"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, name: str, content: str, said: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(RecordError, match=said):
        load_sts(tmp_path / name)


def test_an_unknown_ending_is_refused(tmp_path: Path):
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"unknown extension; expected one of \.jsonl, \.csv, \.tsv"):
        load_sts(tmp_path / "a.xlsx")


def test_half_a_character_is_an_error_with_its_line(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"sentence1": "\\ud83d", "sentence2": "b", "score": 1}\n')
    with pytest.raises(RecordError, match=r"a\.jsonl:1: a lone surrogate"):
        load_sts(path)


def test_a_year_that_does_not_name_its_subsets_is_one_subset(tmp_path: Path):
    folder = tmp_path / "STS/STS13-en-test"
    folder.mkdir(parents=True)
    (folder / "STS.input.all.txt").write_text("a\tb\nc\td\n")
    (folder / "STS.gs.all.txt").write_text("1\n\n")
    (task,) = load_sts(tmp_path, ["STS13"])
    assert [(subset.name, subset.first, subset.dropped) for subset in task.subsets] == [("all", ("a",), 1)]
