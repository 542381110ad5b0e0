"""Tests for STS evaluation: published scores, an independent path for every pooler, and texts encoded once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracles import ORACLES, backbone, forward
from scipy.stats import spearmanr

from semsearch import Encoder
from semsearch.errors import ModelError, UsageError
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.sts import average, evaluate_sts
from semsearch.evaluation.sts_data import StsTask, Subset, load_sts
from semsearch.poolers import POOLERS
from semsearch.transforms import unit_rows

PUBLISHED = {
    **{"STS12": 72.37, "STS13": 80.60, "STS14": 75.60, "STS15": 85.39, "STS16": 78.99, "STS-B": 82.03, "SICK-R": 77.15}
}
"""Scores of all-MiniLM-L6-v2 with mean pooling: the first six from MTEB, whose SICK-R has other pairs."""

CHECKED = ("STS13", "STS16")
"""Tasks that are scored on a second path, for which a part of each subset is enough."""


@pytest.mark.slow
def test_the_default_model_has_its_published_scores(data: Path):
    everything = evaluate_sts(load_sts(data / "sts"), MultiPooler.load(poolers=["mean"], device="cpu"))
    results = everything.results()["mean"]
    for task, published in PUBLISHED.items():
        assert 100 * results[task].all.spearman == pytest.approx(published, abs=0.02), task
    assert 100 * average(results) == pytest.approx(sum(PUBLISHED.values()) / 7, abs=0.02)


@pytest.mark.slow
def test_float32_has_the_published_score_of_sts_b_too(data: Path):
    encoder = MultiPooler.load(poolers=["mean"], device="cpu", precision="float32")
    score = evaluate_sts(load_sts(data / "sts", ["STS-B"]), encoder).results()["mean"]["STS-B"].all.spearman
    assert 100 * score == pytest.approx(PUBLISHED["STS-B"], abs=0.02)


@pytest.mark.slow
def test_every_pooler_has_the_scores_of_an_independent_path(data: Path):
    tasks = [every_third(task) for task in load_sts(data / "sts", CHECKED)]
    results = evaluate_sts(tasks, MultiPooler.load(device="cpu", precision="float32")).results()
    assert set(results) == set(ORACLES) == set(POOLERS)
    subsets = [subset for task in tasks for subset in task.subsets]
    sentences = list(dict.fromkeys(text for subset in subsets for text in (*subset.first, *subset.second)))
    vectors = oracle_vectors(sentences)
    row_of = {sentence: row for row, sentence in enumerate(sentences)}
    for name in ORACLES:
        for task in tasks:
            expected = {subset.name: spearman_of(vectors[name], row_of, [subset]) for subset in task.subsets}
            found = results[name][task.name]
            assert {one: 100 * found.subsets[one].spearman for one in expected} == pytest.approx(expected, abs=0.02)
            whole = spearman_of(vectors[name], row_of, task.subsets)
            assert 100 * found.all.spearman == pytest.approx(whole, abs=0.02)
            sizes = [len(subset.similarity) for subset in task.subsets]
            assert 100 * found.mean.spearman == pytest.approx(np.mean([*expected.values()]), abs=0.02)
            weighted = np.average([*expected.values()], weights=sizes)
            assert 100 * found.wmean.spearman == pytest.approx(weighted, abs=0.02)


def every_third(task: StsTask) -> StsTask:
    """Return a third of the pairs of each subset; subsets keep their unequal sizes."""
    return replace(
        task,
        subsets=tuple(
            replace(one, first=one.first[::3], second=one.second[::3], similarity=one.similarity[::3])
            for one in task.subsets
        ),
    )


def oracle_vectors(sentences: Sequence[str]) -> dict[str, np.ndarray]:
    """Compute each pooler's float64 unit rows with plain transformers, in batches of equal length, unpadded."""
    tokenizer, _ = backbone()
    by_length = defaultdict(list)
    for row, ids in enumerate(tokenizer(list(sentences))["input_ids"]):
        by_length[len(ids)].append(row)
    vectors = {name: np.empty((len(sentences), 384)) for name in ORACLES}
    for rows in by_length.values():
        for some in batched(rows, 64):
            states = forward.__wrapped__(tuple(sentences[row] for row in some))
            layers = np.stack([layer.numpy() for layer in states.layers])
            for place, row in enumerate(some):
                for name, oracle in ORACLES.items():
                    vectors[name][row] = oracle(layers[:, place], states.pooler_output[place].numpy())
    return {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}


