"""Tests for encoders in forked processes: they either work or raise one clear error, and never deadlock."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from forking import told

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

Make = Callable[..., Path]

START = """
import numpy as np
from semsearch import Encoder

model, runtime = sys.argv[1:3]
TEXTS = [f"{number} herons wait in the reeds" for number in range(500)]

def load():
    return Encoder.load(model, "mean", runtime=runtime, device="cpu", precision="float32")
"""


@pytest.fixture
def model(checkpoint: Make) -> Path:
    return checkpoint()


def refused(line: str, library: str) -> bool:
    return line.startswith(f"UsageError: {library} was already used in the process that this one was forked from")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_children_that_load_the_first_encoder_get_the_same_vectors(model, runtime):
    code = """
from semsearch.encoder.checkpoints.open import open_checkpoint
if runtime == "torch":
    import semsearch.encoder.runtimes.torch, transformers  # imported, which takes seconds, and not used yet
open_checkpoint(model).weights_hash(())  # as a parent does that looks at the checkpoint before it forks
encode = lambda: load().encode_documents(TEXTS)
for _ in range(2):
    in_child(lambda: encode()[::100, 0].round(4).tolist())
print(encode()[::100, 0].round(4).tolist())
"""
    first, second, own = told(START + code, model, runtime, OMP_NUM_THREADS="2")
    assert first == second == own


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "n_texts"), [("openvino", 0), ("openvino", 1), ("openvino", 500), ("torch", 1)])
def test_an_encoder_of_the_parent_and_another_one_are_refused_in_a_child_and_go_on_in_the_parent(
    model, runtime, n_texts
):
    code = """
encoder, some = load(), TEXTS[: int(sys.argv[3])]
encoder.encode_documents(some)
in_child(lambda: encoder.encode_queries(TEXTS[:1]).shape)
in_child(lambda: load().encode_queries(TEXTS[:1]).shape)
print(encoder.encode_queries(TEXTS).shape, load().encode_queries(TEXTS[:1]).shape)
"""
    same, another, parent = told(START + code, model, runtime, n_texts, OMP_NUM_THREADS="2")
    assert refused(same, runtime)
    assert refused(another, runtime)
    assert parent == "(500, 32) (1, 32)"


@pytest.mark.slow
def test_torch_with_one_thread_goes_on_in_a_child(model):
    code = """
encoder = load()
expected = encoder.encode_documents(TEXTS)
in_child(lambda: np.abs(encoder.encode_documents(TEXTS) - expected).max() < 1e-6)
in_child(lambda: np.abs(load().encode_documents(TEXTS) - expected).max() < 1e-6)
"""
    # Unless this variable is set, tokenizers turns its threads off in a forked child.
    assert told(START + code, model, "torch", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="true") == ["True", "True"]


def test_the_word_hash_encoder_works_in_a_child():
    code = """
from semsearch import WordHashEncoder
encoder = WordHashEncoder(4096)
encoder.encode_documents(["a heron"])
in_child(lambda: round(float(encoder.encode_query("a heron") @ encoder.encode_document("a bittern")), 4))
"""
    assert told(code) == ["0.5"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")
def test_the_end_of_a_child_leaves_the_8_bit_model_of_the_parent_alone(model):
    code = """
encoder = load().quantize(TEXTS[:20])
in_child(lambda: "started")
print(all((folder / "graph.bin").is_file() for folder in encoder.artifacts.values()), len(encoder.artifacts))
print(*encoder.artifacts.values())
"""
    child, there, folder = told(START + code, model, "openvino")
    assert (child, there) == ("started", "True 1")
    assert not Path(folder).exists()  # the parent has exited
