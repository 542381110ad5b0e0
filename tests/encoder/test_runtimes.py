"""The choice of a runtime: what is asked for, what is there, and what to say when the two differ."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import call

from semsearch import Encoder, UnsupportedError, UsageError
from semsearch.encoder.runtimes.openvino import OpenVinoRuntime
from semsearch.encoder.runtimes.torch import TorchRuntime

Make = Callable[..., Path]


@pytest.fixture
def model(checkpoint: Make) -> str:
    return str(checkpoint())


def runtime_of(encoder: Encoder) -> type:
    return type(encoder._runtime)


def test_the_cpu_has_the_compiled_one_unless_another_is_asked_for(model, monkeypatch):
    assert runtime_of(Encoder.load(model, "mean", device="cpu")) is OpenVinoRuntime
    assert runtime_of(Encoder.load(model, "mean", runtime="torch")) is TorchRuntime
    monkeypatch.setenv("SEMSEARCH_RUNTIME", "torch")
    assert runtime_of(Encoder.load(model, "mean", device="cpu")) is TorchRuntime
    assert runtime_of(Encoder.load(model, "mean", device="cpu", runtime="openvino")) is OpenVinoRuntime


def test_what_is_none_is_refused_with_the_names(model, monkeypatch):
    with pytest.raises(UsageError, match="unknown runtime 'onnx'; known: auto, openvino, torch"):
        Encoder.load(model, "mean", runtime="onnx")
    with pytest.raises(UnsupportedError, match="runtime 'openvino' runs on the CPU, and device 'cuda' was asked for"):
        Encoder.load(model, "mean", runtime="openvino", device="cuda")
    monkeypatch.setenv("SEMSEARCH_RUNTIME", "zorg")
    with pytest.raises(UsageError, match="unknown runtime 'zorg'"):
        Encoder.load(model, "mean")


def test_an_index_is_the_same_for_both_runtimes(model, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "text": "a heron waits"}\n{"_id": "2", "text": "bread rises"}\n', encoding="utf-8")
    index = ("--index", tmp_path / "index")
    call(
        "index", corpus, *index, "--model", model, "--pooler", "mean", "--precision", "float32", "--runtime", "openvino"
    )
    again = call("index", corpus, *index, "--runtime", "torch", "--json")
    assert again.json["unchanged"] == 2
    for runtime in ("openvino", "torch"):
        done = call("query", "a heron waits", *index, "--runtime", runtime, "--json")
        assert done.json["hits"][0]["score"] == pytest.approx(1, abs=1e-4)
    assert call("query", "a heron", *index, "--runtime", "zorg").err.startswith("error: unknown runtime 'zorg'")


WITHOUT = """
import sys, warnings
sys.modules["openvino"] = None
from semsearch import Encoder
warnings.simplefilter("always")
model, runtime = sys.argv[1:]
print(Encoder.load(model, "mean", runtime=runtime).encode_queries(["a heron"])[0, 0])
"""


def test_without_openvino_torch_does_its_work_and_one_line_says_so(model):
    def run(runtime: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", WITHOUT, model, runtime]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    done = run("auto")
    warned = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert len(warned) == 1
    assert "'openvino' is not installed; pip install openvino; torch takes over" in warned[0]
    expected = Encoder.load(model, "mean", runtime="torch").encode_queries(["a heron"])[0, 0]
    np.testing.assert_allclose(float(done.stdout), expected, atol=1e-6)
    refused = run("openvino")
    assert refused.returncode == 1
    assert "UnsupportedError: runtime 'openvino' is not installed" in refused.stderr


def test_nothing_is_sent_to_the_makers_of_the_library():
    code = "from semsearch.encoder.runtimes.openvino_graph import openvino; import sys; openvino(); "
    code += "import openvino.tools.ovc; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "None"
