"""A real server on loopback, run by the project's own Python; the clients are given only its address and key."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("SEMSEARCH_PYTHON", str(ROOT / ".venv/bin/python"))
KEY = "a-key-for-tests"
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)}

TEXTS = ["Let the steak rest before you cut it.", "The heron waits in the reeds.", "Savings for a rainy day."]
QUESTION = "how long should a steak rest before I cut it"
NONSENSE = "qqzzyy blorp"

ASK = """
import json, sys
from semsearch import Index
folder, texts, question = json.loads(sys.argv[1])
with Index.open(folder) as index:
    encoder = index.encoder
    told = {
        "vectors": encoder.encode_documents(texts).tolist(),
        "cosines": (encoder.encode_documents(texts) @ encoder.encode_query(question)).tolist(),
        "hits": [hit.doc_id for hit in index.search(question, k=3)],
        "late": [hit.doc_id for hit in index.search(question, k=3, where="year >= 2020")],
        "dim": encoder.spec.dim,
    }
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Server:
    """A running server, and the results of the library itself for the same texts."""

    url: str
    key: str
    expected: dict[str, Any]


def run(*command: str) -> str:
    done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = str(tmp_path_factory.mktemp("clients") / "sample")
    run(PYTHON, "-m", "semsearch", "index", "corpora/sample", "--index", folder)
    expected = json.loads(run(PYTHON, "-c", ASK, json.dumps([folder, TEXTS, QUESTION])))
    log = tmp_path_factory.mktemp("log") / "server.txt"
    with log.open("w") as told:
        command = [PYTHON, "-m", "semsearch", "serve", "--index", f"sample={folder}", "--port", "0", "--token", KEY]
        process = subprocess.Popen(command, env=ENVIRONMENT, cwd=ROOT, stdout=told, stderr=told)
    try:
        yield Server(ready(process, log), KEY, expected)
    finally:
        process.terminate()
        process.wait(timeout=30)


def ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server has loaded its model, and return its address."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if address and is_ready(address.group()):
            return address.group()
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def is_ready(url: str) -> bool:
    try:
        request = urllib.request.Request(f"{url}/ready", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)["status"] == "ready"
    except (urllib.error.URLError, ConnectionError):
        return False
