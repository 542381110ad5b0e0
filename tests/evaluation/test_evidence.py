"""Tests for the evidence behind the scores, on hand-written results: pairs, histograms, layers, curves, duels, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from scipy.stats import spearmanr

from semsearch import Encoder
from semsearch.evaluation import evidence as gather
from semsearch.evaluation.candidates import Candidate
from semsearch.evaluation.duels import (
    SHOWN,
    SNIPPET_CHARS,
    duels_of_corpus,
    duels_of_retrieval,
    duels_of_sts,
    opponents,
)
from semsearch.evaluation.evidence import Evidence
from semsearch.evaluation.geometry import HISTOGRAM_EDGES
from semsearch.evaluation.label_free import LabelFreeResult
from semsearch.evaluation.measures import judged_queries, measure_run
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.pseudo_queries import PseudoTask
from semsearch.evaluation.report import Answer, Duels
from semsearch.evaluation.retrieval import EncodedCorpus, RetrievalResult
from semsearch.evaluation.retrieval_data import RetrievalTask
from semsearch.evaluation.significance import Cell, Comparison
from semsearch.evaluation.sts import StsResult, evaluate_sts, unique_sentences
from semsearch.evaluation.sts_data import StsTask, Subset
from semsearch.types import Document, Qrels, Query, Run

MEAN, CLS, MAX = Candidate("mean"), Candidate("cls"), Candidate("max")


def random_rows(n: int, dim: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 1, (n, dim)).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


# --- hand-written results


def sts_task(name: str, pairs: Mapping[tuple[str, str], float]) -> StsTask:
    first, second = zip(*pairs, strict=True)
    return StsTask(name, (Subset(name, first, second, np.array([*pairs.values()], np.float64)),))


def similarities(tasks: Sequence[StsTask], cosines: Mapping[str, Mapping[str, Sequence[float]]]) -> StsResult:
    """Build an STS result from the cosines of each row, with random vectors for the sentences."""
    sentences = unique_sentences(tasks)
    sides = {task.name: tuple([sentences.index(one) for one in side] for side in task.sides) for task in tasks}
    said = {row: {task: np.array(values) for task, values in each.items()} for row, each in cosines.items()}
    vectors = {row: random_rows(len(sentences), seed=seed) for seed, row in enumerate(cosines)}
    return StsResult(tasks, [Candidate(name) for name in cosines], said, sentences, vectors, sides)


FIVE = sts_task("five", {("a", "b"): 5, ("a", "c"): 4, ("a", "d"): 3.9, ("a", "e"): 1.1, ("b", "c"): 1, ("b", "d"): 0})
ONE = sts_task("one", {("b", "x"): 1, ("x", "y"): 0.8, ("x", "z"): 0.5, ("y", "z"): 0.1})
FLAT = sts_task("flat", {("a", "z"): 3, ("c", "d"): 3})


def documents(texts: Mapping[str, str], **metadata: Sequence[Any]) -> list[Document]:
    fields = [{name: values[n] for name, values in metadata.items()} for n in range(len(texts))]
    return [
        Document(name, text, f"title of {name}", {key: value for key, value in each.items() if value is not ...})
        for (name, text), each in zip(texts.items(), fields, strict=True)
    ]


def retrieval(
    runs: Mapping[Candidate, Run],
    qrels: Qrels,
    corpus: Sequence[Document],
    passages: Sequence[int],
    measure: str = "RR@10",
) -> RetrievalResult:
    """Build a retrieval result from the run of each row; `passages` is the number of passages of each document."""
    owner = [number for number, count in enumerate(passages) for _ in range(count)]
    texts = [f"{corpus[number].text} {place}" for place, number in enumerate(owner)]
    queries = tuple(Query(name, f"text of {name}") for name in qrels)
    poolers = {row.pooler for row in runs if row.pooler}
    return RetrievalResult(
        RetrievalTask("hand", Path(), queries, qrels),
        [*runs],
        "trec",
        judged_queries(qrels),
        {row.label: run for row, run in runs.items()},
        {row.label: measure_run(qrels, run, [measure]) for row, run in runs.items()},
        {row.label: 0.1 for row in runs},
        (0.1, 0.1),
        0,
        0,
        EncodedCorpus([*corpus], owner, texts, {name: random_rows(len(texts)) for name in poolers}, 0),
        {name: random_rows(len(queries), seed=1) for name in poolers},
    )


LAKE = documents({"heron": "a heron", "egret": "an egret", "loaf": "a loaf", "empty": "", "oven": "an oven"})
PASSAGES = (3, 1, 2, 0, 40)
JUDGED: Qrels = {
    "birds": {"heron": 2, "egret": 1, "loaf": 0, "gone": 3},
    "bread": {"loaf": 1, "oven": 1, "empty": 1},
    "none": {"heron": 0},
}


def found_sources(values: Mapping[str, Mapping[str, Sequence[float]]], tasks: Sequence[PseudoTask]) -> LabelFreeResult:
    """Build a label-free result from values per query: 1 ranks the source first, any other value passage 0."""
    best = {
        row: {
            task.name: [
                source if value == 1 else 0 for source, value in zip(task.sources, each[task.name], strict=True)
            ]
            for task in tasks
        }
        for row, each in values.items()
    }
    vectors = {task.name: {row: told(best[row][task.name], len(task.passages)) for row in values} for task in tasks}
    arrays = {row: {task: np.array(some, float) for task, some in each.items()} for row, each in values.items()}
    return LabelFreeResult(tasks, [Candidate(row) for row in values], arrays, best, vectors)


def told(best: Sequence[int], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of queries and n passages: each query ranks its best passage first, then the others in order."""
    queries = np.zeros((len(best), 50), np.float32)
    queries[:, :n] = np.arange(n, 0, -1)
    queries[np.arange(len(best)), best] += 2 * n
    return queries, (np.eye(n, 50) * np.arange(1, n + 1)[:, None]).astype(np.float32)


