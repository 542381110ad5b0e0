"""Tests for choosing a runtime: requests, fallbacks and refusals, without side effects on the host process."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import call

from semsearch import Encoder
from semsearch.encoder.runtimes.openvino import OpenVinoRuntime
from semsearch.encoder.runtimes.torch import TorchRuntime
from semsearch.errors import UnsupportedError, UsageError

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
    with pytest.raises(
        UnsupportedError, match="runtime 'openvino' runs only on the CPU, but device 'cuda' was requested"
    ):
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
        done = call("query", "a heron waits", *index, "--runtime", runtime, "--mode", "dense", "--json")
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
    assert "'openvino' is not installed; pip install openvino; falling back to torch" in warned[0]
    expected = Encoder.load(model, "mean", runtime="torch").encode_queries(["a heron"])[0, 0]
    np.testing.assert_allclose(float(done.stdout), expected, atol=1e-6)
    refused = run("openvino")
    assert refused.returncode == 1
    assert "UnsupportedError: runtime 'openvino' is not installed" in refused.stderr


def printed(code: str, *words: str) -> list[str]:
    """Run code in a new Python process and return the lines that it prints."""
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()


TELEMETRY = """
import sys
import types
host = types.ModuleType("openvino_telemetry")
if sys.argv[1] == "imported":
    sys.modules["openvino_telemetry"] = host
from semsearch.encoder.runtimes.openvino_library import converter, openvino
openvino()
print("openvino.tools.ovc" in sys.modules, sys.modules.get("openvino_telemetry", "none") in ("none", host))
import openvino
print(openvino.convert_model is converter(), hasattr(openvino, "zorg"))
from openvino.tools.ovc import convert_impl, telemetry_utils
print(convert_impl.tm.__name__, telemetry_utils.tm.__name__)
print(sys.modules.get("openvino_telemetry", "none") in ("none", host))
"""


@pytest.mark.parametrize("before", ["not imported", "imported"])
def test_nothing_is_sent_to_the_makers_of_the_library_and_the_modules_of_the_host_stay(before):
    stub = "openvino.tools.ovc.telemetry_stub"
    assert printed(TELEMETRY, before) == ["False True", "True False", f"{stub} {stub}", "True"]


def test_a_runtime_says_what_an_index_keeps_and_whether_it_has_8_bits(model):
    for runtime in ("openvino", "torch"):
        encoder = Encoder.load(model, "mean", runtime=runtime)
        assert (encoder._runtime.name, dict(encoder.artifacts)) == (runtime, {})
    with pytest.raises(UnsupportedError, match="needs the runtime openvino, but this model runs on torch"):
        encoder.quantize(["a heron"])


SETTINGS = """
import logging, sys, warnings
import transformers
from huggingface_hub import utils as hub
from semsearch import Encoder

def settings():
    bars = transformers.logging.is_progress_bar_enabled(), hub.are_progress_bars_disabled()
    return transformers.logging.get_verbosity(), *bars, logging.getLoggerClass(), [*warnings.filters]

import torch.jit  # sets filters of its own
model, verbosity, bars = sys.argv[1:]
transformers.logging.set_verbosity(int(verbosity))
transformers.logging.enable_progress_bar() if bars == "True" else transformers.logging.disable_progress_bar()
Encoder.load(model, "cls", runtime="torch")  # what the libraries change when they are imported, is theirs
before = settings()
for runtime in ("torch", "openvino"):
    encoder = Encoder.load(model, "mean", runtime=runtime, precision="float32")
    encoder.encode_query("a heron")
print(settings() == before, before[:2] == (int(verbosity), bars == "True"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("verbosity", "bars"), [("10", "True"), ("30", "False")])
def test_loading_and_converting_leave_the_settings_of_the_host_as_they_were(
    model, tmp_path, monkeypatch, verbosity, bars
):
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))  # so that the model must be converted
    assert printed(SETTINGS, model, verbosity, bars) == ["True True"]


def test_what_happened_is_logged_for_an_operator(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    with caplog.at_level(logging.INFO, logger="semsearch"):
        Encoder.load(model, "mean", runtime="openvino", precision="float32")
        Encoder.load(model, "mean", runtime="openvino", precision="float32")
    converted, *loaded = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(rf"converted {model} to OpenVINO in \d+\.\d s", converted)
    line = rf"loaded {model} on cpu in \d+\.\d\d s, pooler mean, precision float32, runtime openvino"
    assert len(loaded) == 2
    assert all(re.fullmatch(line, message) for message in loaded)
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert {record.name.partition(".")[0] for record in caplog.records} == {"semsearch"}


@pytest.mark.parametrize(("file", "what"), [("graph.xml", "converted"), ("*.blob", "compiled")])
def test_a_damaged_file_of_the_cache_is_logged_as_a_warning(model, tmp_path, monkeypatch, caplog, file, what):
    monkeypatch.setenv("SEMSEARCH_CACHE", str(tmp_path / "cache"))
    Encoder.load(model, "mean", runtime="openvino", precision="float32")
    (path,) = (tmp_path / "cache").rglob(file)
    path.write_bytes(b"damaged")
    caplog.clear()
    Encoder.load(model, "mean", runtime="openvino", precision="float32")
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    damaged = path.parent if what == "converted" else path
    assert record.getMessage() == f"the {what} model {damaged} is damaged and will be {what} again"


def test_no_logger_of_the_library_has_a_handler_or_a_level():
    code = "import logging; from semsearch import Encoder; Encoder.load(device='cpu').encode_query('a heron'); "
    code += "names = [name for name in logging.root.manager.loggerDict if name.startswith('semsearch')]; "
    code += "print(len(names) > 2, {(len(logging.getLogger(n).handlers), logging.getLogger(n).level) for n in names}, "
    code += "logging.root.handlers)"
    assert printed(code) == ["True {(0, 0)} []"]
