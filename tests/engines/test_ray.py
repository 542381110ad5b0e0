"""Test encoding on a Ray cluster of two nodes with one CPU each, on this machine.

Ray listens on every interface, so it runs in a network namespace that has loopback alone, with all its processes in a
namespace of their own, which ends with the script. The scenarios are in `ray_scenarios.py`; the tests here say what
each has to find.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import semsearch

SCRIPT = Path(__file__).with_name("ray_scenarios.py")

ISOLATED = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
if hasattr(os, "geteuid") and os.geteuid() != 0:
    ISOLATED.insert(1, "--map-root-user")

SECONDS = 240


def what_is_missing() -> str:
    """Return why Ray cannot be tested here; empty if it can."""
    if find_spec("ray") is None:
        return "needs ray; pip install 'semsearch[ray]'"
    if shutil.which("unshare") is None:
        return "needs unshare, of util-linux"
    made = subprocess.run([*ISOLATED, "true"], capture_output=True, text=True, timeout=20)
    return f"cannot make a network namespace: {made.stderr.strip()}" if made.returncode else ""


MISSING = what_is_missing()

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

N_BATCHES, N_DOCUMENTS = 30, 600
"""As in `ray_scenarios.py`."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all scenarios and return what they have found."""
    folder = tmp_path_factory.mktemp("ray")
    package = Path(semsearch.__file__).parents[1]
    done = subprocess.run(
        [*ISOLATED, sys.executable, str(SCRIPT), str(folder)],
        env={**os.environ, "PYTHONPATH": str(package)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    found = {name: result for line in lines for name, result in line.items()}
    assert found, done.stderr[-4000:]
    return found


@pytest.fixture
def scenario(told: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the scenario has found that the test is named after."""
    name = request.node.name.removeprefix("test_").partition("__")[0]
    assert name in told, f"{name} did not end; {list(told)} did"
    assert "failed" not in told[name], told[name]["failed"]
    return told[name]


def test_same_content__as_the_local_engine_and_unchanged_documents_are_not_encoded(scenario):
    assert scenario["same"]
    assert scenario["shards"] == [[N_BATCHES, N_DOCUMENTS], [0, 0], [1, 1]]
    assert scenario["left"] == []


def test_real_model__gives_the_vectors_of_the_local_engine(scenario):
    assert scenario["passages"]
    assert scenario["n"] >= 60
    assert scenario["difference"] < 1e-3  # as the encoder promises in bfloat16 for texts in other batches


def test_lost_worker__costs_nothing_but_time(scenario):
    assert scenario["killed"] == 1
    assert (scenario["encoded"], scenario["same"]) == (N_DOCUMENTS, True)


def test_lost_node__costs_nothing_but_time(scenario):
    assert scenario["killed"]
    assert (scenario["encoded"], scenario["same"]) == (N_DOCUMENTS, True)


def test_lost_driver__leaves_shards_that_are_not_encoded_again(scenario):
    committed, before = scenario["committed"], scenario["before"]
    assert committed % (N_DOCUMENTS // N_BATCHES) == 0
    assert before >= 3
    assert scenario["unchanged"] == committed
    assert scenario["shards"] == N_BATCHES - committed // (N_DOCUMENTS // N_BATCHES)
    # one was damaged, and the shard of the last commit may not have been deleted yet
    assert scenario["found"] in (before - 1, before - 2)
    assert scenario["same"]
    assert len(set(scenario["left"]) - {"0" * 40 + ".parquet"}) <= 1
    assert "0" * 40 + ".parquet" in scenario["left"]


def test_other_weights__are_refused_with_the_node_and_the_difference(scenario):
    assert scenario["class"] == "ClusterError"
    assert scenario["message"].startswith("node 127.0.0.1 (")
    assert "weights word-hash-1, not word-hash-0" in scenario["message"]


def test_missing_model__is_refused_with_the_node(scenario):
    assert scenario["class"] == "ClusterError"
    assert scenario["message"].startswith("node 127.0.0.1 (")
    assert "'/no/such/model'" in scenario["message"]


def test_other_version__is_refused_with_the_node_and_both_versions(scenario):
    assert scenario["class"] == "ClusterError"
    assert f"has semsearch 0.0.7, not {semsearch.__version__} as here" in scenario["message"]


def test_no_package__is_refused_with_the_node(scenario):
    assert scenario["class"] == "ClusterError"
    assert "127.0.0.1" in scenario["message"]
    assert "has no semsearch" in scenario["message"]


def test_started_here__without_an_address_and_only_the_result_is_printed(scenario):
    assert scenario["code"] == 0
    assert scenario["lines"] == 1
    assert (scenario["shards"], scenario["left"]) == (N_BATCHES, [])


def test_unwritable__shards_are_refused_with_the_folder(scenario):
    assert scenario["class"] == "ClusterError"
    # a worker meets it when it writes, or the run when it reads what was written just before
    assert "cannot write `shards`" in scenario["message"] or "shard that cannot be read here" in scenario["message"]
    assert "unwritable.shards" in scenario["message"]