def pseudo(name: str, n: int) -> PseudoTask:
    """Build a task in which query i comes from passage i + 1, and the last query from passage 0."""
    queries, passages = (tuple(f"{name} {kind} {number}" for number in range(n)) for kind in ("query", "passage"))
    return PseudoTask(name, queries, passages, tuple((number + 1) % n for number in range(n)))


# --- evidence


def test_pairs_of_sentences_lie_in_the_upper_and_lower_fifth_of_their_own_scale():
    found = similarities([FIVE, ONE, FLAT], {"mean": {}})
    evidence = gather.evidence_of_sts(found, seed=0)

    def texts(places: np.ndarray) -> set[tuple[str, ...]]:
        return {tuple(evidence.texts[place] for place in pair) for pair in places.tolist()}

    assert texts(evidence.similar) == {("a", "b"), ("a", "c"), ("b", "x")}, "0.8 lies below 1 - 0.9 / 5"
    assert texts(evidence.dissimilar) == {("b", "c"), ("b", "d"), ("y", "z")}
    assert dict(zip(evidence.texts, evidence.fields["task"], strict=True)) == {
        **dict.fromkeys("abcde", "five"),
        **dict.fromkeys("xyz", "one"),
    }
    assert evidence.vectors is evidence.others is found.vectors


def test_more_pairs_than_a_sample_are_drawn_by_lot_and_the_seed_decides():
    pairs = {(f"s{n}", f"t{n}"): float(n >= 1500) for n in range(3000)}
    found = similarities([sts_task("many", pairs)], {"mean": {}})
    one, same, other = (gather.evidence_of_sts(found, seed) for seed in (1, 1, 2))
    for places in (one.similar, one.dissimilar):
        assert len({*map(tuple, places.tolist())}) == len(places) == gather.SAMPLE
    assert all(int(one.texts[left][1:]) >= 1500 for left, _ in one.similar)
    assert all(int(one.texts[left][1:]) < 1500 for left, _ in one.dissimilar)
    assert np.array_equal(one.similar, same.similar)
    assert not np.array_equal(one.similar, other.similar)


