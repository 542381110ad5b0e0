"""Integrations without their frameworks; tests/clients/frameworks tests them with the frameworks installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {"langchain": "langchain_core", "llama_index": "llama_index", "haystack": "haystack"}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("module", "package"), MODULES.items())
def test_a_missing_extra_is_one_line_that_says_what_to_install(module, package):
    done = run(f"import sys; sys.modules[{package!r}] = None; import semsearch.integrations.{module}")
    assert done.returncode == 1
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    extra = module.replace("_", "-")
    (distribution,) = extras[extra]
    name = distribution.partition(">")[0]
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: semsearch.integrations.{module} needs {name}, which is not installed")
    assert last.endswith(f"pip install 'semsearch[{extra}]'")
    assert "During handling" not in done.stderr


def test_nothing_of_them_is_imported_with_the_package_or_a_search():
    frameworks = set(MODULES.values())
    done = run(
        "import sys, semsearch; from semsearch import Index, WordHashEncoder; Index.as_tool; "
        f"print([name for name in sys.modules if name.split('.')[0] in {frameworks!r} or 'integrations' in name])"
    )
    assert done.stdout.strip() == "[]", done.stderr
