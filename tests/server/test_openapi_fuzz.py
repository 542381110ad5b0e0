"""Schemathesis against the server's OpenAPI description: no server error and no undocumented response."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from serving import build, served

from semsearch.server.keys import Key
from semsearch.server.settings import Settings

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.slow
@pytest.mark.parametrize(("key", "examples"), [(None, 30), ("sk-1", 10)])  # only the gate tells them apart
def test_every_answer_is_described(tmp_path, key, examples):
    settings = Settings(keys=(Key(key),) if key else (), max_body_bytes=2**20)
    with served({"notes": build(tmp_path / "notes")}, settings) as client:
        schema = tmp_path / "openapi.json"
        schema.write_bytes(client.get("/openapi.json", headers={"api-key": key} if key else {}).content)
        command = [
            *(Path(sys.executable).parent / "schemathesis", "run", schema, f"--url={client.base_url}"),
            *(
                f"--checks={CHECKS}",
                f"--max-examples={examples}",
                "--seed=1",
                "--workers=1",
                "--phases=examples,coverage,fuzzing",
            ),
            *(f"--header=Authorization: Bearer {key}" for _ in [0] if key),
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6_000:]
        assert client.post("/search", json={"query": "a", "index": "notes"}, headers={"api-key": key or "-"}).is_success