def test_pairs_of_retrieval_are_the_first_passage_of_what_is_relevant_and_no_passage_of_it():
    found = retrieval({MEAN: {}}, JUDGED, LAKE, PASSAGES)
    evidence = gather.evidence_of_retrieval(found, seed=0)
    first = {"heron": 0, "egret": 3, "loaf": 4, "oven": 6}
    assert evidence.similar.tolist() == [
        [0, first["heron"]],
        [0, first["egret"]],
        [1, first["loaf"]],
        [1, first["oven"]],
    ]
    drawn = {(left, evidence.texts[right].split()[1]) for left, right in evidence.dissimilar.tolist()}
    assert drawn == {
        (0, "loaf"),
        (0, "oven"),
        (1, "heron"),
        (1, "egret"),
        *((2, doc) for doc in ("heron", "egret", "loaf", "oven")),
    }
    assert len(evidence.dissimilar) == pytest.approx(gather.SAMPLE * (1 - 46 / 138), rel=0.1), (
        "46 pairs belong together"
    )
    assert evidence.others is found.query_vectors


def test_pairs_of_pseudo_queries_are_their_sources_and_other_passages_of_their_task():
    """Passages of other tasks are excluded, because they may come from the same document."""
    tasks = [pseudo("title", 3), pseudo("first", 5)]
    values = {"mean": {"title": [1, 0, 0], "first": [1] * 5}}
    found = found_sources(values, tasks)
    evidence = gather.evidence_of_corpus(found, seed=0)
    queries = [query for task in tasks for query in task.queries]

    def texts(places: np.ndarray) -> set[tuple[str, str]]:
        return {(queries[left], evidence.texts[right]) for left, right in places.tolist()}

    sources = {
        (f"{name} query {n}", f"{name} passage {(n + 1) % k}")
        for name, k in (("title", 3), ("first", 5))
        for n in range(k)
    }
    others = {
        (f"{name} query {n}", f"{name} passage {m}")
        for name, k in (("title", 3), ("first", 5))
        for n in range(k)
        for m in range(k)
    }
    assert texts(evidence.similar) == sources
    assert texts(evidence.dissimilar) == others - sources
    assert evidence.fields == {"task": ["title"] * 3 + ["first"] * 5}
    left, right = evidence.similar[4]
    assert np.array_equal(evidence.others["mean"][left], found.vectors["first"]["mean"][0][1])
    assert np.array_equal(evidence.vectors["mean"][right], found.vectors["first"]["mean"][1][2])


def test_fields_are_what_a_document_says_and_lists_and_objects_say_nothing():
    many = documents(
        {"a": "x", "b": "x", "c": "x"},
        year=[1999, 2001, ...],
        tags=[["x"], ["y"], "z"],
        author=[{"name": "x"}, None, {"name": "y"}],
        open=[True, False, True],
    )
    evidence = gather.evidence_of_retrieval(retrieval({MEAN: {}}, {"q": {"a": 1}}, many, (2, 1, 1)), seed=0)
    assert evidence.fields == {
        "author": ["", "", "", ""],
        "open": ["True", "True", "False", "True"],
        "tags": ["", "", "", "z"],
        "year": ["1999", "1999", "2001", ""],
    }
    assert list(evidence.fields) == sorted(evidence.fields)


# --- histograms and geometry


def evidence_of(vectors: np.ndarray, others: np.ndarray, similar: Any, dissimilar: Any, **fields: Any) -> Evidence:
    pairs = (np.array(places, np.int64).reshape(-1, 2) for places in (similar, dissimilar))
    return Evidence([f"text {n}" for n in range(len(vectors))], {"mean": vectors}, {"mean": others}, *pairs, fields)


@pytest.mark.parametrize("transform", ["", "center"])
def test_histograms_count_the_cosines_of_the_pairs(transform):
    vectors, others = random_rows(30), random_rows(8, seed=3)
    rng = np.random.default_rng(2)
    similar, dissimilar = (np.stack([rng.integers(8, size=n), rng.integers(30, size=n)], 1) for n in (17, 200))
    row = Candidate("mean", transform)
    found = gather.histograms([row], evidence_of(vectors, others, similar, dissimilar))[row.label]
    away = vectors.mean(0) if transform else 0
    for counts, pairs in ((found.similar, similar), (found.dissimilar, dissimilar)):
        cosines = [cosine(others[left] - away, vectors[right] - away) for left, right in pairs]
        assert counts.tolist() == np.histogram(cosines, HISTOGRAM_EDGES)[0].tolist()
        assert counts.sum() == len(pairs)


