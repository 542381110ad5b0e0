"""Tests for retrieval measures against hand values, trec_eval's own code, and sentence-transformers' evaluator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from math import log2

import numpy as np
import pytest
import pytrec_eval
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from semsearch.errors import UsageError
from semsearch.evaluation.measures import MEASURES, check_measures, judged_queries, measure_run

QRELS = {
    "ties": {"d1": 3, "d2": 2, "d3": 1, "d4": 0, "d9": 1},
    "deep": {"r1": 1, "r2": 2},
    "missing": {"d1": 1},
    "zeros": {"d1": 0, "d2": 0},
}
RUN = {
    "unknown": {"d1": 1.0},  # has no judgments, so it does not count
    "zeros": {"d1": 0.9, "d2": 0.8},
    "deep": {**{f"u{rank:02}": 1 - rank / 100 for rank in range(1, 11)}, "r1": 0.5, "r2": 0.4},
    # trec_eval puts the higher id first: u1 (not judged), d3, d1, d4 (judged, not relevant), d2; d9 is not found.
    "ties": {"d1": 0.8, "u1": 0.9, "d2": 0.4, "d3": 0.8, "d4": 0.5},
}
BY_HAND = {  # for "ties" and for "deep", whose relevant documents are at ranks 11 and 12
    "nDCG@10": ((1 / log2(3) + 3 / log2(4) + 2 / log2(6)) / (3 / log2(2) + 2 / log2(3) + 1 / log2(4) + 1 / log2(5)), 0),
    "MAP": ((1 / 2 + 2 / 3 + 3 / 5) / 4, (1 / 11 + 2 / 12) / 2),
    "RR@10": (1 / 2, 0),
    "R@10": (3 / 4, 0),
    "R@100": (3 / 4, 2 / 2),
    "P@10": (3 / 10, 0),
}


def test_each_measure_has_the_value_that_paper_and_pencil_give():
    found = measure_run(QRELS, RUN)
    assert list(found) == list(MEASURES) == list(BY_HAND)
    for name, values in BY_HAND.items():
        assert found[name].tolist() == pytest.approx([*values, 0, 0]), name  # "missing" and "zeros" count as 0


def test_sentence_transformers_counts_other_queries_has_binary_gains_and_breaks_ties_the_other_way():
    # Its order of "ties" is u1, d1, d3, d4, d2, with four relevant documents of gain 1; "zeros" does not count.
    assert judged_queries(QRELS, "st") == ["ties", "deep", "missing"]
    found = measure_run(QRELS, RUN, ["nDCG@10", "MAP"], style="st")
    dcg, ideal = 1 / log2(3) + 1 / log2(4) + 1 / log2(6), 1 / log2(2) + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)
    assert found["nDCG@10"].tolist() == pytest.approx([dcg / ideal, 0, 0])
    assert found["MAP"].tolist() == pytest.approx([(1 / 2 + 2 / 3 + 3 / 5) / 4, (1 / 11 + 2 / 12) / 2, 0])


@pytest.mark.parametrize(("style", "first"), [("trec", "b"), ("st", "a")])
@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("name", ["RR@10", "RR", "MAP", "P@1", "R@1", "nDCG@1", "Success@1"])
def test_all_measures_break_ties_alike_however_the_run_is_ordered(name: str, order: str, style: str, first: str):
    run = {"q": dict.fromkeys(order, 0.5)}
    for relevant in "ab":
        expected = 1.0 if relevant == first else {"RR@10": 0.5, "RR": 0.5, "MAP": 0.5}.get(name, 0.0)
        assert measure_run({"q": {relevant: 1}}, run, [name], style)[name].tolist() == [expected]


def test_ids_are_compared_as_trec_eval_does_byte_by_byte():
    names = ["", "10", "9", "A", "a", "é", "ﬀ", "\N{DUCK}"]  # in UTF-8 order; UTF-16 would swap the last two
    run = {"q": dict.fromkeys(names, 0.5)}
    ranks = [1 / measure_run({"q": {name: 1}}, run, ["RR"])["RR"][0] for name in names]
    assert ranks == pytest.approx(range(len(names), 0, -1))
    for name, rank in zip(names, ranks, strict=True):
        theirs = pytrec_eval.RelevanceEvaluator({"q": {name: 1}}, {"recip_rank"}).evaluate(run)
        assert 1 / theirs["q"]["recip_rank"] == pytest.approx(rank)


def test_scores_that_differ_in_float64_only_are_ties_to_trec_eval():
    run = {"q": {"a": 1 + 1e-9, "b": 1.0}}
    assert measure_run({"q": {"a": 1}}, run, ["RR@10", "MAP"]) == {"RR@10": [0.5], "MAP": [0.5]}
    assert measure_run({"q": {"a": 1}}, run, ["RR@10", "MAP"], style="st") == {"RR@10": [1.0], "MAP": [1.0]}


def random_data(seed: int, queries: int = 12, documents: int = 400) -> tuple[dict, dict]:
    """Draw graded judgments, some negative, and a run with ties, unjudged documents and queries without hits."""
    rng = np.random.default_rng(seed)
    qrels, run = {}, {}
    for query in map(str, range(queries)):
        judged = rng.choice(documents, rng.integers(1, 300), replace=False)
        gains = rng.integers(-1, 4, len(judged)) if query != "0" else np.zeros(len(judged), int)
        qrels[query] = {f"d{doc}": int(gain) for doc, gain in zip(judged, gains, strict=True)}
        found = rng.choice(documents, rng.integers(1, documents), replace=False)
        scores = rng.integers(0, 40, len(found)) / 8
        run[query] = {f"d{doc}": float(score) for doc, score in zip(found, scores, strict=True)}
    del run["1"]
    run["2"] = {}
    return qrels, run


TREC_NAMES = {  # RR@10 is the reciprocal rank where that is at least 1/10
    "nDCG@10": "ndcg_cut_10",
    "nDCG": "ndcg",
    "MAP": "map",
    "AP@100": "map_cut_100",
    "RR@10": "recip_rank",
    "R@10": "recall_10",
    "R@100": "recall_100",
    "P@10": "P_10",
}


@pytest.mark.parametrize("seed", range(3))
def test_random_runs_with_ties_have_trec_evals_numbers(seed: int):
    qrels, run = random_data(seed)
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(TREC_NAMES.values())).evaluate(run)
    ours = measure_run(qrels, run, list(TREC_NAMES))
    for name, trec_name in TREC_NAMES.items():
        expected = [theirs.get(query, {}).get(trec_name, 0.0) for query in qrels]
        if name == "RR@10":
            expected = [value if value > 1 / 10.5 else 0.0 for value in expected]
        np.testing.assert_allclose(ours[name], expected, atol=1e-9, err_msg=name)


ST_NAMES = {
    "nDCG@10": ("ndcg@k", 10),
    "nDCG@3": ("ndcg@k", 3),
    "MAP": ("map@k", 100),
    "AP@100": ("map@k", 100),
    "AP@10": ("map@k", 10),
    "RR@10": ("mrr@k", 10),
    "R@10": ("recall@k", 10),
    "R@100": ("recall@k", 100),
    "P@10": ("precision@k", 10),
    "P@100": ("precision@k", 100),
    "Success@3": ("accuracy@k", 3),  # the hit rate, unlike recall@k, which is a share of the relevant documents
}


def sentence_transformers(qrels: Mapping, run: Mapping) -> dict[str, float]:
    """Compute the means of a run with its evaluator, which itself omits queries without a relevant document."""
    documents = {doc for found in (*qrels.values(), *run.values()) for doc in found}
    relevant = {query: {doc for doc, gain in judged.items() if gain > 0} for query, judged in qrels.items()}
    depths = {"ndcg_at_k": [3, 10], "mrr_at_k": [10], "map_at_k": [10, 100], "accuracy_at_k": [3]}
    evaluator = InformationRetrievalEvaluator(
        dict.fromkeys(qrels, ""), dict.fromkeys(documents, ""), relevant, precision_recall_at_k=[10, 100], **depths
    )
    hits = [
        [{"corpus_id": doc, "score": score} for doc, score in run.get(query, {}).items()]
        for query in evaluator.queries_ids
    ]
    found = evaluator.compute_metrics(hits)
    return {name: float(found[theirs][k]) for name, (theirs, k) in ST_NAMES.items()}


@pytest.mark.parametrize("seed", range(3))
def test_random_runs_with_ties_have_the_numbers_of_sentence_transformers(seed: int):
    qrels, run = random_data(seed)
    assert max(sum(gain > 0 for gain in judged.values()) for judged in qrels.values()) > 100
    ours = measure_run(qrels, run, list(ST_NAMES), style="st")
    assert {len(values) for values in ours.values()} == {len(qrels) - 1}
    means = {name: values.mean() for name, values in ours.items()}
    assert means == pytest.approx(sentence_transformers(qrels, run), abs=1e-9)


def test_the_example_has_the_numbers_of_sentence_transformers():
    ours = measure_run(QRELS, RUN, list(ST_NAMES), style="st")
    means = {name: values.mean() for name, values in ours.items()}
    assert means == pytest.approx(sentence_transformers(QRELS, RUN))


def test_average_precision_of_a_perfect_ranking_is_1_for_sentence_transformers_though_100_cannot_hold_all():
    qrels = {"q": {f"d{n:03}": 1 for n in range(150)}}
    run = {"q": {f"d{n:03}": -float(n) for n in range(150)}}
    assert measure_run(qrels, run, ["MAP", "AP@10"], style="st") == {"MAP": [1.0], "AP@10": [pytest.approx(1)]}
    # In trec_eval, all 150 precisions are 1; AP@10 sums ten of them and divides by 150 relevant documents.
    assert measure_run(qrels, run, ["MAP", "AP@10"]) == {"MAP": [pytest.approx(1)], "AP@10": [pytest.approx(10 / 150)]}


def test_columns_are_named_as_the_user_wrote_them_and_stay_in_order():
    found = measure_run(QRELS, RUN, ["P@10", "MAP", "AP", "AP(rel=2)", "nDCG @ 10"])
    assert list(found) == ["P@10", "MAP", "AP", "AP(rel=2)", "nDCG @ 10"]
    assert found["MAP"].tolist() == found["AP"].tolist() == pytest.approx([*BY_HAND["MAP"], 0, 0])
    assert found["AP(rel=2)"].tolist() == pytest.approx([(1 / 3 + 2 / 5) / 2, 1 / 12, 0, 0])
    assert found["nDCG @ 10"].tolist() == pytest.approx([*BY_HAND["nDCG@10"], 0, 0])


@pytest.mark.parametrize("style", ["trec", "st"])
@pytest.mark.parametrize("run", [{}, {"deep": {}}, {"unknown": {"r1": 1.0}}])
def test_a_run_without_hits_reaches_nothing(run: dict, style: str):
    found = measure_run(QRELS, run, [*MEASURES, "Judged@10"], style)
    judged = {"trec": 4, "st": 3}[style]
    assert {name: values.tolist() for name, values in found.items()} == dict.fromkeys(found, [0.0] * judged)


def test_how_many_are_relevant_does_not_depend_on_what_was_found():
    qrels = {"a": {"x": 1, "y": 2, "z": 0}, "b": {"x": 1, "w": 3, "v": 1}, "c": {"x": 0}}
    for run in ({}, {"b": {"x": 1.0}}, {query: {"x": 1.0} for query in qrels}):
        assert measure_run(qrels, run, ["NumRel"])["NumRel"].tolist() == [2, 3, 0]


def test_without_a_relevant_document_no_query_is_left_for_sentence_transformers():
    qrels = {"q": {"a": 0, "b": -1}}
    assert judged_queries(qrels, "st") == []
    assert measure_run(qrels, {"q": {"a": 1.0}}, ["MAP"], style="st")["MAP"].tolist() == []
    assert measure_run(qrels, {"q": {"a": 1.0}}, ["MAP"])["MAP"].tolist() == [0.0]


def test_neither_judgments_nor_run_are_changed():
    qrels, run = {"q": {"a": 2, "b": 0}}, {"q": {"b": 0.5, "a": 0.5}}
    measure_run(qrels, run, style="st")
    measure_run(qrels, run)
    assert (qrels, run) == ({"q": {"a": 2, "b": 0}}, {"q": {"b": 0.5, "a": 0.5}})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NDCG10", "measure not found: NDCG10"),
        ("ndcg_cut_10", "measure not found"),
        ("", "problem parsing measure"),
        ("nDCG@10(", "problem parsing measure"),
        ("nDCG@ten", "problem parsing measure"),
        ("R", "the cutoff must be a positive integer, as in R@10"),
        ("P", "as in P@10"),
        ("nDCG@0", "the cutoff must be a positive integer"),  # would end the whole process in trec_eval
        ("nDCG@-1", "problem parsing measure"),
        ("nDCG@1.5", "the cutoff must be a positive integer"),
        ("nDCG@True", "the cutoff must be a positive integer"),
        ("NumRel@10", "unsupported params"),
        ("nDCG(many=1)", "many"),
        ("AP(rel=0)", "relevance_level should be positive"),
        ("ERR@10", "Unsupported measures"),  # from gdeval, which requires numeric query ids
        ("RBP", "Unsupported measures"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error_that_lists_what_can(name: str, reason: str):
    for ask in (lambda: check_measures(["MAP", name]), lambda: measure_run(QRELS, RUN, [name])):
        with pytest.raises(UsageError) as caught:
            ask()
        said = str(caught.value)
        assert said.startswith(f"unknown measure {name!r} (")
        assert reason in said
        assert "such as nDCG@10, MAP, RR@10, R@10, R@100, P@10, or any of ir-measures: Accuracy, alpha_DCG," in said
        assert "\n" not in said


def test_measures_are_checked_before_they_are_needed():
    check_measures([*MEASURES, *TREC_NAMES, *ST_NAMES, "Judged@10", "Rprec", "Bpref", "IPrec@0.1", "NumRet"])
    with pytest.raises(UsageError, match=r"no measure given; expected some, such as nDCG@10, MAP"):
        check_measures([])


def test_an_unknown_style_is_refused():
    with pytest.raises(UsageError, match="unknown style 'beir'; expected one of trec, st"):
        measure_run(QRELS, RUN, style="beir")


def test_without_ir_measures_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(UsageError, match=r"needs ir-measures, which is not installed; pip install 'semsearch\[eval\]'"):
        measure_run(QRELS, RUN)
