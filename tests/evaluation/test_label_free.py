"""Tests for evaluation on pseudo-queries against ranks by hand, ranks counted in numpy, and ir-measures itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field

import ir_measures
import numpy as np
import pytest
from fakes import index_spec

from semsearch import Encoder, EncoderSpec
from semsearch.arrays import Vectors
from semsearch.errors import UsageError
from semsearch.evaluation import label_free as corpus
from semsearch.evaluation.candidates import Candidate
from semsearch.evaluation.label_free import ALL, LabelFreeResult, evaluate_corpus, recommend
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.pseudo_queries import PseudoTask
from semsearch.evaluation.significance import Cell, Comparison, compare_means


@dataclass
class Told:
    """A fake multi-pooler that returns a given vector for each pooler and text."""

    vectors: dict[str, dict[str, Sequence[float]]]
    also: tuple[str, ...] = ()
    similarity: str = "cosine"
    calls: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.vectors)

    @property
    def specs(self) -> dict[str, EncoderSpec]:
        return {name: index_spec(len(next(iter(told.values())))) for name, told in self.vectors.items()}

    def encode_documents(self, texts: Sequence[str], progress: object = None) -> dict[str, Vectors]:
        self.calls.append(tuple(texts))
        return {name: np.array([told[text] for text in texts], np.float32) for name, told in self.vectors.items()}

    encode_queries = encode_documents


def at(degrees: float, length: float = 1.0) -> tuple[float, float]:
    return length * np.cos(np.radians(degrees)), length * np.sin(np.radians(degrees))


PASSAGES = {"east": at(0, 9), "north": at(90, 0.1), "west": at(180)}
QUERIES = {"first": at(10), "second": at(30, 5), "third": at(80)}
"""Queries whose sources are east, north and west, at ranks 1, 2 and 3; lengths do not matter."""

COMPASS = PseudoTask("compass", tuple(QUERIES), tuple(PASSAGES), (0, 1, 2))
EASY = PseudoTask("easy", ("first",), tuple(PASSAGES), (0,))


def evaluate(tasks: Sequence[PseudoTask], told: Told, **wishes: object) -> LabelFreeResult:
    return evaluate_corpus(tasks, told, **wishes)


@pytest.mark.parametrize("at_once", [1, 2, 512])
@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("nDCG@10", [1, 1 / np.log2(3), 1 / 2]),
        ("nDCG@2", [1, 1 / np.log2(3), 0]),
        ("RR", [1, 1 / 2, 1 / 3]),
        ("R@1", [1, 0, 0]),
        ("Success@2", [1, 1, 0]),
    ],
)
def test_ranks_by_hand(measure, expected, at_once, monkeypatch):
    monkeypatch.setattr(corpus, "AT_ONCE", at_once)
    found = evaluate([COMPASS, EASY], Told({"mean": PASSAGES | QUERIES}), measure=measure)
    assert found.per_query["mean"]["compass"].tolist() == pytest.approx(expected)
    assert found.per_query["mean"]["easy"].tolist() == [1]
    assert found.per_query["mean"][ALL].tolist() == pytest.approx([*expected, 1])
    assert found.best_passage["mean"] == {"compass": [0, 0, 1], "easy": [0]}
    comparison = found.compare()
    assert comparison.columns == ("compass", "easy", ALL)
    means = [cell.value for cell in comparison.rows["mean"]]
    assert means == pytest.approx([np.mean(expected), 1, np.mean([*expected, 1])])


def test_each_pooler_has_its_own_numbers_and_every_text_is_encoded_in_one_go():
    turned = {text: (-x, y) for text, (x, y) in QUERIES.items()}  # swaps east and west
    told = Told({"mean": PASSAGES | QUERIES, "cls": PASSAGES | turned, "max": PASSAGES | QUERIES}, also=("max",))
    found = evaluate([COMPASS, EASY], told, measure="RR")
    assert [row.label for row in found.candidates] == ["mean", "cls"]
    assert found.per_query["cls"]["compass"].tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 2])
    assert found.best_passage["cls"]["compass"] == [2, 2, 1]
    assert found.per_query["max"]["compass"].tolist() == found.per_query["mean"]["compass"].tolist()
    assert told.calls == [(*QUERIES, "first"), (*PASSAGES, *PASSAGES)]
    assert found.vectors["easy"]["cls"][0].tolist() == [pytest.approx(turned["first"], abs=1e-6)]


def test_centering_by_hand():
    """Relative to the passages' mean (10, 0, 0), a query is nearest to its source; relative to 0 it is not.

    (10, 2.01, 2) · (10, 1, 0) / |(10, 1, 0)| = 10.1503, but with (10, 0, 3) it is 106 / 10.4403 = 10.1530.
    """
    told = Told({"mean": {"q": (10, 2.01, 2), "r": (10, 0, 1), "a": (10, 1, 0), "b": (10, 0, 3), "c": (10, -1, -3)}})
    found = evaluate([PseudoTask("t", ("q", "r"), ("a", "b", "c"), (0, 1))], told, measure="RR", transforms=["center"])
    assert [row.label for row in found.candidates] == ["mean", "mean, center"]
    assert found.per_query["mean"]["t"].tolist() == [1 / 2, 1 / 2]
    assert found.per_query["mean, center"]["t"].tolist() == [1, 1]


def test_a_transform_is_fitted_on_the_passages_of_each_task_alone():
    """The second task has another center, which must not shift that of the first."""
    words = {"q": (10, 2.01, 2), "r": (10, 0, 1), "a": (10, 1, 0), "b": (10, 0, 3), "c": (10, -1, -3)}
    far = {f"far {text}": (x, y + 90, z - 70) for text, (x, y, z) in words.items()}
    near = PseudoTask("near", ("q", "r"), ("a", "b", "c"), (0, 1))
    other = PseudoTask("far", ("far q", "far r"), ("far a", "far b", "far c"), (0, 1))
    found = evaluate([near, other], Told({"mean": words | far}), measure="RR", transforms=["center"])
    assert found.per_query["mean, center"][ALL].tolist() == [1, 1, 1, 1]


def random_task(n_queries: int, n_passages: int) -> tuple[PseudoTask, dict[str, Sequence[float]]]:
    """Build a task in eight dimensions whose queries lie near their sources, some nearer than others."""
    rng = np.random.default_rng(5)
    passages = {f"p{n}": rng.normal(size=8) for n in range(n_passages)}
    sources = tuple(rng.permutation(n_passages)[:n_queries].tolist())
    queries = {f"q{n}": passages[f"p{source}"] + n / 40 * rng.normal(size=8) for n, source in enumerate(sources)}
    return PseudoTask("random", tuple(queries), tuple(passages), sources), queries | passages


def test_ranks_equal_counting_in_numpy_and_ir_measures_itself():
    task, told = random_task(80, 150)
    asked, searched = (np.array([told[text] for text in texts], np.float32) for texts in (task.queries, task.passages))
    cosines = (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ (
        searched / np.linalg.norm(searched, axis=1, keepdims=True)
    ).T
    ranks = 1 + np.array([(row > row[source]).sum() for row, source in zip(cosines, task.sources, strict=True)])
    assert ranks.min() == 1
    assert 10 < ranks.max() < 100
    expected = {"nDCG@10": np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0), "RR": 1 / ranks}
    qrels = [ir_measures.Qrel(query, task.passages[source], 1) for query, source in zip(*task_pairs(task), strict=True)]
    run = [
        ir_measures.ScoredDoc(query, passage, float(cosine))
        for query, row in zip(task.queries, cosines, strict=True)
        for passage, cosine in zip(task.passages, row, strict=True)
    ]
    for measure, values in expected.items():
        found = evaluate([task], Told({"mean": told}), measure=measure).per_query["mean"]["random"]
        assert found.tolist() == pytest.approx(values.tolist())
        theirs = ir_measures.iter_calc([ir_measures.parse_measure(measure)], qrels, run)
        by_query = {metric.query_id: metric.value for metric in theirs}
        assert found.tolist() == pytest.approx([by_query[query] for query in task.queries])


def task_pairs(task: PseudoTask) -> tuple[Sequence[str], Sequence[int]]:
    return task.queries, task.sources


def test_best_passages_equal_a_loop():
    task, told = random_task(40, 150)
    best = evaluate([task], Told({"mean": told})).best_passage["mean"]["random"]
    for query, place in zip(task.queries, best, strict=True):
        angles = [np.dot(told[query], told[text]) / np.linalg.norm(told[text]) for text in task.passages]
        assert place == max(range(150), key=angles.__getitem__)


def test_two_queries_may_share_a_source():
    task = PseudoTask("shared", ("first", "second"), tuple(PASSAGES), (0, 0))
    found = evaluate([task], Told({"mean": PASSAGES | QUERIES}), measure="RR")
    assert found.per_query["mean"]["shared"].tolist() == [1, 1]


def test_a_real_encoder_is_asked_for_queries_and_passages_as_such(checkpoint):
    """Prefixes are applied by role, and the vectors are those of `Encoder`."""
    prompts = {"prompts": {"query": "ask: ", "passage": "tell: "}}
    folder = str(checkpoint(files={"config_sentence_transformers.json": prompts}))
    task = PseudoTask("t", ("a heron", "some bread"), ("it stands in reeds", "an oven", "flour and water"), (0, 1))
    found = evaluate_corpus([task], MultiPooler.load(folder, ["mean"], device="cpu"), measure="RR")
    encoder = Encoder.load(folder, "mean", device="cpu")
    assert (encoder.spec.query_prefix, encoder.spec.passage_prefix) == ("ask: ", "tell: ")
    cosines = encoder.encode_queries(task.queries) @ encoder.encode_documents(task.passages).T
    assert found.best_passage["mean"]["t"] == cosines.argmax(1).tolist()
    ranks = [1 + int((row > row[source]).sum()) for row, source in zip(cosines, task.sources, strict=True)]
    assert found.per_query["mean"]["t"].tolist() == pytest.approx([1 / rank for rank in ranks])


@pytest.mark.parametrize(
    ("wish", "reason"),
    [({"measure": "nDCG@ten"}, "unknown measure"), ({"transforms": ["whiten:3"]}, "from 1 to 2")],
)
def test_what_cannot_be_is_refused_before_anything_is_encoded(wish, reason):
    told = Told({"mean": PASSAGES | QUERIES})
    with pytest.raises(UsageError, match=reason):
        evaluate([COMPASS], told, **wish)
    assert told.calls == []


# --- recommendation

MEAN, CLS, MAX = Candidate("mean"), Candidate("cls"), Candidate("max")
WHITE, CENTERED = Candidate("max", "whiten:128"), Candidate("cls", "center")


def table(
    best: Candidate, tied: dict[Candidate, float], worse: Sequence[Candidate] = ()
) -> tuple[Comparison, list[Candidate]]:
    """Build a comparison in which the best row has 0.9, some rows tie with it, and the others have 0.1."""
    cells = {best: Cell(0.9, best=True)} | {row: Cell(value, p=0.4, tied=True) for row, value in tied.items()}
    cells |= {row: Cell(0.1, p=0.001) for row in worse}
    other = Cell(0.99, best=True)  # another task, which does not count
    return Comparison(("title", ALL), {row.label: (other, cell) for row, cell in cells.items()}, ""), [*cells]


@pytest.mark.parametrize(
    ("best", "tied", "worse", "declared", "chosen", "why"),
    [
        (MEAN, {}, [CLS, WHITE], "cls", MEAN, "the best here"),
        (MEAN, {}, [CLS, WHITE], "mean", MEAN, "the best here"),
        (MEAN, {}, [CLS], None, MEAN, "the best here"),
        (MEAN, {CLS: 0.8}, [], None, MEAN, "the best here"),
        (MEAN, {CLS: 0.8}, [], "cls", CLS, "the checkpoint's own pooler; not distinguishable from the best here, "),
        (MEAN, {CLS: 0.8}, [], "last", MEAN, "the best here"),
        (MEAN, {CENTERED: 0.8}, [CLS], "cls", MEAN, "the best here"),
        (WHITE, {}, [MEAN, CLS], "mean", WHITE, "the best here"),
        (WHITE, {}, [MEAN, CLS], None, WHITE, "the best here"),
        (
            WHITE,
            {CLS: 0.7, MEAN: 0.8, CENTERED: 0.85},
            [MAX],
            None,
            MEAN,
            "needs no transform; not distinguishable",
        ),
        (WHITE, {CLS: 0.7, MEAN: 0.8, CENTERED: 0.85}, [MAX], "cls", CLS, "the checkpoint's own pooler"),
        (WHITE, {CLS: 0.7, MEAN: 0.8}, [MAX], "max", MEAN, "needs no transform"),
        (WHITE, {CENTERED: 0.8}, [MEAN], "mean", WHITE, "the best here"),
    ],
)
def test_what_is_recommended(best, tied, worse, declared, chosen, why):
    comparison, rows = table(best, tied, worse)
    row, reason = recommend(comparison, rows, declared)
    assert row == chosen
    assert reason.startswith(why)
    assert (best.label in reason) == (row != best)


def test_a_real_comparison_decides_what_is_recommended():
    """Of 40 queries, `cls` loses one to `max, whiten:128`, and `mean` loses all."""
    ones, nearly = np.ones(40), np.ones(40)
    nearly[7] = 0
    values = {WHITE: ones, CLS: nearly, MEAN: np.zeros(40)}
    comparison = compare_means({row.label: {ALL: numbers} for row, numbers in values.items()})
    assert recommend(comparison, list(values), "mean")[0] == CLS, "needs no transform; mean is far off"
    assert recommend(comparison, list(values), "cls")[1].startswith("the checkpoint's own pooler")
    without = compare_means({row.label: {ALL: values[row]} for row in (WHITE, MEAN)})
    assert recommend(without, [WHITE, MEAN], "mean") == (WHITE, "the best here")


def test_memory_does_not_grow_with_queries_times_passages():
    """For 3,000 queries and passages, the cosines alone take 36 MB and their order 72 MB."""
    n = 3_000
    rng = np.random.default_rng(0)
    passages, queries = [f"p{i}" for i in range(n)], [f"q{i}" for i in range(n)]
    told = {text: row for text, row in zip([*passages, *queries], rng.normal(size=(2 * n, 4)), strict=True)}
    task = PseudoTask("large", tuple(queries), tuple(passages), tuple(range(n)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "DEPTH", 3)  # otherwise the hits themselves take most of the memory
        patch.setattr(corpus, "AT_ONCE", 100)
        tracemalloc.start()
        try:
            evaluate([task], Told({"mean": told}))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 20e6