def test_geometry_is_that_of_the_texts_and_alignment_that_of_similar_pairs():
    """The squared distances of the pairs are 0, 2 and 4."""
    vectors = np.array([[1, 0], [0, 2], [-3, 0], [0, -4]], np.float32)
    evidence = evidence_of(vectors, np.array([[5, 0]], np.float32), [[0, 0], [0, 1], [0, 2]], [[0, 3]])
    found = gather.geometries([MEAN, Candidate("mean", "center")], evidence, seed=0)
    assert list(found) == ["mean", "mean, center"]
    assert found["mean"].mean_cosine == pytest.approx(-1 / 3), "two of six pairs are opposite, the others square"
    assert found["mean"].alignment == pytest.approx(2)
    centered = vectors - vectors.mean(0)
    expected = [2 - 2 * cosine(np.array([5.5, 0.5]), row) for row in centered[:3]]
    assert found["mean, center"].alignment == pytest.approx(np.mean(expected), rel=1e-5)


def test_whitening_that_makes_all_cosines_equal_has_no_geometry():
    vectors = random_rows(7)
    evidence = evidence_of(vectors, vectors, [[0, 1]], [[0, 3]])
    found = gather.geometries([Candidate("mean", "whiten"), Candidate("mean", "whiten:4")], evidence, seed=0)
    flat = found["mean, whiten"]
    assert (flat.n, flat.dim, flat.mean_cosine, flat.alignment, flat.hubness) == (7, 6, None, None, None)
    assert found["mean, whiten:4"].std_cosine > 0.1


def test_geometry_of_many_texts_is_that_of_a_sample():
    vectors = random_rows(gather.SAMPLE + 500)
    evidence = evidence_of(vectors, vectors, [], [])
    found = gather.geometries([MEAN], evidence, seed=0)["mean"]
    assert found.n == gather.SAMPLE
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    over_all = (np.square(unit.sum(0)).sum() - len(unit)) / (len(unit) * (len(unit) - 1))
    assert found.mean_cosine == pytest.approx(over_all, abs=0.02)
    assert found.alignment is None, "there are no pairs"
    histogram = gather.histograms([MEAN], evidence)["mean"]
    assert (histogram.similar.sum(), histogram.dissimilar.sum()) == (0, 0)


# --- layers and curves


def test_the_map_of_layers_has_a_row_for_each_pooler_and_a_column_for_each_layer():
    values = {
        f"layer:{layer}+{pooler}": layer + start for layer in range(3) for pooler, start in (("cls", 0), ("mean", 10))
    }
    found = gather.layers("Spearman", 2, {**values, "layer:1+mean": None, "mean": 99})
    assert found.poolers == ("cls", "mean", "max")
    np.testing.assert_array_equal(found.values, [[0, 1, 2], [10, np.nan, 12], [np.nan] * 3])
    assert gather.layer_names() == ["layer:*+cls", "layer:*+mean", "layer:*+max"]


def test_the_map_of_layers_equals_each_layer_s_encoder_and_scipy(checkpoint):
    folder = str(checkpoint())
    scores = {("a heron", "an egret"): 5.0, ("a heron", "a loaf"): 0.5, ("bread", "a loaf"): 4.0, ("x", "bread"): 1.0}
    task = sts_task("t", {**scores, ("egret reeds", "heron reeds"): 3.0, ("an oven", "reeds"): 0.0})
    encoder = MultiPooler.load(folder, ["mean"], also=gather.layer_names(), device="cpu")
    results = evaluate_sts([task], encoder).results()
    found = gather.layers("Spearman", 4, {name: tasks["t"].all.spearman for name, tasks in results.items()})
    assert found.values.shape == (3, 5)
    assert np.isnan(found.values[0, 0]), "the embedding of [CLS] is that of every text"
    for pooler, layer in (("cls", 1), ("cls", 4), ("mean", 0), ("mean", 4), ("max", 2)):
        alone = Encoder.load(folder, f"layer:{layer}+{pooler}", device="cpu")
        first, second = (alone.encode_documents(side).astype(np.float64) for side in task.sides)
        expected = spearmanr((first * second).sum(1), task.similarity).statistic
        assert found.values[gather.LAYER_POOLERS.index(pooler), layer] == pytest.approx(expected)


