"""Calibration: what it measures is measured again here, with a clock of the test's own and a model that is instant."""

from __future__ import annotations

import time
from datetime import date

import numpy as np
import pytest

from semsearch import WordHashEncoder, __version__
from semsearch.errors import ModelError, UsageError
from semsearch.planning import calibrate as module
from semsearch.planning.calibrate import calibrate
from semsearch.planning.constants import Constants
from semsearch.planning.machine import cores, processor


def test_it_measures_this_machine_and_survives_json():
    started = time.perf_counter()
    measured = calibrate("hash:64", passages=1_500, seconds=0.2)
    spent = time.perf_counter() - started
    assert (measured.machine, measured.cores, measured.version) == (processor(), cores(), __version__)
    assert measured.date == date.today().isoformat()
    assert (measured.model, measured.fingerprint) == ("hash:64", WordHashEncoder(64).spec.fingerprint)
    assert (measured.passages, measured.dim) == (1_500, 64)
    assert 0 < measured.index_seconds < spent
    assert 0 < measured.dense_ms < 1e3 * spent / module.QUERIES
    assert measured.hybrid_ms < 1e3 * spent / module.QUERIES
    assert Constants.from_json(measured.to_json()) == measured


def test_the_speed_of_encoding_is_that_of_a_clock(monkeypatch):
    def encode(self, texts, progress=None):
        time.sleep(0.002 * len(texts))  # 165 words a text
        return np.zeros((len(texts), 64), np.float32)

    monkeypatch.setattr(WordHashEncoder, "encode_documents", encode)
    rng = np.random.default_rng(0)
    rate = module._tokens_per_second(WordHashEncoder(64), module._words(rng), rng, 0.6)
    assert 0.4 * 165 / 0.002 < rate <= 165 / 0.002  # a busy machine sleeps for longer


def test_frequent_words_are_left_out_of_queries_and_words_follow_zipf():
    rng = np.random.default_rng(0)
    words = module._words(rng)
    assert len(set(words)) == module.VOCABULARY
    passages = " ".join(module._texts(words, rng, 500, 40)).split()
    counts = [passages.count(words[place]) for place in (0, 9)]
    assert counts[0] / counts[1] == pytest.approx(10, rel=0.4)
    asked = set(" ".join(module._texts(words, rng, 500, 5, skipped=module.COMMON)).split())
    assert not asked & set(words[: module.COMMON])


def test_vectors_vary_in_few_directions():
    rows = module._vectors(np.random.default_rng(0), 500, 128)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1)
    shares = np.linalg.svd(rows, compute_uv=False) ** 2
    assert shares[: module.DIRECTIONS].sum() > 0.8 * shares.sum()


@pytest.mark.parametrize("passages", [0, -5, 99, 1.5, True])
def test_too_few_passages_are_refused(passages):
    with pytest.raises(UsageError, match="passages"):
        calibrate("hash:64", passages=passages)


def test_a_model_that_does_not_exist_is_named():
    with pytest.raises(ModelError, match="no/such/model"):
        calibrate("./no/such/model")
