"""The encoder while it is trained: the vectors of `Encoder`, and gradients that do not depend on batching."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fakes import tiny_checkpoint
from making import SENTENCES, recipe, written

from semsearch import Encoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.pooling import parse_pooler
from semsearch.encoder.tokenization import Batching
from semsearch.training import siamese as module
from semsearch.training import tasks
from semsearch.training.data import load_examples
from semsearch.training.encoders import prepare_encoder
from semsearch.training.masked import load_masked, new_tokenizer
from semsearch.training.objectives import OBJECTIVES
from semsearch.training.siamese import Siamese
from semsearch.training.tasks import IGNORED, MaskedModel, VectorTask

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["a", "the heron waits in the reeds for a careless fish", "bread and salt", "one two three four five six"]


def ids_of(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    return [encoder.tokenizer.encode(text).ids for text in texts]


def made(folder: Any, pooler: str = "mean", mlp: bool = False, **config: Any) -> Siamese:
    path = folder / "model"
    if not path.exists():
        tiny_checkpoint(path, **config)
    checkpoint = open_checkpoint(str(path))
    return Siamese(checkpoint, checkpoint.head(parse_pooler(pooler)), device="cpu", precision="float32", mlp=mlp)


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.mark.parametrize("pooler", ["mean", "cls", "pooler-output", "first-last", "max", "cls+mean"])
def test_vectors_are_those_of_the_encoder(tmp_path, pooler):
    siamese = made(tmp_path, pooler).eval()
    encoder = Encoder.load(
        str(tmp_path / "model"), pooler, normalize=False, device="cpu", runtime="torch", warn_of_pooler=False
    )
    with torch.no_grad():
        found = siamese(ids_of(encoder, TEXTS)).numpy()
    np.testing.assert_allclose(found, encoder.encode_documents(TEXTS), atol=1e-5)


def gradient(siamese: Siamese, ids: list[list[int]], batching: Batching) -> torch.Tensor:
    siamese.batching = batching
    siamese.train().zero_grad()
    vectors = siamese(ids)
    (vectors * torch.arange(vectors.numel()).view_as(vectors).cos()).sum().backward()
    return torch.cat([p.grad.flatten() for p in siamese.parameters() if p.grad is not None])


def test_padding_changes_no_gradient(tmp_path):
    siamese = made(tmp_path, mlp=True, **NO_DROPOUT)
    encoder = Encoder.load(str(tmp_path / "model"), "mean", device="cpu", runtime="torch", warn_of_pooler=False)
    ids = ids_of(encoder, TEXTS)
    together, apart = (gradient(siamese, ids, Batching(n)) for n in (1 << 20, 1))
    assert together.abs().max() > 1
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def task_of(tmp_path: Any, objective: str, **wishes: Any) -> VectorTask:
    return prepare_encoder(recipe(tmp_path, objective, **wishes)).task


def gradients(task: VectorTask, batches: list[list[int]]) -> tuple[float, torch.Tensor]:
    torch.manual_seed(5)
    task.module.train().zero_grad()
    loss = sum(task.accumulate(rows, 1 / len(batches)) for rows in batches)
    return loss, torch.cat([p.grad.flatten() for p in task.module.parameters() if p.grad is not None])


@pytest.mark.parametrize("objective", ["mnr", "triplet", "softmax", "simcse-unsup"])
def test_cached_gradients_are_those_of_the_whole_batch(tmp_path, objective):
    tiny_checkpoint(tmp_path / "tiny", **NO_DROPOUT)
    rows = [3, 1, 4, 15, 9, 2]
    whole = gradients(task_of(tmp_path, objective), [rows])
    cached = gradients(task_of(tmp_path, objective, cache_gradients=4), [rows])
    assert cached[0] == pytest.approx(whole[0], rel=1e-5)
    torch.testing.assert_close(cached[1], whole[1], atol=1e-5, rtol=1e-4)


def test_cached_gradients_see_the_same_dropout_in_both_passes(tmp_path):
    task = task_of(tmp_path, "simcse-unsup", cache_gradients=2)
    ids = [task._columns[0].ids[row] for row in (1, 2)]
    torch.manual_seed(5)
    task.module.train().zero_grad()
    first, second = task.siamese(ids), task.siamese(ids)  # one after the other, as the chunks are
    OBJECTIVES["simcse-unsup"].loss([first, second], None).backward()
    expected = torch.cat([p.grad.flatten() for p in task.module.parameters() if p.grad is not None])
    assert (first - second).abs().max() > 0.01, "two masks"
    torch.testing.assert_close(gradients(task, [[1, 2]])[1], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_the_random_numbers_of_a_device_are_repeated_too(monkeypatch, device):
    kind = device.partition(":")[0]
    drawn = {kind: torch.tensor([7])}
    monkeypatch.setattr(getattr(torch, kind), "get_rng_state", lambda *which: drawn[kind].clone())
    monkeypatch.setattr(getattr(torch, kind), "set_rng_state", lambda state, *which: drawn.update({kind: state}))
    before = tasks._random_state(device)
    expected, drawn[kind] = torch.rand(3), torch.tensor([8])
    tasks._set_random_state(device, before)
    assert torch.equal(torch.rand(3), expected)
    assert drawn[kind].item() == 7


def test_accumulated_batches_have_the_gradient_of_their_mean(tmp_path):
    tiny_checkpoint(tmp_path / "tiny", **NO_DROPOUT)
    task = task_of(tmp_path, "regression")
    one = gradients(task, [[0, 1, 2, 3]])
    two = gradients(task, [[0, 1], [2, 3]])
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    torch.testing.assert_close(two[1], one[1], atol=1e-6, rtol=1e-4)


def test_matryoshka_trains_the_whole_vectors_too(tmp_path):
    tiny_checkpoint(tmp_path / "tiny", **NO_DROPOUT)
    rows = [3, 1, 4, 15]
    nested = task_of(tmp_path, "mnr", matryoshka=(8,))
    with torch.no_grad():
        vectors = nested._vectors(rows)
        whole, first = (OBJECTIVES["mnr"].loss([v[:, :n] for v in vectors]).item() for n in (32, 8))
    assert gradients(nested, [rows])[0] == pytest.approx(whole + first, rel=1e-5)


def test_queries_get_the_query_prefix_and_prefixes_may_not_be_pooled(tmp_path):
    files = {"1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "include_prompt": False}}
    tiny_checkpoint(tmp_path / "tiny", files=files)
    made_with = {"query_prefix": "ask: ", "passage_prefix": "text: a: "}
    task = task_of(tmp_path, "mnr", pooler="auto", **made_with)
    encoder = Encoder.load(str(tmp_path / "tiny"), "auto", normalize=False, device="cpu", runtime="torch", **made_with)
    examples = load_examples(written(tmp_path, "mnr"), OBJECTIVES["mnr"])
    task.module.eval()
    with torch.no_grad():
        anchors, positives, negatives = (vectors.numpy() for vectors in task._vectors([0, 5]))
    queries, documents = encoder.encode_queries, encoder.encode_documents
    for found, encode, column in zip(
        (anchors, positives, negatives), (queries, documents, documents), examples.columns, strict=True
    ):
        np.testing.assert_allclose(found, encode([column[0], column[5]]), atol=1e-5)


# --- masked tokens


@pytest.fixture
def masked(tmp_path) -> MaskedModel:
    checkpoint = open_checkpoint(str(tiny_checkpoint(tmp_path / "masked", **NO_DROPOUT)))
    whole, new = load_masked(checkpoint)
    assert new
    return MaskedModel(whole, frozenset((0, 101, 102, 103)), 103, share=0.2, device="cpu", precision="float32")


def test_tokens_are_masked_in_the_proportions_of_bert(masked):
    torch.manual_seed(0)
    ids = torch.randint(1_000, 30_000, (200, 200))
    ids[:, 0], ids[:, -1] = 101, 102
    mask = torch.ones_like(ids)
    mask[:, 150:] = 0
    shown, wanted = masked.masked(ids, mask)
    chosen = wanted != IGNORED
    assert not chosen[:, 0].any()
    assert not chosen[:, 150:].any()
    assert torch.equal(wanted[chosen], ids[chosen])
    assert torch.equal(shown[~chosen], ids[~chosen])
    n = chosen.sum().item()
    assert n / (200 * 149) == pytest.approx(0.2, abs=0.01)
    assert (shown[chosen] == 103).sum().item() / n == pytest.approx(0.8, abs=0.02)
    assert (shown[chosen] == ids[chosen]).sum().item() / n == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("family", ["Bert", "Roberta", "DistilBert"])
def test_the_loss_is_that_of_transformers(tmp_path, family):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "DistilBert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    config = getattr(transformers, f"{family}Config")(vocab_size=500, max_position_embeddings=66, **sizes)
    whole = getattr(transformers, f"{family}ForMaskedLM")(config).eval()
    model = MaskedModel(whole, frozenset((0, 1, 2)), 3, share=0.5, device="cpu", precision="float32")
    ids = [[1, *range(10, 30), 2], [1, *range(40, 48), 2], [1, *range(50, 80), 2]]
    torch.manual_seed(1)
    loss = model.loss(ids).item()
    torch.manual_seed(1)
    total = n = 0.0
    for some in ([ids[2]], [ids[0]], [ids[1]]) if module.BATCHING["cpu"].overhead == 0 else ([ids[2], ids[0], ids[1]],):
        length = max(map(len, some))
        rows = torch.tensor([row + [0] * (length - len(row)) for row in some])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in some])
        shown, wanted = model.masked(rows, mask)
        count = (wanted != IGNORED).sum().item()
        total += whole(input_ids=shown, attention_mask=mask, labels=wanted).loss.item() * count
        n += count
    assert loss == pytest.approx(total / n, rel=1e-5)


def test_sentences_are_what_they_are():
    assert len({*SENTENCES}) == len(SENTENCES) == 44


def test_the_same_texts_give_the_same_vocabulary_even_with_more_characters_than_it_holds():
    rng = np.random.default_rng(0)
    letters = [chr(0x4E00 + number) for number in range(1_500)]
    texts = ["".join(rng.choice(letters, 20)) + " heron herons waiting wait" for _ in range(300)]
    one, other = (new_tokenizer(texts, 3_000).get_vocab() for _ in range(2))
    assert one == other
    assert {"heron", "##s", "wait"} <= one.keys()