def test_recall_curves_equal_ir_measures():
    rng = np.random.default_rng(4)
    corpus = documents({f"d{n}": "x" for n in range(120)})
    run = {f"q{q}": {f"d{n}": 1 / (place + 1) for place, n in enumerate(rng.permutation(120)[:100])} for q in range(5)}
    qrels = {f"q{q}": {f"d{n}": int(rng.integers(3)) for n in rng.permutation(120)[:20]} for q in range(6)}
    row = Candidate("mean", mode="hybrid")
    (curve,) = gather.recall_curves([row], retrieval({row: run}, qrels, corpus, [1] * 120)).values()
    assert len(curve) == len(gather.RECALL_DEPTHS)
    theirs = [ir_measures.Qrel(query, doc, gain) for query, judged in qrels.items() for doc, gain in judged.items()]
    for depth, value in zip(gather.RECALL_DEPTHS, curve, strict=True):
        measure = ir_measures.R @ depth
        values = [metric.value for metric in ir_measures.iter_calc([measure], theirs, run)]
        assert value == pytest.approx(sum(values) / 6), "the query without hits counts 0"
    assert curve == sorted(curve)
    assert curve[-1] < 1


# --- duels


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({MEAN: 0.5, CLS: 0.2, MAX: 0.1}, (MEAN, CLS)),
        ({CLS: 0.5, MEAN: 0.2, MAX: 0.1}, (CLS, MAX)),
        ({MEAN: 0.5, Candidate("cls", "center"): 0.2, MAX: 0.3}, (MEAN, Candidate("cls", "center"))),
        ({MEAN: 0.5, CLS: None, MAX: 0.3, Candidate("last"): 0.4}, (MEAN, MAX)),
        ({MEAN: 0.5, MAX: 0.5}, (MEAN, MAX)),
        ({CLS: 0.5, MAX: 0.5}, (CLS, MAX)),
        ({MEAN: 0.5, Candidate("mean", mode="hybrid"): 0.9, Candidate(mode="keyword"): 0.1, MAX: 0.2}, (MEAN, MAX)),
        ({MEAN: 0.5, Candidate(mode="keyword"): 0.1}, None),
        ({MEAN: 0.5, CLS: None}, None),
        ({Candidate(mode="keyword"): 0.1}, None),
    ],
)
def test_opponents_are_the_best_dense_row_and_cls_or_the_worst(values, expected):
    other = Cell(0.0, best=True)
    comparison = Comparison(("x", "y"), {row.label: (other, Cell(value)) for row, value in values.items()}, "")
    assert opponents([*values], comparison, "y") == expected


def check_sums(duels: Duels, total: int) -> None:
    assert duels.n_wins + duels.n_losses + duels.n_ties == total
    wins = [duel.values[0] - duel.values[1] for duel in duels.wins]
    losses = [duel.values[1] - duel.values[0] for duel in duels.losses]
    assert len(wins) == min(duels.n_wins, SHOWN)
    assert len(losses) == min(duels.n_losses, SHOWN)
    for margins in (wins, losses):
        assert margins == sorted(margins, reverse=True)
        assert all(margin > 0 for margin in margins)


