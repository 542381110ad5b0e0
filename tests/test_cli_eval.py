"""`semsearch eval` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import call, run
from fakes import tiny_checkpoint

PAIRS = "sentence1\tsentence2\tscore\na heron\ta bird\t4\na heron\tan egret\t5\na heron\ta loaf\t0\na\tb\t\n"


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text(PAIRS)
    tiny_checkpoint(Path("model"), head=False)


def test_the_table_has_tasks_as_columns_and_poolers_as_rows():
    done = call("eval", "sts", "--model", "model", "--data", "pairs.tsv", "--poolers", "mean,cls,pooler-output")
    assert [row[0] for row in done.rows] == ["pooler", "mean", "cls"]
    assert done.rows[0] == ["pooler", "pairs", "average"]
    assert all(abs(float(row[1])) <= 100 and row[1] == row[2] for row in done.rows[1:])
    warning, left_out = done.err.splitlines()
    assert warning.startswith("warning: pooler 'pooler-output' needs the checkpoint's own head")
    assert left_out == "left out for want of a score: 1 pairs of pairs"


def test_json_has_both_correlations_of_every_subset_and_aggregation():
    done = call("eval", "sts", "--model", "model", "--data", "pairs.tsv", "--poolers", "mean", "--json").ok().json
    assert (done["mode"], list(done["poolers"]), done["refused"]) == ("test", ["mean"], {})
    task = done["poolers"]["mean"]["tasks"]["pairs"]
    assert set(task) == {"subsets", "all", "mean", "wmean"}
    assert set(task["all"]) == {"spearman", "pearson", "n"}
    assert task["all"] == task["mean"] == task["wmean"] == task["subsets"]["pairs.tsv"]
    assert done["poolers"]["mean"]["average"] == task["all"]["spearman"]


def test_a_constant_gold_score_is_a_dash():
    Path("flat.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t1\n")
    rows = call("eval", "sts", "--model", "model", "--data", "flat.tsv", "--poolers", "mean").ok().rows
    assert rows[1] == ["mean", "–", "–"]


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("--data", "nowhere"), 1, ("no nowhere", "expected SentEval's layout")),
        (("--data", "pairs.tsv", "--poolers", "average"), 2, ("unknown pooler 'average'", "mean")),
        (("--data", "pairs.tsv", "--poolers", ","), 2, ("no pooler is named",)),
        (("--data", ".", "--tasks", "STS99"), 2, ("unknown task 'STS99'", "STS12, STS13")),
        (("--data", ".", "--mode", "train"), 2, ("unknown mode 'train'", "test, dev")),
        ((), 2, ("--data",)),
    ],
)
def test_bad_requests_are_one_line(words, code, parts):
    call("eval", "sts", "--model", "model", *words).fails(code, *parts)


def test_help_is_there():
    assert "sts" in run("eval", "--help").ok().out
    assert "--simcse-names" in run("eval", "sts", "--help").ok().out
