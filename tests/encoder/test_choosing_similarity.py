"""Test which similarity function an encoder has, and its vectors, against sentence-transformers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import ranking_checkpoint
from sentence_transformers import SentenceTransformer

from semsearch import CheckpointWarning, Encoder
from semsearch.encoder.checkpoints.open import open_checkpoint
from semsearch.encoder.similarity import choose_similarity
from semsearch.errors import ModelError, SemsearchError, UsageError
from semsearch.similarity import paired_similarities, similarities

TEXTS = [
    "A heron waits.",
    "Fish.",
    "The gray heron stands in the shallow water and strikes at a passing fish.",
    "bread",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one checkpoint for each declaration."""
    root = tmp_path_factory.mktemp("checkpoints")
    for similarity in (None, "cosine", "dot", "euclidean"):
        ranking_checkpoint(root / str(similarity), similarity)
        ranking_checkpoint(root / f"{similarity}, unit", similarity, "Normalize")
    return root


def load(folder: Path, **settings: Any) -> Encoder:
    return Encoder.load(folder, runtime="torch", device="cpu", precision="float32", **settings)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("dim", [None, 9])
@pytest.mark.parametrize("unit", [False, True])
def test_vectors_and_scores_are_those_of_sentence_transformers(folders: Path, similarity: str, dim: int, unit: bool):
    folder = folders / f"{similarity}{', unit' * unit}"
    theirs = SentenceTransformer(str(folder), device="cpu", truncate_dim=dim)
    ours = load(folder, dim=dim, **({"similarity": similarity} if unit else {}))
    assert (ours.spec.similarity, ours.spec.normalize) == (similarity, unit)
    expected = theirs.encode(TEXTS)
    vectors = ours.encode_documents(TEXTS)
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-4)
    scores = theirs.similarity(expected, expected[::-1].copy()).numpy()
    np.testing.assert_allclose(similarities(similarity, vectors, vectors[::-1]), scores, rtol=1e-4, atol=5e-3)
    pairs = theirs.similarity_pairwise(expected, expected[::-1].copy()).numpy()
    np.testing.assert_allclose(paired_similarities(similarity, vectors, vectors[::-1]), pairs, rtol=1e-4, atol=5e-3)


def test_the_lengths_of_these_vectors_differ(folders: Path):
    lengths = np.linalg.norm(load(folders / "dot").encode_documents(TEXTS), axis=1)
    assert lengths.max() > 1.2 * lengths.min()


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("None", {}, ("cosine", True)),
        ("None, unit", {}, ("cosine", True)),
        ("cosine", {}, ("cosine", True)),
        ("dot", {}, ("dot", False)),
        ("dot", {"similarity": "euclidean"}, ("euclidean", False)),
        ("dot", {"transform": "center"}, ("cosine", False)),
        ("dot", {"similarity": "cosine", "transform": "center"}, ("cosine", False)),
        ("dot", {"transform": "truncate:9"}, ("dot", False)),
        ("dot", {"normalize": False}, ("dot", False)),
        ("dot, unit", {}, ("cosine", True)),
        ("dot, unit", {"similarity": "dot"}, ("dot", True)),
        ("dot, unit", {"similarity": "dot", "normalize": False}, ("dot", False)),
        ("euclidean, unit", {}, ("euclidean", True)),
    ],
)
@pytest.mark.filterwarnings("ignore::semsearch.CheckpointWarning")
def test_what_is_asked_comes_before_what_is_declared(
    folders: Path, name: str, settings: dict[str, Any], expected: tuple[str, bool]
):
    spec = load(folders / name, **settings).spec
    assert (spec.similarity, spec.normalize) == expected


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("sentence-transformers/multi-qa-mpnet-base-dot-v1", False, "dot"),
        ("sentence-transformers/msmarco-distilbert-dot-v5", False, "dot"),
        ("sentence-transformers/msmarco-distilbert-base-tas-b", False, "dot"),
        ("/models/msmarco-bert-base-dot", False, "dot"),
        ("C:\\models\\msmarco-bert-base-dot", False, "dot"),
        ("sentence-transformers/multi-qa-MiniLM-L6-dot-v1", True, "cosine"),
        ("sentence-transformers/multi-qa-MiniLM-L6-cos-v1", False, "cosine"),
        ("/home/ada/my-dot-files/bert", False, "cosine"),
        ("someone/dotty-dots", False, "cosine"),
    ],
)
def test_a_name_means_dot_if_nothing_is_declared(folders: Path, name: str, unit: bool, expected: str):
    checkpoint = replace(open_checkpoint(folders / f"None{', unit' * unit}"), name=name)
    chosen, doubt = choose_similarity(checkpoint)
    assert chosen == expected
    assert (name in doubt and "pass `similarity`" in doubt) == (expected == "dot")
    assert choose_similarity(checkpoint, "cosine") == ("cosine", "")


def test_a_name_and_a_contradiction_are_warned_of(tmp_path: Path, folders: Path):
    folder = ranking_checkpoint(tmp_path / "tiny-dot-v1")
    with pytest.warns(CheckpointWarning, match="declares no similarity function; using 'dot', as its name says"):
        assert load(folder).spec.similarity == "dot"
    with pytest.warns(CheckpointWarning, match="declares the similarity function 'dot', but 'cosine' is used"):
        load(folders / "dot", similarity="cosine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folders / "dot", similarity="dot")
        load(folders / "dot, unit", similarity="cosine")
        load(folders / "dot", similarity="cosine", warn_of_pooler=False)


@pytest.mark.parametrize(
    ("declared", "settings", "error", "message"),
    [
        ("manhattan", {}, ModelError, "declares the similarity function 'manhattan', which semsearch does not have"),
        ("maxsim", {}, ModelError, "to rank by another one, pass `similarity`: cosine, dot, euclidean"),
        ("", {}, ModelError, "declares the similarity function ''"),
        (7, {}, ModelError, "config_sentence_transformers.json: similarity_fn_name is 7; expected text"),
        (["dot"], {"similarity": "dot"}, ModelError, "similarity_fn_name is ['dot']"),
        (
            "dot",
            {"similarity": "dot_score"},
            UsageError,
            "`similarity` is 'dot_score'; expected auto, cosine, dot",
        ),
        ("dot", {"similarity": None}, UsageError, "`similarity` is None"),
        ("cosine", {"similarity": "dot", "transform": "whiten"}, UsageError, "omit one of them"),
    ],
)
def test_other_functions_are_refused_in_one_line(
    tmp_path: Path, declared: object, settings: dict[str, Any], error: type[SemsearchError], message: str
):
    with pytest.raises(error) as caught:
        load(ranking_checkpoint(tmp_path / "m", declared), **settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::semsearch.CheckpointWarning")
def test_an_unknown_function_can_be_overridden(tmp_path: Path):
    assert load(ranking_checkpoint(tmp_path / "m", "manhattan"), similarity="dot").spec.similarity == "dot"