def test_duels_of_pseudo_queries_by_hand():
    tasks = [pseudo("title", 3), pseudo("first", 2)]
    values = {"mean": {"title": [1, 0.5, 0.3], "first": [0, 1]}, "cls": {"title": [0.5, 0.5, 0], "first": [1, 0.1]}}
    duels = duels_of_corpus(found_sources(values, tasks), (MEAN, CLS), "nDCG@10")
    check_sums(duels, 5)
    assert (duels.rows, duels.measure) == (("mean", "cls"), "nDCG@10, all tasks")
    assert (duels.n_wins, duels.n_losses, duels.n_ties) == (3, 1, 1)
    assert [duel.text for duel in duels.wins] == ["first query 1", "title query 0", "title query 2"]
    assert [duel.values for duel in duels.wins] == [(1, 0.1), (1, 0.5), (0.3, 0)]
    (lost,) = duels.losses
    assert (lost.text, lost.values) == ("first query 0", (0, 1))
    assert lost.answers == (
        Answer("first passage 0", None, "another passage", rank=2, found=2),
        Answer("first passage 1", True, "the source", rank=1, found=2),
    )
    assert lost.wanted == "first passage 1"
    assert (duels.unit, duels.wanted) == ("pseudo-queries", "the source")
    by_cls = duels.wins[2].answers[1]
    assert (by_cls.text, by_cls.rank, by_cls.found) == ("title passage 0", 1, 3), "the last was taken from the first"


def test_only_the_largest_of_many_wins_and_losses_are_shown():
    task = pseudo("title", 41)
    rng = np.random.default_rng(0)
    ours, theirs = rng.permutation(41) / 41, rng.permutation(41) / 41
    found = found_sources({"mean": {"title": ours.tolist()}, "cls": {"title": theirs.tolist()}}, [task])
    duels = duels_of_corpus(found, (MEAN, CLS), "RR")
    check_sums(duels, 41)
    margins = sorted((ours - theirs).tolist())
    assert [duel.values[0] - duel.values[1] for duel in duels.wins] == pytest.approx(margins[::-1][:8])
    assert [duel.values[0] - duel.values[1] for duel in duels.losses] == pytest.approx(margins[:8])
    turned = duels_of_corpus(found, (CLS, MEAN), "RR")
    assert (turned.n_wins, turned.n_losses, turned.n_ties) == (duels.n_losses, duels.n_wins, duels.n_ties)


def test_duels_of_retrieval_by_hand():
    """RR@10 is 1/2, 1 and 0 for the first row, and 1, 0 and 0 for the second."""
    runs = {
        MEAN: {"birds": {"loaf": 0.9, "heron": 0.8}, "bread": {"oven": 0.9}, "none": {"heron": 0.2}},
        CLS: {"birds": {"egret": 0.7}, "bread": {}},
    }
    duels = duels_of_retrieval(retrieval(runs, JUDGED, LAKE, PASSAGES), (MEAN, CLS), "RR@10")
    check_sums(duels, 3)
    assert (duels.n_wins, duels.n_losses, duels.n_ties) == (1, 1, 1)
    (won,), (lost,) = duels.wins, duels.losses
    assert (won.text, won.values) == ("text of bread", (1, 0))
    assert won.answers == (
        Answer("title of oven an oven", True, "relevant, grade 1", rank=1, found=1, relevant=[1]),
        Answer("", None, "", rank=None, found=0, relevant=[]),
    )
    assert (won.wanted, won.verdict) == ("title of oven an oven", "grade 1"), (
        "of those graded alike, the one found first"
    )
    assert (lost.text, lost.values) == ("text of birds", (0.5, 1))
    assert lost.answers == (
        Answer("title of loaf a loaf", False, "judged not relevant, grade 0", rank=2, found=2, relevant=[2]),
        Answer("title of egret an egret", True, "relevant, grade 1", rank=None, found=1, relevant=[1]),
    )
    assert (lost.wanted, lost.verdict) == ("title of heron a heron", "grade 2"), "grade 3 is not in the corpus"


