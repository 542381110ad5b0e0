"""The README tells the truth: its map, its commands, its Python and its tables."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import call

from semsearch import errors
from semsearch.encoder.pooling import SIMCSE_NAMES
from semsearch.poolers import POOLERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def mapped_paths() -> list[Path]:
    """The paths in the README's map; what is indented is below `semsearch/`."""
    house = README.partition("## The house")[2].partition("## ")[0]
    lines = re.findall(r"^( {4,6})([\w./]+)  ", house, re.MULTILINE)
    return [Path("semsearch" if len(indent) == 6 else "") / name for indent, name in lines]


def test_every_path_of_the_map_exists():
    assert len(mapped_paths()) > 20
    assert [path for path in mapped_paths() if not (ROOT / path).exists()] == []


def test_every_module_is_on_the_map():
    modules = {file.relative_to(ROOT) for file in (ROOT / "semsearch").rglob("*.py")}
    rooms = {file for file in modules if file.name == "__init__.py" and file.parent.name != "semsearch"}
    assert modules - rooms - set(mapped_paths()) == set()


def test_no_placeholder_is_left():
    assert not re.search(r"^(MEASURED|MAP|TODO|TBD)", README, re.MULTILINE)


def test_the_make_targets_and_files_that_it_names_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"make ([a-z-]+)", README)) - {"sure"}
    assert named >= {"demo", "test", "lint", "bench"}
    assert named <= set(targets)
    assert {"LICENSE", "CHANGELOG.md", ".ci/run"} <= set(re.findall(r"[\w./]+", README))
    assert all((ROOT / name).exists() for name in ("LICENSE", "CHANGELOG.md", ".ci/run"))


def test_the_gate_runs_the_test_command_of_the_readme():
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "make test" in gate
    assert "make lint" in gate
    assert "    make test " in README


def test_every_command_and_option_that_it_names_is_known():
    from semsearch.cli.main import app

    commands = {info.name or info.callback.__name__ for info in app.registered_commands}
    groups = {
        f"{group.name} {info.name or info.callback.__name__}"
        for group in app.registered_groups
        for info in group.typer_instance.registered_commands
    }
    named = set(re.findall(r"^\| `semsearch ((?:eval |data )?\w+)", README, re.MULTILINE))
    assert named <= commands | groups
    helps = "".join(
        subprocess.run(
            [sys.executable, "-m", "semsearch", *name.split(), "--help"], capture_output=True, text=True, check=True
        ).stdout
        for name in sorted(commands | groups)
    )
    options = set(re.findall(r"`[^`]*?(--[a-z][a-z-]+)", README)) - {"--help"}
    assert {option for option in options if option not in helps} == set()


def test_the_table_of_poolers_is_the_registry():
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\|([^|]*)\|$", README.partition("## Poolers")[2], re.MULTILINE)
    names = [name for name, _ in rows[1:]]  # below the head
    assert names == [*POOLERS, "layer:N+NAME", "A+B"]
    for simcse, ours in SIMCSE_NAMES.items():
        assert f"SimCSE `{simcse}`" in dict(rows)[ours]


def test_the_exit_codes_are_those_of_the_error_tree():
    assert "Exit codes: 0, 1 for an error, 2 for wrong\nusage" in README
    assert "exits 2" in errors.__doc__


BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def printed(code: str, folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_its_index_in_python_finds_the_bird(tmp_path):
    cosines = 0.357163, 0.045680  # by sentence-transformers
    unrelated = sum(cosines) / 22
    score = 0.5 * (cosines[0] - unrelated) / (1 - unrelated)
    assert printed(BLOCKS[0], tmp_path) == f"{score:.2f}  The heron waits in the reeds.\n"


@pytest.mark.slow
def test_its_comparison_in_python_prints_what_the_command_prints(tmp_path):
    (tmp_path / "corpora").symlink_to(ROOT / "corpora")
    done = call("eval", "retrieval", "--data", str(ROOT / "corpora/sample"), "--poolers", "mean,cls")
    heading, *lines = printed(BLOCKS[1], tmp_path).splitlines()
    rows = [re.split(r"  +", line) for line in lines[: lines.index("")]]
    assert heading == "Retrieval (trec)"
    assert [row[:-1] for row in rows] == [row[:-1] for row in done.rows]  # without times
    assert done.err.splitlines()[0] in lines, "what the marks mean"
    *_, best, value = lines
    numbers = {row[0]: float(row[1].rstrip("*~")) for row in done.rows[1:] if row[0] != "keyword"}
    assert best == max(numbers, key=lambda label: numbers[label]).partition(",")[0]
    assert round(float(value), 4) == numbers["mean"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(BLOCKS) == 2
