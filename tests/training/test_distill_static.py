"""Tests for distilling static tables: each step by hand or by another library, and a checkpoint that both load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command import call
from fakes import sts_sentences, tiny_checkpoint
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from sklearn.decomposition import PCA
from transformers import BertModel

from semsearch import Encoder
from semsearch.errors import UsageError
from semsearch.training.static import distill_static, principal_components

N_TOKENS = 3_000
"""Size of the teacher's vocabulary: the beginning of the default one, from `[PAD]` to `replaced`."""

IDS = range(999, N_TOKENS)
"""Its ordinary tokens, which follow the unused and special ones."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Load a small random BERT with a prefix, normalized vectors and a limit, none of which the table may depend on."""
    folder = tiny_checkpoint(tmp_path_factory.mktemp("teacher") / "bert", vocab_size=N_TOKENS)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {token: number for token, number in vocabulary.items() if number < N_TOKENS}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return Encoder.load(folder, "mean", runtime="torch", device="cpu", max_tokens=16, passage_prefix="to: ")


@pytest.fixture(scope="module")
def table(teacher: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distill_static(teacher, tmp_path_factory.mktemp("table") / "new" / "table", dim=16, top=2).folder


def rows_of(folder: Path) -> np.ndarray:
    return load_file(folder / "model.safetensors")["embedding.weight"]


def test_both_libraries_load_it_with_the_same_vectors(table: Path, data: Path) -> None:
    texts = ["", "☃ ☃", "A heron waits. " * 100, *sts_sentences(data, 300)]
    ours, theirs = Encoder.load(table), SentenceTransformer(str(table), device="cpu")
    np.testing.assert_allclose(
        ours.encode_documents(texts), theirs.encode(texts), atol=2e-6
    )  # float32 rounds differently
    assert ours.spec.passage_prefix == ""
    assert ours.spec.max_tokens == 2**20
    assert {path.name for path in table.parent.iterdir()} == {"table"}
    assert "after leaving out the first 2 principal components" in (table / "README.md").read_text()


def test_each_row_is_the_weighted_projection_of_the_vector_of_its_token(teacher: Encoder, table: Path) -> None:
    """Compare with plain transformers, scikit-learn's components, and the weights written out."""
    model = BertModel.from_pretrained(teacher.spec.model).eval()
    with torch.inference_mode():
        rows = torch.tensor([[101, token, 102] for token in IDS])
        states = torch.cat([model(some).last_hidden_state.mean(1) for some in rows.split(4_096)]).numpy()
    expected = PCA(18, svd_solver="full").fit_transform(states.astype(np.float64))[:, 2:]
    frequency = 1 / np.arange(2, len(IDS) + 2)
    expected *= (1e-4 / (1e-4 + frequency / frequency.sum()))[:, None]
    found = rows_of(table)[IDS]
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-4 * np.abs(expected).max())


def test_special_and_unused_tokens_have_zeros(table: Path) -> None:
    rows = rows_of(table)
    assert rows.shape == (N_TOKENS, 16)
    assert not rows[: IDS.start].any()
    assert rows[IDS].any(axis=1).all()


def test_frequencies_are_counted_in_texts(teacher: Encoder, tmp_path: Path) -> None:
    """The ratio of two tables of one teacher is the ratio of their weights, which are written out here."""
    texts = ["the water and the rivers", "the ☃"]
    counts = {"the": 3, "water": 1, "and": 1, "river": 1, "##s": 1, "replaced": 0}
    plain = rows_of(distill_static(teacher, tmp_path / "plain", dim=4, sif_coefficient=1e9).folder)
    rows = rows_of(distill_static(teacher, tmp_path / "counted", dim=4, texts=texts).folder)
    for token, count in counts.items():
        number = teacher.tokenizer.token_to_id(token)
        np.testing.assert_allclose(rows[number], plain[number] * 1e-3 / (1e-3 + count / 7), rtol=1e-4)


def test_components_are_those_of_scikit_learn() -> None:
    vectors = np.random.default_rng(3).normal(size=(200, 12)).astype(np.float32) * np.linspace(3, 0.5, 12) + 5
    reference = PCA(7, svd_solver="full").fit(vectors.astype(np.float64))
    found, variance = principal_components(vectors.astype(np.float32), 5, 2)
    expected = reference.transform(vectors)[:, 2:]
    largest = reference.components_[2:][np.arange(5), np.abs(reference.components_[2:]).argmax(1)]
    np.testing.assert_allclose(found, expected * np.sign(largest), atol=1e-4)
    assert variance == pytest.approx(reference.explained_variance_ratio_[2:].sum(), abs=1e-6)


def test_it_is_repeatable_and_tells_how_far_it_is(teacher: Encoder, table: Path, tmp_path: Path) -> None:
    counts: list[int] = []
    again = distill_static(teacher, tmp_path / "again", dim=16, top=2, progress=counts.append)
    assert sum(counts) == again.n_tokens == len(IDS)
    np.testing.assert_array_equal(rows_of(again.folder), rows_of(table))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"dim": 0}, "`dim` must be from 1 to 24, the teacher's 32 without the first 8 components, got 0"),
        ({"dim": 25}, "`dim` must be from 1 to 24, .* got 25"),
        ({"dim": 2.5}, "`dim` must be from 1 to 24, .* got 2.5"),
        ({"dim": 4, "top": -1}, "`top` must be from 0 to 31 for this teacher, got -1"),
        ({"dim": 4, "top": 32}, "`top` must be from 0 to 31 for this teacher, got 32"),
        ({"dim": 4, "sif_coefficient": 0.0}, "`sif_coefficient` must be above 0, got 0.0"),
        ({"dim": 4, "sif_coefficient": float("nan")}, "`sif_coefficient` must be above 0, got nan"),
        ({"dim": 4, "texts": []}, "`texts` holds no token of the teacher's vocabulary"),
        ({"dim": 4, "texts": ["☃"]}, "`texts` holds no token of the teacher's vocabulary"),
        ({"dim": 4, "texts": "heron"}, "`texts` is the string 'heron'; expected a list"),
    ],
)
def test_bad_settings_are_refused_before_the_teacher_encodes(
    teacher: Encoder, tmp_path: Path, settings: dict, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        distill_static(teacher, tmp_path / "table", progress=pytest.fail, **settings)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_unless_it_is_empty(teacher: Encoder, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(UsageError, match=f"{name}' exists already; give a new folder, or remove that one first"):
            distill_static(teacher, tmp_path / name, dim=4, progress=pytest.fail)
    (tmp_path / "empty").mkdir()
    assert Encoder.load(distill_static(teacher, tmp_path / "empty", dim=4).folder).spec.dim == 4


def test_what_is_interrupted_leaves_nothing(teacher: Encoder, tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill_static(teacher, tmp_path / "table", dim=4, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_default_model_keeps_most_of_its_quality(tmp_path: Path, data: Path) -> None:
    """On STS-B dev, the means of the teacher's own token vectors reach 67.6, and the table 80.4."""
    folder = distill_static(Encoder.load(device="cpu"), tmp_path / "table").folder
    done = call("eval", "sts", "--data", data / "sts", "--tasks", "STS-B", "--split", "dev", "--model", folder, "--csv")
    assert float(done.out.splitlines()[1].split(",")[3]) > 0.79