def test_first_answers_and_ranks_are_judged_in_the_order_that_is_measured():
    """Among equal scores the higher id ranks first, as in trec_eval."""
    qrels: Qrels = {"many": {"heron": 1, "egret": 3, "loaf": 2, "oven": 3}}
    first = {"many": {"heron": 0.1, "empty": 0.5, "loaf": 0.9, "oven": 0.9}}  # as ranked: oven, loaf, empty, heron
    second = {"many": {"empty": 0.9, "heron": 0.8, "egret": 0.7}}
    found = retrieval({MEAN: first, CLS: second}, qrels, LAKE, PASSAGES, "RR@10")
    duels = duels_of_retrieval(found, (MEAN, CLS), "RR@10")
    (won,) = duels.wins
    assert won.answers == (
        Answer("title of oven an oven", True, "relevant, grade 3", rank=1, found=4, relevant=[1, 2, 4]),
        Answer("title of empty", None, "not judged", rank=None, found=3, relevant=[2, 3]),
    )
    assert (won.wanted, won.verdict) == ("title of oven an oven", "grade 3")
    (lost,) = duels_of_retrieval(found, (CLS, MEAN), "RR@10").losses
    assert lost.answers == won.answers[::-1]


def test_relevant_ranks_are_told_of_the_first_ten_alone_and_the_wanted_one_s_of_all():
    corpus = documents({f"d{n}": "x" for n in range(30)})
    run = {"q": {f"d{n}": 1 - n / 100 for n in range(30)}}
    found = retrieval(
        {MEAN: run, CLS: {"q": {"d29": 1.0}}}, {"q": {"d4": 1, "d9": 1, "d10": 1, "d20": 2}}, corpus, [1] * 30
    )
    (won,) = duels_of_retrieval(found, (MEAN, CLS), "RR@10").wins
    by_mean, by_cls = won.answers
    assert (by_mean.rank, by_mean.found, by_mean.relevant) == (21, 30, [5, 10])
    assert (by_cls.rank, by_cls.found, by_cls.relevant) == (None, 1, [])


def test_nothing_is_wanted_where_nothing_is_relevant():
    """The measure also counts judged documents that are not relevant, so the query is not a tie."""
    qrels: Qrels = {"none": {"heron": 0, "egret": 0}}
    runs: dict[Candidate, Run] = {MEAN: {"none": {"heron": 1.0}}, CLS: {"none": {"loaf": 1.0}}}
    found = retrieval(runs, qrels, LAKE, PASSAGES, "Judged@1")
    (duel,) = duels_of_retrieval(found, (MEAN, CLS), "Judged@1").wins
    assert (duel.values, duel.wanted, duel.verdict) == ((1, 0), "", "")
    assert [(one.right, one.verdict, one.rank) for one in duel.answers] == [
        (False, "judged not relevant, grade 0", None),
        (None, "not judged", None),
    ]


def test_duels_of_sentences_by_hand():
    """Percentiles of four pairs are 1/8, 3/8, 5/8 and 7/8; the first row ranks as people do, the second in reverse."""
    task = sts_task("t", {("a", "b"): 0, ("c", "d"): 1, ("e", "f"): 3, ("g", "h"): 5})
    flat = StsTask("none", (Subset("none", (), (), np.array([])),))
    said = {"mean": {"t": [0.1, 0.2, 0.3, 0.4], "none": []}, "cls": {"t": [0.4, 0.3, 0.2, 0.1], "none": []}}
    duels = duels_of_sts(similarities([task, flat], said), (MEAN, CLS))
    check_sums(duels, 4)
    assert (duels.n_wins, duels.n_losses, duels.n_ties) == (4, 0, 0)
    assert [duel.values for duel in duels.wins] == [(1, 0.25), (1, 0.25), (1, 0.75), (1, 0.75)]
    assert duels.wins[1].text == "g — h"
    assert duels.wins[1].answers == (Answer("cosine 0.400, above 88% of t"), Answer("cosine 0.100, above 12% of t"))
    assert duels.wins[1].wanted == "score 5, above 88% of t"
    assert (duels.unit, duels.wanted) == ("pairs", "the human score")
    same = duels_of_sts(similarities([task, flat], {**said, "cls": said["mean"]}), (MEAN, CLS))
    assert (same.n_wins, same.n_losses, same.n_ties, same.wins, same.losses) == (0, 0, 4, [], [])


def test_pairs_that_tie_share_their_rank():
    """The gold percentiles are 1/4 twice and 3/4 twice; four equal cosines have 1/2 each."""
    task = sts_task("t", {("a", "b"): 1, ("c", "d"): 1, ("e", "f"): 2, ("g", "h"): 2})
    said = {"mean": {"t": [0.5, 0.5, 0.5, 0.5]}, "cls": {"t": [0.1, 0.1, 0.2, 0.2]}}
    duels = duels_of_sts(similarities([task], said), (MEAN, CLS))
    check_sums(duels, 4)
    assert [duel.values for duel in duels.losses] == [(0.75, 1)] * 4


