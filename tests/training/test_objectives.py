"""Objectives: values and gradients equal loops over plain numbers, and the losses of sentence-transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as theirs
from torch import Tensor, nn

from semsearch.training.objectives import OBJECTIVES, PARTS, matryoshka, pair_features

Rows = Sequence[Sequence[float]]

N, DIM, CLASSES = 4, 6, 3


def made(columns: int, seed: int = 0, n: int = N) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, DIM, generator=generator, dtype=torch.float64) for _ in range(columns)]


SCORES = torch.tensor([0.9, 0.1, 0.5, 0.1], dtype=torch.float64)
LABELS = torch.tensor([2, 0, 1, 1])
HEAD = nn.Linear(3 * DIM, CLASSES).double()


# --- by loops over plain numbers


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.dist(a, b)


def cross_entropy(logits: Sequence[float], target: int) -> float:
    return math.log(math.fsum(math.exp(x) for x in logits)) - logits[target]


def by_softmax(columns: list[Rows], labels: list[int]) -> float:
    weights, bias = HEAD.weight.tolist(), HEAD.bias.tolist()
    losses = []
    for u, v, label in zip(*columns, labels, strict=True):
        features = [*u, *v, *(abs(x - y) for x, y in zip(u, v, strict=True))]
        losses.append(cross_entropy([dot(row, features) + b for row, b in zip(weights, bias, strict=True)], label))
    return math.fsum(losses) / N


CLASSIFIER = nn.Linear(DIM, CLASSES).double()


def by_classify(columns: list[Rows], labels: list[int]) -> float:
    weights, bias = CLASSIFIER.weight.tolist(), CLASSIFIER.bias.tolist()
    logits = [[dot(row, u) + b for row, b in zip(weights, bias, strict=True)] for u in columns[0]]
    return math.fsum(cross_entropy(some, label) for some, label in zip(logits, labels, strict=True)) / N


def by_regression(columns: list[Rows], labels: list[float]) -> float:
    return math.fsum((cosine(u, v) - y) ** 2 for u, v, y in zip(*columns, labels, strict=True)) / N


def by_triplet(columns: list[Rows], labels: None) -> float:
    return math.fsum(max(0.0, distance(a, p) - distance(a, n) + 1) for a, p, n in zip(*columns, strict=True)) / N


def by_in_batch(columns: list[Rows], labels: None, weight: float = 1.0) -> float:
    anchors, positives, *negatives = columns
    total = 0.0
    for i, anchor in enumerate(anchors):
        logits = [cosine(anchor, p) / 0.05 for p in positives]
        for column in negatives:
            logits += [cosine(anchor, x) / 0.05 + (math.log(weight) if i == j else 0) for j, x in enumerate(column)]
        total += cross_entropy(logits, i)
    return total / N


def by_cosent(columns: list[Rows], labels: list[float]) -> float:
    cosines = [cosine(u, v) for u, v in zip(*columns, strict=True)]
    pairs = [(i, j) for i in range(N) for j in range(N) if labels[i] > labels[j]]
    return math.log(1 + math.fsum(math.exp((cosines[j] - cosines[i]) / 0.05) for i, j in pairs))


def by_distill(columns: list[Rows], labels: Rows) -> float:
    squares = [
        (x - y) ** 2 for rows in columns for u, t in zip(rows, labels, strict=True) for x, y in zip(u, t, strict=True)
    ]
    return math.fsum(squares) / len(squares)


def by_margin(columns: list[Rows], labels: list[float]) -> float:
    return math.fsum((dot(q, p) - dot(q, n) - y) ** 2 for q, p, n, y in zip(*columns, labels, strict=True)) / N


CASES: dict[str, tuple[int, Any, dict[str, Any], Callable[..., float]]] = {
    "softmax": (2, LABELS, {"head": HEAD}, by_softmax),
    "regression": (2, SCORES, {}, by_regression),
    "triplet": (3, None, {}, by_triplet),
    "simcse-unsup": (2, None, {}, by_in_batch),
    "simcse-sup": (3, None, {"negative_weight": 2.5}, lambda columns, labels: by_in_batch(columns, labels, 2.5)),
    "mnr": (4, None, {}, by_in_batch),
    "cosent": (2, SCORES, {}, by_cosent),
    "distill": (2, made(1, 9)[0], {}, by_distill),
    "distill-margin": (3, SCORES, {}, by_margin),
    "classify": (1, LABELS, {"head": CLASSIFIER}, by_classify),
}
"""Objective to its number of columns, labels, options, and the same by a loop."""


def test_every_objective_is_tried():
    assert CASES.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_those_of_a_loop(name):
    n_columns, labels, options, by_loop = CASES[name]
    columns = [column.requires_grad_() for column in made(n_columns)]
    plain = None if labels is None else labels.tolist()
    loss = OBJECTIVES[name].loss(columns, labels, **options)
    assert loss.item() == pytest.approx(by_loop([column.tolist() for column in columns], plain), rel=1e-9)
    loss.backward()
    step = 1e-6
    for c, i, d in ((0, 0, 0), (0, 3, 5), (n_columns // 2, 1, 2), (n_columns - 1, 2, 4)):
        around = []
        for sign in (1, -1):
            moved = [column.tolist() for column in columns]
            moved[c][i][d] += sign * step
            around.append(by_loop(moved, plain))
        assert columns[c].grad[i, d].item() == pytest.approx((around[0] - around[1]) / (2 * step), rel=1e-5, abs=1e-8)


def test_values_that_can_be_done_by_hand():
    right, up = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert OBJECTIVES["regression"].loss([right, up], torch.tensor([0.5])).item() == pytest.approx(0.25)
    triplet = OBJECTIVES["triplet"].loss
    assert triplet([right, right, up], None).item() == 0, "0 - sqrt(5) + 1 is below 0"
    assert triplet([right, up, right], None).item() == pytest.approx(math.sqrt(5) + 1, abs=1e-5)
    both = torch.cat([right, up])
    expected = math.log(1 + math.exp(-20))
    assert OBJECTIVES["mnr"].loss([both, both], None).item() == pytest.approx(expected, abs=1e-7)
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert OBJECTIVES["mnr"].loss([same, same], None).item() == pytest.approx(math.log(2))
    assert OBJECTIVES["cosent"].loss([same, same], torch.tensor([1.0, 0.0])).item() == pytest.approx(math.log(2))
    assert OBJECTIVES["cosent"].loss([same, same], torch.tensor([1.0, 1.0])).item() == 0, "no pair is ranked"


# --- sentence-transformers


class Given(nn.Module):
    """A model whose vectors are what it is given."""

    device = torch.device("cpu")

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["given"]}

    def get_embedding_dimension(self) -> int:
        return DIM


def softmax_loss() -> nn.Module:
    loss = theirs.SoftmaxLoss(Given(), DIM, CLASSES).double()
    loss.classifier.load_state_dict(HEAD.state_dict())
    return loss


def symmetric_loss() -> nn.Module:
    directions = ("query_to_doc", "doc_to_query")
    return theirs.MultipleNegativesRankingLoss(Given(), directions=directions, partition_mode="per_direction")


PEERS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "softmax": (softmax_loss, {}),
    "regression": (lambda: theirs.CosineSimilarityLoss(Given()), {}),
    "triplet": (lambda: theirs.TripletLoss(Given(), triplet_margin=1), {}),
    "simcse-unsup": (lambda: theirs.MultipleNegativesRankingLoss(Given()), {}),
    "simcse-sup": (lambda: theirs.MultipleNegativesRankingLoss(Given()), {"negative_weight": 1.0}),
    "mnr": (symmetric_loss, {"symmetric": True}),
    "cosent": (lambda: theirs.CoSENTLoss(Given()), {}),
    "distill": (lambda: theirs.MSELoss(Given()), {}),
    "distill-margin": (lambda: theirs.MarginMSELoss(Given()), {}),
}
"""Objective to sentence-transformers' loss, and the options with which it is the same."""


