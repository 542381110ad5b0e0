"""Evaluation while training: one number that should rise, with a value for every example behind it.

Encoders are evaluated on STS data or judged queries by `semsearch.evaluation`, classifiers and masked language models
on more examples of their own kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from semsearch.arrays import Vectors
from semsearch.encoder.runtimes.torch import BATCHING, NO_INT8
from semsearch.encoder.tokenization import Batch, Batcher, TokenIds
from semsearch.errors import SourceError, UnsupportedError, UsageError
from semsearch.evaluation.classification import ACCURACY, MACRO_F1, Labels, compare_predictions, score_predictions
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.retrieval import evaluate_retrieval
from semsearch.evaluation.retrieval_data import RetrievalTask, holds_queries, load_retrieval, splits_of
from semsearch.evaluation.significance import Comparison, compare_correlations, compare_means
from semsearch.evaluation.sts import evaluate_sts
from semsearch.evaluation.sts_data import StsTask, load_sts
from semsearch.paths import as_path
from semsearch.training.randomness import seeded
from semsearch.training.tasks import MaskedModel
from semsearch.types import EncoderSpec

MEASURE = "nDCG@10"

NO_DEV_SPLIT = "{!r} has no dev split, so the {} split is used: the score of a checkpoint chosen by it is too high"

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, slots=True)
class Score:
    """The outcome of one evaluation.

    Attributes:
        value: The number that should rise: a correlation, a measure or an accuracy, 1 at most; for masked language
            models minus the cross-entropy in nats.
        each: The values behind it, by task: similarities of pairs, or a value per query or example.
        more: Other numbers, by name.
    """

    value: float
    each: Mapping[str, NDArray[np.float64]]
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dev:
    """A dev set.

    Attributes:
        name: What is measured on which data.
        evaluate: Evaluates what is being trained, as it is now.
        compare: Compares the values behind scores, by the label of each.
        note: What the user should know about it; may be empty.
    """

    name: str
    evaluate: Callable[[], Score]
    compare: Callable[[Mapping[str, Score]], Comparison]
    note: str = ""


class LiveRuntime:
    """Runs an encoder that is being trained, without dropout, on the device where it is trained; see `Runtime`."""

    name = "torch"
    precision = "float32"
    artifacts: Mapping[str, Path] = MappingProxyType({})

    def __init__(self, encode: Callable[[Sequence[TokenIds], int], torch.Tensor], device: str) -> None:
        """Create a runtime from a function that encodes token ids, given how many leading tokens are not pooled."""
        self._encode, self.device = encode, device
        self.batching = BATCHING["cpu" if device == "cpu" else "accelerator"]

    def quantize(self, batches: Iterable[Batch]) -> NoReturn:
        """Raise UnsupportedError."""
        raise UnsupportedError(NO_INT8)

    def __call__(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Vectors]]]:
        """Encode batches; see `Runtime`."""
        for batch in batches:
            with torch.no_grad():
                yield batch, [self._encode(batch.ids, batch.skip).cpu().numpy()]


def live_encoder(runtime: LiveRuntime, spec: EncoderSpec, batcher: Batcher, n_layers: int) -> MultiPooler:
    """Return an encoder for evaluation over a runtime."""
    return MultiPooler(
        specs={spec.pooler: spec},
        also=(),
        refused={},
        declared=spec.pooler,
        n_layers=n_layers,
        _batcher=replace(batcher, max_tokens=spec.max_tokens, batching=runtime.batching),
        _runtime=runtime,
        _kept=(spec,),
        _cache=None,
    )


def encoder_dev(path: str, tasks: Sequence[str], encoder: MultiPooler, seed: int) -> Dev:
    """Load STS data or judged queries to evaluate an encoder on.

    Args:
        path: A folder in BEIR's layout, whose dev split is used if it has one; or STS data as for `load_sts`.
        tasks: For a folder of STS data: names of tasks; empty for all that have a dev split.
        encoder: The encoder that is being trained.
        seed: Random seed of intervals.

    Raises:
        SourceError: If there is no such data, or all scores of a task are the same.
        UsageError: If a task is unknown or has no dev split.
    """
    source = as_path(path, "dev")
    if not source.exists():
        raise SourceError(f"no {str(source)!r} for `dev`; expected STS data, or judged queries in BEIR's layout")
    if holds_queries(source):
        if tasks:
            raise UsageError("`dev_tasks` applies only to a folder of STS data")
        splits = splits_of(source)
        split = next((name for name in ("dev", "validation", "test") if name in splits), splits[0])
        judged = load_retrieval(source, split)
        return Dev(
            f"{judged.name} ({split}), {MEASURE}",
            lambda: _search(judged, encoder),
            lambda scores: compare_means({label: dict(score.each) for label, score in scores.items()}, seed),
            NO_DEV_SPLIT.format(path, split) if split == "test" else "",
        )
    found = load_sts(source, tasks, "dev")
    if not any(len(task.similarity) for task in found):
        raise SourceError(f"no pair in {path!r} has a score")
    gold = {task.name: task.similarity for task in found}
    if same := next((name for name, scores in gold.items() if len({*scores.tolist()}) == 1), None):
        raise SourceError(f"all scores of {same} in {path!r} are the same, so nothing can correlate with them")
    names = f"{', '.join(gold)}{'' if source.is_file() else ' (dev)'}"
    return Dev(
        f"{names}, Spearman's correlation",
        lambda: _correlate(found, encoder),
        lambda scores: compare_correlations({label: score.each for label, score in scores.items()}, gold, seed),
    )


def _search(task: RetrievalTask, encoder: MultiPooler) -> Score:
    found = evaluate_retrieval(task, encoder, modes=("dense",), measures=(MEASURE,))
    each = found.per_query[found.candidates[0].label][MEASURE]
    return Score(float(each.mean()), {MEASURE: each})


def _correlate(tasks: Sequence[StsTask], encoder: MultiPooler) -> Score:
    found = evaluate_sts(tasks, encoder)
    label = found.candidates[0].label
    by_task = {name: result.all.spearman or 0.0 for name, result in found.results()[label].items()}
    return Score(float(np.mean([*by_task.values()])), found.scores[label], by_task if len(by_task) > 1 else {})


def classes_dev(path: str, classify: Callable[[], Labels], gold: Labels, seed: int) -> Dev:
    """Return a dev set for a classifier.

    Args:
        path: Path of the examples, for the name.
        classify: Returns the most probable class of each example, `[n]`.
        gold: Their classes, `[n]`.
        seed: Random seed of intervals.
    """
    name = Path(path).name

    def evaluate() -> Score:
        predicted = classify()
        found = score_predictions(predicted, gold)
        return Score(found[ACCURACY], {name: predicted.astype(np.float64)}, {MACRO_F1: found[MACRO_F1]})

    def compare(scores: Mapping[str, Score]) -> Comparison:
        predicted = {label: {name: score.each[name].astype(np.int64)} for label, score in scores.items()}
        return compare_predictions(predicted, {name: gold}, ACCURACY, seed)

    return Dev(f"{name}, {ACCURACY}", evaluate, compare)


def masked_dev(path: str, model: MaskedModel, rows: Sequence[TokenIds], seed: int) -> Dev:
    """Return a dev set for a masked language model, with the same masks in each evaluation."""

    def evaluate() -> Score:
        with seeded(seed), torch.no_grad():
            losses = [float(model.loss(rows[start : start + 64])) for start in range(0, len(rows), 64)]
        each = -np.array(losses)
        return Score(float(each.mean()), {"loss": each}, {"perplexity": float(np.exp(-each.mean()))})

    return Dev(
        f"{Path(path).name}, minus the cross-entropy of masked tokens",
        evaluate,
        lambda scores: compare_means({label: dict(score.each) for label, score in scores.items()}, seed),
    )
