"""Test the public API: what `from semsearch import ...` offers, what it costs to import, and the tree of errors."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import semsearch
from semsearch import errors

HEAVY = {"torch", "transformers", "faiss", "numpy", "sentence_transformers", "rich", "typer", "sqlite_utils", "lark"}

DOOR = ast.parse(Path(semsearch.__file__).read_text("utf-8"))

ERRORS = {
    name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)
}


def assigned(name: str) -> ast.expr:
    """Return the value assigned to a name in the package's `__init__.py`."""
    (value,) = [
        node.value
        for node in DOOR.body
        if isinstance(node, ast.Assign) and [target.id for target in node.targets] == [name]
    ]
    return value


def imported_for_types() -> dict[str, str]:
    """Map names to modules for the imports that only a type checker sees."""
    (block,) = [node for node in DOOR.body if isinstance(node, ast.If)]
    nodes = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    ours = [node for node in nodes if (node.module or "").startswith("semsearch.")]
    return {alias.name: node.module for node in ours for alias in node.names}


def rank(name: str) -> tuple[int, str]:
    """Return a sort key: constants, then classes, then functions, each alphabetically, as required by ruff's RUF022."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_all_is_a_sorted_literal():
    names = ast.literal_eval(assigned("__all__"))
    assert names == semsearch.__all__ == sorted(set(names), key=rank)


@pytest.mark.parametrize("order", ["", "reversed"])
def test_every_name_is_what_its_module_has_in_whatever_order_they_are_imported(order):
    # In a separate process, because each name is imported only once; and `ingest` is both a function and its module.
    program = f"""
import importlib, sys
homes = {imported_for_types()!r}
for _ in range(2):
    for name in {order}(list(homes)):
        scope = {{}}
        exec(f"from semsearch import {{name}}", scope)
        home = sys.modules[homes[name]]
        assert scope[name] is getattr(home, name), name
        assert getattr(scope[name], "__module__", home.__name__) == home.__name__, name
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_type_checker_sees_the_same_names():
    assert set(imported_for_types()) == set(semsearch.__all__)


def test_dir_shows_the_names_and_the_version():
    assert dir(semsearch) == sorted([*semsearch.__all__, "__version__"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", semsearch.__version__)


def test_a_star_import_brings_every_name():
    names: dict[str, object] = {}
    exec("from semsearch import *", names)  # a function cannot contain a star import
    assert set(semsearch.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error_that_says_so():
    with pytest.raises(AttributeError, match="module 'semsearch' has no attribute 'Retriever'"):
        semsearch.Retriever  # noqa: B018
    with pytest.raises(ImportError, match="Retriever"):
        exec("from semsearch import Retriever")


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh Python has loaded after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "statement", ["import semsearch", "from semsearch import SemsearchError", "import semsearch.errors"]
)
def test_importing_the_package_imports_nothing_heavy(statement):
    modules = modules_after(statement)
    assert "semsearch" in modules
    assert not modules & HEAVY


NEED_NO_MODEL = {
    "semsearch": ("Index", "WordHashEncoder", "ReadOptions", "IngestResult", "compare_poolers"),
    "semsearch.poolers": ("POOLERS",),
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NEED_NO_MODEL.items() for name in names]
)
def test_names_that_need_no_model_import_neither_torch_nor_transformers(module, name):
    assert not modules_after(f"from {module} import {name}") & {"torch", "transformers", "typer", "rich"}


# --- errors


def drawn_tree() -> dict[str, str]:
    """Map child to parent, as drawn in the docstring of errors.py with four columns per level."""
    line, parents, tree = re.compile(r"^(?P<branch>[ │├└─]*)(?P<name>\w+Error)\b", re.MULTILINE), {}, {}
    for drawn in line.finditer(inspect.cleandoc(errors.__doc__).partition("\n\n")[2]):
        depth = len(drawn["branch"].removeprefix("    ")) // 4
        parents[depth] = drawn["name"]
        tree[drawn["name"]] = parents[depth - 1] if depth else "Exception"
    return tree


def test_the_drawn_tree_is_the_tree_of_classes():
    assert drawn_tree() == {name: error.__bases__[0].__name__ for name, error in ERRORS.items()}
    assert all(len(error.__bases__) == 1 for error in ERRORS.values())


def test_the_package_has_about_twenty_names_and_the_root_of_the_errors():
    assert 15 <= len(semsearch.__all__) <= 25
    assert [name for name in semsearch.__all__ if name in ERRORS] == ["SemsearchError"]


@pytest.mark.parametrize(("line", "shown"), [(7, "notes.jsonl:7: no id"), (None, "notes.jsonl: no id")])
def test_an_error_of_a_record_says_where_also_as_a_copy(line, shown):
    error = errors.RecordError("notes.jsonl", line, "no id")
    for same in (error, copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert str(same) == shown
        assert (same.source, same.line, same.reason) == ("notes.jsonl", line, "no id")
