"""Runs in TREC format: their lines, the paths that they are written to, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from semsearch.errors import SourceError, UsageError
from semsearch.evaluation.report import Report
from semsearch.reports.html import write_report
from semsearch.reports.trec import write_run, write_runs

RUN = {"q1": {"d2": 0.5, "d1": 0.25}, "q2": {"d1": -1.0}}
LINES = "q1 Q0 d2 1 0.5 semsearch\nq1 Q0 d1 2 0.25 semsearch\nq2 Q0 d1 1 -1.0 semsearch\n"
"""RUN, written by hand: query id, Q0, document id, rank, score and tag."""


@pytest.mark.parametrize("spell", [str, Path])
def test_a_run_and_a_folder_of_runs_are_written_to_text_and_path_alike(tmp_path, spell):
    assert write_run(spell(tmp_path / "a.run"), RUN.items()) == 2
    assert (tmp_path / "a.run").read_text() == LINES
    write_runs(spell(tmp_path), [("mean, hybrid", RUN)])
    assert (tmp_path / "mean-hybrid.run").read_text() == LINES
    write_report(Report("t", {}), spell(tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("path", [b"a.run", 5, None])
def test_what_is_no_path_is_refused_in_one_line(path):
    expected = f"is {path!r}; expected a path as text or pathlib.Path"
    with pytest.raises(UsageError, match=f"^`path` {expected}$"):
        write_run(path, RUN.items())
    with pytest.raises(UsageError, match=f"^`path` {expected}$"):
        write_report(Report("t", {}), path)
    with pytest.raises(UsageError, match=f"^`folder` {expected}$"):
        write_runs(path, [])


@pytest.mark.parametrize(("query", "doc"), [("q 1", "d"), ("q", "d\t1"), ("q", ""), ("q\n2", "d"), ("q", "\x1b[2J")])
def test_an_id_that_would_shift_the_columns_is_refused_and_nothing_written(tmp_path, query, doc):
    with pytest.raises(
        UsageError, match=r"^one of the ids \('q.*', .*\) is empty or contains .*; omit `run` .* or `run_dir`"
    ):
        write_run(tmp_path / "a.run", [(query, {doc: 1.0})])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"cannot write '.*/file/a\.run': Not a directory"):
        write_run(tmp_path / "file" / "a.run", RUN.items())
