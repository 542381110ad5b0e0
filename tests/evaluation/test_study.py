"""Tests for studies: the best candidate, lazy computation, and the contents of a report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import jsonl
from fakes import tiny_checkpoint
from layouts import DOCUMENTS, SCORED, beir, write_labeled, write_pairs
from scipy import stats

from semsearch import Document, Encoder
from semsearch.errors import UsageError
from semsearch.evaluation import (
    Candidate,
    MultiPooler,
    Study,
    load_retrieval,
    load_sts,
    load_transfer,
    make_pseudo_tasks,
    study_corpus,
    study_retrieval,
    study_sts,
    study_transfer,
)
from semsearch.evaluation import evidence as gather
from semsearch.evaluation.evidence import layer_names

pytestmark = pytest.mark.usefixtures("one_thread")

POOLERS = ("mean", "cls", "layer:1+max")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoint(tmp_path_factory.mktemp("model") / "model", head=False))


@pytest.fixture(scope="module")
def encoder(model: str) -> MultiPooler:
    return MultiPooler.load(model, [*POOLERS, "pooler-output"], device="cpu")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def of_pairs(encoder: MultiPooler, pairs: Any = SCORED, **wishes: Any) -> Study:
    write_pairs("scored.tsv", pairs)
    return study_sts(load_sts("scored.tsv"), encoder, data="scored.tsv", **wishes)


def of_judged(encoder: MultiPooler, **wishes: Any) -> Study:
    return study_retrieval(load_retrieval(beir("judged")), encoder, data="judged", **wishes)


def of_labeled(encoder: MultiPooler, **wishes: Any) -> Study:
    write_labeled("labeled.tsv")
    return study_transfer(load_transfer("labeled.tsv"), encoder, data="labeled.tsv", **wishes)


def of_corpus(encoder: MultiPooler, **wishes: Any) -> Study:
    documents = [Document(one["_id"], one["text"], one["title"]) for one in DOCUMENTS]
    return study_corpus(*make_pseudo_tasks(documents), encoder, data="notes.jsonl", **wishes)


def spearmans(model: str) -> dict[str, float]:
    """Compute each pooler's Spearman correlation with a separate encoder and scipy."""
    found = {}
    for pooler in POOLERS:
        alone = Encoder.load(model, pooler, device="cpu")
        first, second = (alone.encode_documents([pair[side] for pair in SCORED]).astype(np.float64) for side in (0, 1))
        found[pooler] = stats.spearmanr((first * second).sum(1), [pair[2] for pair in SCORED]).statistic
    return found


# --- the best candidate


def test_the_best_on_pairs_is_the_one_with_the_highest_correlation(encoder: MultiPooler, model: str):
    study, expected = of_pairs(encoder), spearmans(model)
    cells = {label: row[0].value for label, row in study.tables[0].comparison.rows.items()}
    assert cells == pytest.approx(expected)
    assert study.best == Candidate(max(expected, key=lambda pooler: expected[pooler]))
    assert study.column == "scored"
    assert [*study.refused] == ["pooler-output"]


def test_keyword_search_may_be_the_highest_and_is_never_the_best_pooler(encoder: MultiPooler):
    study = of_judged(encoder, modes=["dense", "keyword"], measures=["R@1", "nDCG@10"])
    values = {label: row[0].value or 0.0 for label, row in study.tables[0].comparison.rows.items()}
    assert max(values, key=lambda label: values[label]) == "keyword", "random weights find nothing"
    dense = {label: value for label, value in values.items() if label != "keyword"}
    assert study.best is not None
    assert (study.best.label, study.column) == (max(dense, key=lambda label: dense[label]), "R@1")


def test_there_is_no_best_where_there_are_no_numbers_or_no_poolers(encoder: MultiPooler):
    assert of_pairs(encoder, [("a", "b", 1.0), ("c", "d", 1.0)]).best is None
    study = of_judged(encoder, modes=["keyword"])
    assert study.best is None
    assert study.report(geometry=True, drawings=True).geometry is None


def test_the_recommended_one_is_the_best_of_a_corpus_and_part_of_the_next_command(encoder: MultiPooler):
    study = of_corpus(encoder, index_options={"model": "a b", "max_tokens": 32, "skip_bad": True, "id_field": None})
    assert study.best is not None
    words = shlex.split(study.next)
    assert words[:3] == ["semsearch", "index", "notes.jsonl"]
    assert words[3:] == ["--model", "a b", "--max-tokens", "32", "--skip-bad", "--pooler", study.best.pooler]
    assert study.detail["recommended"] == study.best.label
    assert study.detail["next"] == study.next
    assert study.why


# --- lazy computation


