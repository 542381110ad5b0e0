"""Tests for packed rows: the same hidden states as padded ones where a backbone allows it, and no packing elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FAMILIES, family_checkpoint

from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.runtimes.torch_model import PooledModel
from semsearch.encoder.runtimes.torch_packing import Packer
from semsearch.poolers import parse_pooler

POOLERS = ("mean", "cls", "max", "weighted-mean", "last", "first-last")
PACKED = {"Bert", "Roberta", "XLMRoberta", "Electra", "Albert", "DistilBert"}
"""Families that can be packed; ModernBert's windows and MPNet's relative positions ignore where texts end in a row."""


def load(tmp_path: Path, family: str) -> tuple[PooledModel, int]:
    checkpoint = open_checkpoint(family_checkpoint(tmp_path / family, family))
    heads = [checkpoint.head(parse_pooler(name)) for name in POOLERS]
    return PooledModel(checkpoint, heads), checkpoint.first_position


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(1)
    mask = torch.tensor(np.arange(40) < np.array([[40], [3], [17], [33]])).long()
    return torch.tensor(rng.integers(5, 2000, (4, 40))) * mask, mask


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_packed_equals_padded_or_is_not_done(tmp_path: Path, family: str) -> None:
    model, first_position = load(tmp_path, family)
    ids, mask = batch()
    if family.startswith(("Roberta", "XLM", "MPNet")):
        ids = ids + (1 - mask)  # their padding index is 1
    expected = model(ids, mask, torch.tensor(2))
    packer = Packer.proven(model, first_position, "cpu")
    assert (packer is not None) == (family in PACKED)
    again = model.pool(packer(model, ids, mask), mask, torch.tensor(2)) if packer else model(ids, mask, torch.tensor(2))
    for ours, theirs in zip(again, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4, equal_nan=True)


@torch.inference_mode()
def test_a_text_sees_nothing_of_its_neighbors(tmp_path: Path) -> None:
    model, first_position = load(tmp_path, "Bert")
    packer = Packer.proven(model, first_position, "cpu")
    assert packer
    ids, mask = batch()
    others = ids.clone()
    others[1:] = (others[1:] + 7) % 2000
    one, two = (packer(model, each, mask).last_hidden_state[0] for each in (ids, others))
    torch.testing.assert_close(one, two, atol=0, rtol=0)


def test_on_the_cpu_nothing_is_packed(tmp_path: Path) -> None:
    model, first_position = load(tmp_path, "Bert")
    assert Packer.where_it_works(model, first_position, "cpu") is None