def batched(rows: list[int], size: int) -> Iterator[list[int]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def spearman_of(vectors: np.ndarray, row_of: dict[str, int], subsets: Sequence[Subset]) -> float:
    """Compute Spearman x 100 over all pairs of these subsets; cosines of a sentence with itself are rounded to tie."""
    first = [row_of[sentence] for subset in subsets for sentence in subset.first]
    second = [row_of[sentence] for subset in subsets for sentence in subset.second]
    cosines = (vectors[first] * vectors[second]).sum(1).round(7)
    return 100 * spearmanr(cosines, np.concatenate([subset.similarity for subset in subsets])).statistic


def small_task(name: str, *pairs: tuple[str, str, float]) -> StsTask:
    first, second, scores = zip(*pairs, strict=True)
    return StsTask(name, (Subset(name, first, second, np.array(scores)),))


TASKS = [
    small_task("one", ("a heron", "a bird", 4), ("a heron", "an egret", 5), ("a heron", "a loaf", 0)),
    small_task("two", ("a bird", "a loaf", 1), ("a loaf", "bread", 5)),
]


def test_a_sentence_is_encoded_once_however_many_tasks_and_poolers_use_it(checkpoint):
    encoder = MultiPooler.load(str(checkpoint()), ["mean", "cls"])
    seen: list[str] = []

    def counting(texts, prefix):
        seen.extend(texts)
        return encoder._batcher(texts, prefix)

    evaluate_sts(TASKS, replace(encoder, _batcher=counting))
    assert Counter(seen) == {"a heron": 1, "a bird": 1, "an egret": 1, "a loaf": 1, "bread": 1}


@pytest.mark.usefixtures("reference")
def test_many_poolers_give_the_vectors_that_each_gives_alone(checkpoint):
    folder = str(checkpoint())
    names = [*POOLERS, "layer:2+max", "cls+mean", "layer:0+mean+layer:-2+cls"]
    texts = ["a heron waits in the reeds", "x", "bread " * 40]
    together = MultiPooler.load(folder, names, device="cpu").encode_documents(texts)
    assert list(together) == names
    for name in names:
        alone = Encoder.load(folder, name).encode_documents(texts)
        np.testing.assert_allclose(unit_rows(together[name]), alone, atol=1e-6)


def test_a_pooler_that_the_checkpoint_cannot_have_is_refused_and_the_others_go_on(checkpoint):
    encoder = MultiPooler.load(str(checkpoint(head=False)), ["mean", "pooler-output", "layer:9+cls", "cls"])
    assert encoder.names == ("mean", "cls")
    assert "has no weights for it" in encoder.refused["pooler-output"]
    assert "layers 0 to 4" in encoder.refused["layer:9+cls"]
    assert list(encoder.encode_documents(["a"])) == ["mean", "cls"]
    with pytest.raises(ModelError, match="no requested pooler is available for this checkpoint"):
        MultiPooler.load(str(checkpoint(head=False)), ["pooler-output"])
    with pytest.raises(UsageError, match="unknown pooler 'average'"):
        MultiPooler.load(poolers=["average"])


def test_simcse_names_mean_what_they_mean_there(checkpoint):
    folder = str(checkpoint())
    theirs = MultiPooler.load(folder, ["all"], simcse_names=True).encode_documents(["a heron"])
    ours = MultiPooler.load(folder, ["all"]).encode_documents(["a heron"])
    assert list(theirs) == ["cls", "cls_before_pooler", "avg", "avg_top2", "avg_first_last"]
    np.testing.assert_array_equal(theirs["cls"], ours["pooler-output"])
    np.testing.assert_array_equal(theirs["cls_before_pooler"], ours["cls"])


def test_constant_scores_have_no_correlation_and_no_average(checkpoint):
    constant = small_task("flat", ("a", "b", 3), ("a", "c", 3))
    results = evaluate_sts([*TASKS, constant], MultiPooler.load(str(checkpoint()), ["mean"])).results()["mean"]
    assert results["flat"].all.spearman is None
    assert average(results) is None


def test_a_task_that_a_transform_cannot_be_fitted_on_has_no_correlation_and_the_others_have_theirs(checkpoint):
    empty = StsTask("empty", (Subset("empty", (), (), np.empty(0), 3),))
    itself = small_task("itself", ("a", "a", 3))
    encoder = MultiPooler.load(str(checkpoint()), ["mean"])
    results = evaluate_sts([*TASKS, empty, itself], encoder, ["center", "whiten:2"]).results()["mean, center"]
    assert [results[task].all.spearman for task in ("empty", "itself")] == [None, None]
    assert results["one"] == evaluate_sts(TASKS, encoder, ["center"]).results()["mean, center"]["one"]


@pytest.mark.parametrize("transform", ["whiten", "whiten:3", "whiten:2"])
def test_whitening_as_many_texts_as_axes_says_nothing_of_them(checkpoint, transform):
    """Four whitened sentences form a simplex in three dimensions, so the cosine of any two is -1/3."""
    encoder = MultiPooler.load(str(checkpoint()), ["mean", "cls"])
    found = evaluate_sts(TASKS[:1], encoder, [transform])
    for pooler in ("mean", "cls"):
        whole = transform != "whiten:2"
        assert (found.results()[f"{pooler}, {transform}"]["one"].all.spearman is None) == whole
        assert found.results()[pooler]["one"].all.spearman is not None