def counted(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Record the calls of these functions of the evidence module from now on."""
    calls: list[str] = []

    def count(name: str) -> None:
        whole = getattr(gather, name)

        def called(*args: Any) -> Any:
            calls.append(name)
            return whole(*args)

        monkeypatch.setattr(gather, name, called)

    for name in names:
        count(name)
    return calls


def test_what_lies_behind_is_computed_when_it_is_asked_for_and_once(
    encoder: MultiPooler, monkeypatch: pytest.MonkeyPatch
):
    calls = counted(monkeypatch, "evidence_of_sts", "geometries", "histograms", "projection")
    study = of_pairs(encoder)
    study.report()
    assert calls == []
    study.report(geometry=True)
    assert calls == ["evidence_of_sts", "geometries"]
    study.report(drawings=True)
    study.report(geometry=True, drawings=True)
    assert calls == ["evidence_of_sts", "geometries", "histograms", "projection"]


@pytest.mark.parametrize("make", [of_pairs, of_judged, of_labeled, of_corpus])
def test_a_report_holds_what_is_asked_for(make: Any, encoder: MultiPooler):
    study = make(encoder)
    plain, shape, whole = study.report(), study.report(geometry=True), study.report(drawings=True)
    for report in (plain, shape, whole):
        assert report.tables == study.tables
        assert report.facts == study.facts
        assert report.notes[0] == study.refused["pooler-output"]
        assert report.refused == study.refused
        assert report.detail == study.detail
    assert (plain.geometry, plain.histograms, plain.projection, plain.duels, plain.recall) == (None,) * 5
    assert (shape.histograms, shape.projection, shape.duels) == (None, None, None)
    assert [*shape.geometry] == [*whole.geometry] == [*whole.histograms] == [*POOLERS]
    assert whole.projection.row == whole.duels.rows[0]
    assert (whole.recall is not None) == (study.kind == "retrieval")
    assert {*whole.duels.rows} <= {*POOLERS}


def test_the_map_of_layers_is_there_where_the_encoder_has_them(encoder: MultiPooler, model: str):
    layered = MultiPooler.load(model, ["mean"], also=layer_names(), device="cpu")
    shown = of_pairs(layered).report(drawings=True).layers
    assert shown is not None
    alone = Encoder.load(model, "layer:2+max", device="cpu")
    first, second = (alone.encode_documents([pair[side] for pair in SCORED]).astype(np.float64) for side in (0, 1))
    rho = stats.spearmanr((first * second).sum(1), [pair[2] for pair in SCORED]).statistic
    assert shown.values.shape == (3, 5)
    assert shown.values[shown.poolers.index("max"), 2] == pytest.approx(100 * rho)
    assert of_pairs(MultiPooler.load(model, ["mean"], device="cpu")).layers is None


# --- duels


def test_a_duel_is_of_the_two_that_are_named(encoder: MultiPooler):
    duels = of_pairs(encoder, duel=["layer:1+max", "cls"]).duels
    assert duels is not None
    assert duels.rows == ("layer:1+max", "cls")
    assert duels.n_wins + duels.n_losses + duels.n_ties == len(SCORED)


def test_a_duel_with_keyword_search_has_a_map_of_the_other(encoder: MultiPooler):
    study = of_judged(encoder, modes=["dense", "keyword"], duel=["keyword", "cls"])
    assert study.projection is not None
    assert study.projection.row == "cls"
    assert study.duels is not None
    assert study.duels.rows == ("keyword", "cls")


@pytest.mark.parametrize("make", [of_pairs, of_judged, of_labeled, of_corpus])
def test_an_unknown_row_is_refused_before_anything_is_encoded(
    make: Any, encoder: MultiPooler, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(MultiPooler, "_encode", lambda *_: pytest.fail("encoded"))
    with pytest.raises(UsageError, match=r"unknown row 'max' for `duel`; expected one of: mean; cls; layer:1\+max"):
        make(encoder, duel=["mean", "max"])


# --- true judgments


def test_true_judgments_are_a_second_table_and_what_is_wrong_with_them_is_a_note(encoder: MultiPooler):
    task = load_retrieval(beir("judged"))
    study = of_corpus(encoder, judgments=task)
    proxy, true = study.tables
    places = ((proxy, -1), (true, 0))
    values = [[row[place].value for row in table.comparison.rows.values()] for table, place in places]
    assert study.detail["agreement"] == pytest.approx(stats.kendalltau(*values).statistic)
    (Path("judged") / "corpus.jsonl").write_bytes(jsonl([*DOCUMENTS, DOCUMENTS[0]]))
    without = of_corpus(encoder, judgments=task, notes=["came with the data"])
    assert [table.name for table in without.tables] == [proxy.name]
    assert without.detail["agreement"] is None
    *_, said, warned = without.notes
    assert said == "came with the data"
    assert warned.startswith("warning: cannot measure agreement with the true judgments: ")
    assert "corpus.jsonl:9: duplicate" in warned