def gradients(loss: Tensor, columns: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, columns))


@pytest.mark.parametrize("name", PEERS)
def test_losses_and_gradients_equal_those_of_sentence_transformers(name):
    n_columns, labels, options, _ = CASES[name]
    make, changed = PEERS[name]
    columns = [column.requires_grad_() for column in made(n_columns, 3)]
    loss = OBJECTIVES[name].loss(columns, labels, **{**options, **changed})
    peer = make()([{"given": column} for column in columns], labels)
    assert loss.item() == pytest.approx(peer.item(), abs=1e-6)
    for ours, other in zip(gradients(loss, columns), gradients(peer, columns), strict=True):
        torch.testing.assert_close(ours, other, atol=1e-6, rtol=0)


def test_matryoshka_equals_that_of_sentence_transformers():
    columns = [column.requires_grad_() for column in made(2, 5)]
    inner = theirs.MultipleNegativesRankingLoss(model := Given())
    peer = theirs.MatryoshkaLoss(model, inner, [6, 4, 2], [1, 0.5, 0.25])
    loss = matryoshka(OBJECTIVES["mnr"].loss, [6, 4, 2], [1, 0.5, 0.25])(columns)
    expected = peer([{"given": column} for column in columns], None)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for ours, other in zip(gradients(loss, columns), gradients(expected, columns), strict=True):
        torch.testing.assert_close(ours, other, atol=1e-6, rtol=0)


def test_features_of_pairs_are_joined_in_the_order_asked_for():
    u, v = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 1.0]])
    assert pair_features(u, v, tuple(PARTS)).tolist() == [[1, -2, 3, 1, 2, 3, 3, -2]]
    assert pair_features(u, v, ("u*v", "u")).tolist() == [[3, -2, 1, -2]]
