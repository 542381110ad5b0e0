"""STS: published numbers, an independent path for every pooler, and texts that are encoded once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fakes import CountingEncoder
from oracles import ORACLES, forward
from scipy.stats import spearmanr

from semsearch import POOLERS, Encoder, ModelError, UsageError
from semsearch.encoder.many import ManyPoolers
from semsearch.evaluation.sts import average, evaluate_sts, unique_sentences
from semsearch.evaluation.sts_data import Subset, Task, load_tasks

PUBLISHED = {
    **{"STS12": 72.37, "STS13": 80.60, "STS14": 75.60, "STS15": 85.39, "STS16": 78.99, "STS-B": 82.03, "SICK-R": 77.15}
}
"""all-MiniLM-L6-v2's mean (MTEB for the first six; its SICK-R counts other pairs)."""


@pytest.mark.slow
def test_the_default_model_has_its_published_scores(data: Path):
    results = evaluate_sts(load_tasks(data / "sts"), ManyPoolers.load(poolers=["mean"], device="cpu"))["mean"]
    for task, published in PUBLISHED.items():
        assert 100 * results[task].all.spearman == pytest.approx(published, abs=0.02), task
    assert 100 * average(results) == pytest.approx(sum(PUBLISHED.values()) / 7, abs=0.02)


@pytest.mark.slow
def test_every_pooler_has_the_scores_of_an_independent_path(data: Path):
    tasks = load_tasks(data / "sts", ["STS16"])
    results = evaluate_sts(tasks, ManyPoolers.load(device="cpu"))
    assert set(results) == set(ORACLES) == set(POOLERS)
    sentences = unique_sentences(tasks)
    alone = {sentence: forward((sentence,)) for sentence in sentences}  # without padding
    for name, oracle in ORACLES.items():
        vectors = {
            sentence: oracle([h[0].numpy() for h in states.layers], states.pooler_output[0].numpy())
            for sentence, states in alone.items()
        }
        for subset in tasks[0].subsets:
            pairs = [(vectors[one], vectors[two]) for one, two in zip(subset.first, subset.second, strict=True)]
            cosines = [(one @ two) / np.sqrt((one @ one) * (two @ two)) for one, two in pairs]
            expected = 100 * spearmanr(cosines, subset.similarity).statistic
            assert 100 * results[name]["STS16"].subsets[subset.name].spearman == pytest.approx(expected, abs=0.02)


def small_task(name: str, *pairs: tuple[str, str, float]) -> Task:
    first, second, scores = zip(*pairs, strict=True)
    return Task(name, (Subset(name, first, second, np.array(scores)),))


TASKS = [
    small_task("one", ("a heron", "a bird", 4), ("a heron", "an egret", 5), ("a heron", "a loaf", 0)),
    small_task("two", ("a bird", "a loaf", 1), ("a loaf", "bread", 5)),
]


def test_a_sentence_is_encoded_once_however_many_tasks_and_poolers_use_it(minilm: Encoder):
    class Counting(CountingEncoder):
        names = ("x", "y")

        def encode_passages(self, texts, progress=None):
            vectors = super().encode_passages(texts, progress)
            return {name: vectors for name in self.names}

    encoder = Counting(minilm)
    evaluate_sts(TASKS, encoder)
    assert Counter(encoder.passages) == {"a heron": 1, "a bird": 1, "an egret": 1, "a loaf": 1, "bread": 1}


def test_many_poolers_give_the_vectors_that_each_gives_alone(checkpoint):
    folder = str(checkpoint())
    names = [*POOLERS, "layer:2+max", "cls+mean", "layer:0+mean+layer:-2+cls"]
    texts = ["a heron waits in the reeds", "x", "bread " * 40]
    together = ManyPoolers.load(folder, names, device="cpu").encode_passages(texts)
    assert list(together) == names
    for name in names:
        np.testing.assert_allclose(together[name], Encoder.load(folder, name).encode_passages(texts), atol=1e-6)


def test_a_pooler_that_the_checkpoint_cannot_have_is_refused_and_the_others_go_on(checkpoint):
    encoder = ManyPoolers.load(str(checkpoint(head=False)), ["mean", "pooler-output", "layer:9+cls", "cls"])
    assert encoder.names == ("mean", "cls")
    assert "has no weights for it" in encoder.refused["pooler-output"]
    assert "layers 0 to 4" in encoder.refused["layer:9+cls"]
    assert list(encoder.encode_passages(["a"])) == ["mean", "cls"]
    with pytest.raises(ModelError, match="none of the poolers can be had"):
        ManyPoolers.load(str(checkpoint(head=False)), ["pooler-output"])
    with pytest.raises(UsageError, match="unknown pooler 'average'"):
        ManyPoolers.load(poolers=["average"])


def test_simcse_names_mean_what_they_mean_there(checkpoint):
    folder = str(checkpoint())
    theirs = ManyPoolers.load(folder, ["all"], simcse_names=True).encode_passages(["a heron"])
    ours = ManyPoolers.load(folder, ["all"]).encode_passages(["a heron"])
    assert list(theirs) == ["cls", "cls_before_pooler", "avg", "avg_top2", "avg_first_last"]
    np.testing.assert_array_equal(theirs["cls"], ours["pooler-output"])
    np.testing.assert_array_equal(theirs["cls_before_pooler"], ours["cls"])


def test_constant_scores_have_no_correlation_and_no_average(checkpoint):
    constant = small_task("flat", ("a", "b", 3), ("a", "c", 3))
    results = evaluate_sts([*TASKS, constant], ManyPoolers.load(str(checkpoint()), ["mean"]))["mean"]
    assert results["flat"].all.spearman is None
    assert average(results) is None
