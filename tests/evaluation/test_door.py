"""Tests for the public names of `semsearch.evaluation` and for what importing them loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from semsearch import evaluation

DOOR = ast.parse(Path(evaluation.__file__).read_text("utf-8"))


def homes() -> dict[str, str]:
    """Map each name to its module, as in the imports under `TYPE_CHECKING`."""
    (block,) = [node for node in DOOR.body if isinstance(node, ast.If)]
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_all_is_sorted_and_what_a_type_checker_sees():
    assert (
        dir(evaluation) == evaluation.__all__ == sorted(evaluation.__all__, key=lambda name: (name[0].islower(), name))
    )
    assert set(homes()) == set(evaluation.__all__)


def test_every_name_is_what_its_module_has_in_whatever_order_they_are_imported():
    program = f"""
import importlib, sys
homes = {homes()!r}
assert "numpy" not in sys.modules
for name in reversed(list(homes)):
    scope = {{}}
    exec(f"from semsearch.evaluation import {{name}}", scope)
    assert scope[name] is getattr(sys.modules[homes[name]], name), name
assert not {{"torch", "transformers", "typer", "rich", "plotly"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_an_unknown_name_is_an_attribute_error_that_says_so():
    with pytest.raises(AttributeError, match=r"module 'semsearch\.evaluation' has no attribute 'Judge'"):
        evaluation.Judge  # noqa: B018