def test_long_texts_are_cut_to_one_line():
    task = PseudoTask("t", ("a\n query " + "x" * 999, "b"), ("one\t\ttwo", "three"), (0, 1))
    found = found_sources({"mean": {"t": [1, 0]}, "cls": {"t": [0, 0]}}, [task])
    (duel,) = duels_of_corpus(found, (MEAN, CLS), "RR").wins
    assert duel.text.startswith("a query xxx")
    assert len(duel.text) == SNIPPET_CHARS
    assert duel.text.endswith("x…")
    assert duel.wanted == "one two"


# --- projection


@pytest.mark.parametrize("transform", ["", "center", "truncate:3"])
def test_a_projection_is_scikit_learn_s_pca_up_to_signs(transform):
    from sklearn.decomposition import PCA

    vectors = random_rows(60) * np.array([5, 3, 2, 1, 1, 1], np.float32)
    found = gather.projection(Candidate("mean", transform), evidence_of(vectors, vectors, [], []), seed=0)
    rows = {"": vectors, "center": vectors - vectors.mean(0), "truncate:3": vectors[:, :3]}[transform]
    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float64))
    signs = np.sign((points * found.points).sum(0))
    np.testing.assert_allclose(found.points * signs, points, atol=1e-5)
    assert found.share == pytest.approx(pca.explained_variance_ratio_.sum(), abs=1e-5)
    assert found.texts == [f"text {n}" for n in range(60)]


def test_a_projection_of_many_texts_is_one_of_a_sample_with_its_fields():
    n = gather.SAMPLE + 300
    evidence = evidence_of(random_rows(n), random_rows(n), [], [], half=[str(place % 2) for place in range(n)])
    found = gather.projection(MEAN, evidence, seed=0)
    assert found.points.shape == (gather.SAMPLE, 2)
    assert [str(int(text.split()[1]) % 2) for text in found.texts] == found.fields["half"]


def test_fields_that_cannot_be_told_apart_by_color_are_left_out():
    n = 50
    evidence = evidence_of(
        random_rows(n),
        random_rows(n),
        [],
        [],
        two=["x", "y"] * 25,
        sparse=["x", "y"] + [""] * 48,
        most=[str(min(place, gather.MAX_VALUES - 1)) for place in range(n)],
        too_many=[str(min(place, gather.MAX_VALUES)) for place in range(n)],
        ids=[str(place) for place in range(n)],
        one=["x"] * n,
        one_or_none=["x", ""] * 25,
        none=[""] * n,
    )
    assert set(gather.projection(MEAN, evidence, seed=0).fields) == {"two", "sparse", "most"}


@pytest.mark.parametrize("vectors", [np.ones((7, 1)), np.full((9, 3), 0.3), np.array([[0.1, 0.2, 0.7]])])
def test_texts_without_any_spread_lie_on_one_point(vectors):
    vectors = vectors.astype(np.float32)
    found = gather.projection(MEAN, evidence_of(vectors, vectors, [], []), seed=0)
    assert found.share == 0
    np.testing.assert_allclose(found.points, np.zeros((len(vectors), 2)), atol=1e-12)


def test_a_line_has_all_its_variance_on_the_first_axis():
    vectors = np.array([[1], [-1], [2], [-2]], np.float32)
    found = gather.projection(MEAN, evidence_of(vectors, vectors, [], []), seed=0)
    assert np.abs(found.points).tolist() == [[1, 0]] * 4
    assert found.share == pytest.approx(1)


def test_the_same_seed_draws_the_same_pairs():
    found = retrieval({MEAN: {}}, JUDGED, LAKE, PASSAGES)
    one, same, other = (gather.evidence_of_retrieval(found, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.dissimilar, same.dissimilar)
    assert not np.array_equal(one.dissimilar, other.dissimilar)
