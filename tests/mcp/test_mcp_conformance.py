"""The official conformance scenarios of the protocol, run against the endpoint if their runner is installed.

To install the runner and run the scenarios:

npm install node@22 @modelcontextprotocol/conformance@0.1.16
SEMSEARCH_MCP_CONFORMANCE=$PWD/node_modules/.bin make test-slow
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import served

from semsearch.mcp.http import http_app
from semsearch.mcp.server import create_mcp

RUNNER = Path(os.environ.get("SEMSEARCH_MCP_CONFORMANCE", ""))

SCENARIOS = (
    "server-initialize",
    "ping",
    "tools-list",
    "tools-call-error",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
)
"""Scenarios that need only the protocol; the others require tools, prompts and resources made for them."""


@pytest.fixture(scope="module")
def url(sample) -> Iterator[str]:
    with served(http_app(create_mcp({"sample": sample}))) as port:
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.mark.slow
@pytest.mark.skipif(not (RUNNER / "conformance").exists(), reason="SEMSEARCH_MCP_CONFORMANCE names no folder with it")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_passes(url, scenario, tmp_path):
    words = [RUNNER / "node", RUNNER / "conformance", "server", "--url", url, "--scenario", scenario]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed, 0 warnings" in done.stdout + done.stderr
