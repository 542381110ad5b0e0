"""Everything that README and documentation show is checked against the program: commands, code, data, links, names."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command import call, parse
from pseudo_terminal import NO_TERMINAL, on_terminal, plain

import semsearch
import semsearch.errors
import semsearch.evaluation
import semsearch.poolers
import semsearch.training
from semsearch.encoder.pooling import SIMCSE_NAMES
from semsearch.poolers import POOLERS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
FILES = sorted(
    file.relative_to(ROOT)
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if file.name != "CHANGELOG.md"
)
FENCE = re.compile(r"^( *)```([\w-]*)([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def text_of(file: Path) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def blocks(*languages: str) -> Iterator[tuple[Path, int, str]]:
    """Fenced blocks in one of these languages: file, line, content."""
    for file in FILES:
        text = text_of(file)
        for found in FENCE.finditer(text):
            if found[2] in languages:
                indent = len(found[1])
                code = "\n".join(line[indent:] for line in found[4].split("\n"))
                yield file, text[: found.start()].count("\n") + 1, code


def shown(*languages: str) -> pytest.MarkDecorator:
    found = list(blocks(*languages))
    ids = [f"{file}:{line}" for file, line, _ in found]
    return pytest.mark.parametrize("code", [code for *_, code in found], ids=ids)


def test_every_block_names_its_language():
    known = {"bash", "console", "python", "json", "yaml", "text"}
    named = {(file, found[2]) for file in FILES for found in FENCE.finditer(text_of(file))}
    assert {one for one in named if one[1] not in known} == set()


def test_no_command_hides_in_an_indented_block():
    for file in FILES:
        assert not re.search(r"\n\n    (?:semsearch|pip|make|curl) ", FENCE.sub("", text_of(file))), file


# --- commands


def commands() -> list[tuple[str, list[str]]]:
    """Each command of a shell block, its place, and its words."""
    found = []
    for file, line, code in blocks("bash", "console"):
        if (prompt := "$ ") and any(each.startswith(prompt) for each in code.split("\n")):
            code = "\n".join(each[2:] for each in code.split("\n") if each.startswith(prompt))
        for command in re.split(r"\n|&&|\|", code.replace("\\\n", " ")):
            words = shlex.split(command, comments=True)
            if words:
                found.append((f"{file}:{line}", words))
    return found


COMMANDS = commands()

OTHERS = {"cat", "claude", "curl", "docker", "export", "git", "kubectl", "python3", "source", "uv", "npx"}
"""Programs of others whose arguments are not looked at."""


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{at} {' '.join(words)[:40]}" for at, words in COMMANDS])
def test_every_command_is_one_that_runs(place: str, words: list[str]):
    program, *arguments = words
    if program == "semsearch":
        parse(arguments)
    elif program == "make":
        assert {word for word in arguments if "=" not in word} <= TARGETS
    elif program == "pip":
        check_extras(arguments)
    elif program == "python":
        assert (ROOT / arguments[0]).exists()
        described = (ROOT / arguments[0]).read_text(encoding="utf-8")
        assert [word for word in arguments[1:] if word.startswith("--") and f'"{word}"' not in described] == []
    else:
        assert program in OTHERS, place


def check_extras(arguments: list[str]) -> None:
    named = {extra for word in arguments for found in re.findall(r"\[([\w,-]+)\]", word) for extra in found.split(",")}
    assert named <= PROJECT["optional-dependencies"].keys()


def test_paths_that_are_asked_for_with_curl_are_served():
    from semsearch.server.app import create_app

    paths = create_app({"notes": "indexes/notes"}).openapi()["paths"]
    patterns = [re.compile(re.sub(r"\{\w+\}", "[^?]+", path)) for path in paths]
    asked = [word for _, words in COMMANDS if words[0] == "curl" for word in words if word.startswith("http")]
    assert asked
    for url in asked:
        path = re.sub(r"^https?://[^/]+|\?.*", "", url)
        assert any(pattern.fullmatch(path) for pattern in patterns), url


def test_every_option_that_is_named_exists():
    helps = "\n".join((ROOT / "docs/reference/commands.md").read_text(encoding="utf-8").split())
    others = {
        "--cross-encoder",
        "--torch-backend",
        "--index-url",
        "--no-index",
        "--find-links",
        "--help",
        "--add-host",
        "--with",
    }
    for file in FILES:
        named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", text_of(file))) - others
        assert {option for option in named if option not in helps} == set(), file


# --- code and data


ELSEWHERE = ("compare_poolers", 'index.search("a patient bird", k=3, where=')
"""Parts of the blocks whose output is compared in the tests below."""


@pytest.mark.slow
@shown("python")
def test_python_runs(code: str, tmp_path: Path, sample_index: Path):
    if any(part in code for part in ELSEWHERE):
        pytest.skip("run below, where its output is compared")
    modules = [node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    if any(str(module).startswith("semsearch.integrations") for module in modules):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("semsearch.integrations"):
                defined = ROOT / f"{str(node.module).replace('.', '/')}.py"
                names = {one.name for one in ast.parse(defined.read_text()).body if isinstance(one, ast.ClassDef)}
                assert {alias.name for alias in node.names} <= names
        return
    (tmp_path / "corpora").symlink_to(ROOT / "corpora")
    shutil.copytree(sample_index, tmp_path / "indexes" / "sample")
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@NO_TERMINAL
def test_the_readme_shows_what_its_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (console,) = (code for file, _, code in blocks("console") if file.name == "README.md")
    _, *steps = re.split(r"^\$ semsearch ", console, flags=re.MULTILINE)
    for step in steps:
        command, _, expected = step.partition("\n")
        code = 3 if "nothing found" in expected else 0
        printed, _ = on_terminal(*shlex.split(command), code=code)
        if expected:
            assert [line for line in plain(printed) if line] == expected.rstrip("\n").split("\n")


@pytest.mark.slow
def test_the_readme_shows_what_its_python_prints(tmp_path: Path):
    cosines = 0.357163, 0.045680  # of the two documents, by sentence-transformers
    unrelated = sum(cosines) / 22
    score = 0.5 * (cosines[0] - unrelated) / (1 - unrelated)
    expected = f"{score:.2f}  The heron waits in the reeds.\n"
    (code,), (output,) = (
        [code for file, _, code in blocks(kind) if file.name == "README.md"] for kind in ("python", "text")
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert output == done.stdout == expected


@pytest.mark.slow
def test_compare_poolers_prints_what_the_command_prints(tmp_path: Path):
    (code,) = (code for _, _, code in blocks("python") if "compare_poolers" in code)
    (tmp_path / "corpora").symlink_to(ROOT / "corpora")
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    done = call("eval", "retrieval", "--data", str(ROOT / "corpora/sample"), "--poolers", "mean,cls")
    heading, *lines = printed.splitlines()
    rows = [re.split(r"  +", line) for line in lines[: lines.index("")]]
    assert heading == "Retrieval (trec)"
    assert [row[:-1] for row in rows] == [row[:-1] for row in done.rows]  # without times
    *_, best, value = lines
    numbers = {row[0]: float(row[1].rstrip("*~")) for row in done.rows[1:] if row[0] != "keyword"}
    assert best == max(numbers, key=lambda label: numbers[label]).partition(",")[0]
    assert round(float(value), 4) == numbers["mean"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@shown("json")
def test_json_is_valid(code: str):
    json.loads(code)


@shown("yaml")
def test_yaml_is_valid(code: str):
    yaml.safe_load(code)


# --- links and names


@pytest.mark.parametrize("file", FILES, ids=str)
def test_links_lead_to_files(file: Path):
    text = FENCE.sub("", text_of(file))
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    for link in (one or other for one, other in links):
        if not re.match(r"[a-z]+:|#", link):
            assert (ROOT / file.parent / link.partition("#")[0]).exists(), link


def test_the_reference_of_python_has_every_public_name():
    page = text_of(Path("docs/reference/python.md"))
    directives = re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)
    assert len(directives) == len(set(directives))
    for name in directives:
        module, _, attribute = name.rpartition(".")
        __import__(module)
        assert hasattr(sys.modules[module], attribute), name
    modules = semsearch, semsearch.evaluation, semsearch.poolers, semsearch.training
    public = {name for module in modules for name in module.__all__} - {"SemsearchError"}
    assert public - {name.rpartition(".")[2] for name in directives} == set()
    assert "semsearch.errors" in directives


def test_the_table_of_poolers_is_the_registry():
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\|([^|]*)\|$", text_of(Path("docs/reference/poolers.md")), re.MULTILINE)
    assert [name for name, _ in rows[1:]] == [*POOLERS, "layer:N+NAME", "A+B"]
    for simcse, ours in SIMCSE_NAMES.items():
        assert f"SimCSE `{simcse}`" in dict(rows)[ours]


def test_generated_pages_are_what_the_program_says():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_is_short_and_its_test_command_is_the_gate():
    readme = text_of(Path("README.md"))
    assert len(readme.splitlines()) <= 150
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make lint", "make test", "make test-slow"} <= {line.strip() for line in gate}
    assert {"make demo", "make test"} <= {" ".join(words) for at, words in COMMANDS if at.startswith("README.md")}


def test_every_page_is_in_the_navigation():
    configured = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    named = set(re.findall(r"[\w/-]+\.md", json.dumps(configured)))
    assert named == {file.relative_to("docs").as_posix() for file in FILES if file.parts[0] == "docs"}


def test_workflows_and_metadata_are_valid_and_run_targets_that_exist():
    workflows = list((ROOT / ".github/workflows").glob("*.yml"))
    assert workflows
    for file in [*workflows, ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]:
        text = file.read_text(encoding="utf-8")
        assert isinstance(yaml.safe_load(text), dict)
        assert set(re.findall(r"run: make ([\w-]+)", text)) <= TARGETS, file
