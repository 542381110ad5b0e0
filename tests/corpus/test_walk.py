"""Test which files of a folder are read: by name, content, `.gitignore`, and the user's patterns."""

import gzip
import os
import random
import shutil
import socket
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from semsearch.corpus.ignored import MAX_STARS, is_ignored, rules_in, rules_of
from semsearch.corpus.readers import Coverage, ReadOptions, count_bytes, read_corpus
from semsearch.corpus.selection import CACHES
from semsearch.errors import RecordError, SourceError, UsageError
from semsearch.types import Document

GIT = shutil.which("git")
NEEDS_GIT = pytest.mark.skipif(GIT is None, reason="git is not installed")


def write(folder: Path, **files: str | bytes) -> Path:
    return write_all(folder, files)


def write_all(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def ids(folder: Path | str, **options) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = list(read_corpus(str(folder), ReadOptions(**options)))
    assert all(isinstance(one, Document) for one in records), records
    return [one.doc_id for one in records]


def warned(folder: Path, **options) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(read_corpus(str(folder), ReadOptions(**options)))
    return [str(one.message).replace(str(folder), "DOCS") for one in caught]


# --- files without an extension

TEXTS = {
    "README": "Read me.",
    "LICENSE": "ü" * 4096,  # a character is cut off where the test of its content ends
    "Makefile": "all:\n\techo\n",
    "UTF16": "\ufeffnotes".encode("utf-16-le"),
    "BOM": b"\xef\xbb\xbfnotes",
    "NEWS.gz": gzip.compress(b"News."),
}
OTHERS = {
    "binary": b"\x7fELF\0\1",
    "latin": "Gr\xfc\xdfe".encode("latin-1"),
    "empty": b"",
    "utf16-without-mark": "notes".encode("utf-16-le"),
    "corrupt.gz": b"no gzip",
    "cut.gz": gzip.compress(os.urandom(9999))[:99],
}


def test_a_file_without_an_extension_is_read_if_it_is_text(tmp_path: Path):
    write_all(tmp_path, TEXTS | {"README.Debian": "x", "settings.yaml": "a: 1", "a.log": "x"} | OTHERS)
    assert ids(tmp_path) == sorted(TEXTS)
    assert warned(tmp_path) == [
        'ignored files in "DOCS" that are not documents: 4 without an extension, 2 .gz, 1 .Debian, 1 .log, 1 .yaml'
    ]
    assert {one.metadata["type"] for one in read_corpus(str(tmp_path / "README"))} == {"text"}


def test_a_given_file_without_an_extension_is_read_if_it_is_text(tmp_path: Path):
    write_all(tmp_path, TEXTS | OTHERS)
    assert [ids(tmp_path / name) for name in TEXTS] == [[name] for name in TEXTS]
    for name in OTHERS:
        with pytest.raises(SourceError, match=rf'{name}" has no extension and is not text; expected .jsonl'):
            read_corpus(str(tmp_path / name))


def test_a_script_without_an_extension_is_source_code(tmp_path: Path):
    first = {"a": "#!/bin/sh", "b": "#!/usr/bin/env python3", "c": "#! /usr/bin/env -S node x", "d": "#!/opt/mine"}
    write_all(tmp_path, {name: f"{line}\necho\n" for name, line in first.items()})
    found = [(one.metadata["type"], one.metadata.get("code")) for one in read_corpus(str(tmp_path))]
    assert found == [("code", "bash"), ("code", "python"), ("code", "javascript"), ("text", None)]


def test_all_endings_that_are_left_out_are_named(tmp_path: Path):
    write_all(tmp_path, {f"{n}.x{n}": "x" for n in range(12)} | {"b.x3": "x", "a.txt": "x"})
    (message,) = warned(tmp_path)
    listed = ", ".join(sorted(f"1 .x{n}" for n in range(12) if n != 3))
    assert message == f'ignored files in "DOCS" that are not documents: 2 .x3, {listed}'


# --- what is passed over

PROJECT = {
    "README": "x",
    "a.md": "x",
    ".hidden.md": "x",
    ".config/b.md": "x",
    ".git/description": "x",
    "src/a.py": "x = 1",
    "src/__pycache__/a.txt": "x",
    "node_modules/b/README.md": "x",
    "env/pyvenv.cfg": "home = /usr",
    "env/lib/a.md": "x",
    "target/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# cache",
    "target/debug/a.md": "x",
    "fake/CACHEDIR.TAG": "no signature",
    "fake/a.md": "x",
    "build/out.md": "x",
    "docs/keep.md": "x",
    "docs/drop.md": "x",
    ".gitignore": "build/\n# comment\n\n",
    "docs/.gitignore": "*.md\n!keep.md\n",
    "web/page.min.js": "x()",
    "web/page.js": f"{'x' * 5001}\n",
    "web/fine.js": f"{'x' * 5000}\n",
}


def test_caches_ignored_and_generated_files_are_passed_over_and_counted(tmp_path: Path):
    write_all(tmp_path, PROJECT)
    assert ids(tmp_path) == ["README", "a.md", "docs/keep.md", "fake/a.md", "src/a.py", "web/fine.js"]
    assert warned(tmp_path)[1:] == [
        'passed over files and folders in "DOCS": 4 caches, 2 generated, 2 in .gitignore; '
        "pass `all_files` to read them too"
    ]


def test_all_files_are_read_on_request_except_those_of_version_control(tmp_path: Path):
    write_all(tmp_path, PROJECT)
    texts = {name for name in PROJECT if name.endswith((".md", ".py", ".js", ".txt", "README"))}
    assert set(ids(tmp_path, all_files=True)) == texts | {".gitignore", "docs/.gitignore"}
    assert not [one for one in warned(tmp_path, all_files=True) if "passed over" in one]


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_that_is_given_itself_is_read(tmp_path: Path, name: str):
    write_all(tmp_path, {f"{name}/a.md": "x"})
    assert ids(tmp_path / name) == ["a.md"]
    with pytest.raises(SourceError, match="contains no files in a supported format; passed over: 1 caches; expected"):
        read_corpus(str(tmp_path))


def test_rules_of_the_repository_above_apply_unless_they_ignore_the_folder(tmp_path: Path):
    write_all(tmp_path, {".git/info/exclude": "c.md\n", ".gitignore": "b.md\n/build\n"})
    write_all(tmp_path, {f"{folder}/{name}.md": "x" for folder in ("docs", "build", "docs/build") for name in "abc"})
    assert ids(tmp_path / "docs") == ["a.md", "build/a.md"]
    assert ids(tmp_path / "build") == ["a.md", "b.md", "c.md"]  # given although it is ignored


def test_a_repository_in_a_repository_has_rules_of_its_own(tmp_path: Path):
    write_all(tmp_path, {".git/x": "", ".gitignore": "a.md\n", "in/.git/x": "", "in/.gitignore": "b.md\n"})
    write_all(tmp_path, {"in/a.md": "x", "in/b.md": "x", "a.md": "x", "b.md": "x"})
    assert ids(tmp_path) == ["b.md", "in/a.md"]


def test_rules_in_a_pipe_or_of_any_bytes_do_no_harm(tmp_path: Path):
    write_all(tmp_path, {"sub/.gitignore": b"\xff[\n***[\\\n!\n[z-a]\n/\n\\\nb.md\r\n", "a.md": "x", "sub/b.md": "x"})
    os.mkfifo(tmp_path / ".gitignore")
    assert ids(tmp_path) == ["a.md"]


def test_a_pattern_that_would_take_forever_is_left_out():
    name = "/x/" + "a" * 200
    assert rules_of("/x", ["*a" * MAX_STARS + "b"]).verdict(name[:40], is_folder=False) is None
    assert rules_of("/x", ["*a" * 30 + "b"]).rules == ()
    assert rules_of("/x", ["a/**/**/b/**"]).verdict("/x/a/c/b/d", is_folder=False)


# --- git as the oracle


def check_ignore(repository: Path, paths: Sequence[str]) -> set[str]:
    """Return which paths git ignores."""
    told = subprocess.run(
        [str(GIT), "-c", "core.excludesFile=/dev/null", "check-ignore", "--no-index", "--stdin", "-z"],
        input="\0".join(paths).encode(),
        cwd=repository,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert told.returncode in (0, 1), told.stderr
    return {one.decode() for one in told.stdout.split(b"\0") if one}


def files_below(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in found if not any(part.startswith(".git") for part in path.parts)]


def passed(folder: Path) -> set[str]:
    """Return the files of a repository that the rules ignore, by walking it as `semsearch.corpus.walk` does."""
    found, stack = set(), [(folder, ())]
    while stack:
        at, rules = stack.pop()
        rules += rules_in(str(at), str(at))
        for path in at.iterdir():
            if path.name.startswith(".git"):
                continue
            if is_ignored(rules, str(path), is_folder=path.is_dir()):
                below = files_below(path) if path.is_dir() else [""]
                found |= {(path / one).relative_to(folder).as_posix() for one in below}
            elif path.is_dir():
                stack.append((path, rules))
    return found


PARTS = ["a", "b", "*", "?", "**", "[ab]", "[!a]", "a*", "*.md", "*b*", "\\a", "c d", "a.md", "b.md", "[a"]


def random_rules(draw: random.Random) -> str:
    lines = []
    for _ in range(draw.randint(1, 4)):
        pattern = "/".join(draw.choices(PARTS, k=draw.choice([1, 1, 1, 2, 2, 3])))
        lines.append(
            draw.choice(["", "", "", "!"])
            + draw.choice(["", "", "/"])
            + pattern
            + draw.choice(["", "", "/", " ", "/ ", "\\ "])
            + draw.choice(["", "", "\r"])
        )
    return "\n".join(["# comment", *lines, ""])


@NEEDS_GIT
def test_gitignore_is_read_as_git_reads_it(tmp_path: Path):
    subprocess.run([str(GIT), "init", "-q", str(tmp_path)], check=True, timeout=30)
    names = ["a.md", "b.md", "c d", "b"]  # git matches bytes, so that `?` is not `é`
    folders = ["", "a/", "b.d/", "a/b/", "a/a/", "a/b/a/", "c/"]
    files = {f"{folder}{name}": "x" for folder in folders for name in names if f"{folder}{name}/" not in folders}
    write_all(tmp_path, files)
    draw = random.Random(0)
    told = 0
    for turn in range(150):
        places = {".git/info/exclude", ".gitignore", "a/.gitignore", "a/b/.gitignore"}
        for place in sorted(places):
            (tmp_path / place).write_text(random_rules(draw) if draw.random() < 0.6 else "", "utf-8", newline="")
        theirs = check_ignore(tmp_path, sorted(files))
        rules = {place: (tmp_path / place).read_text("utf-8") for place in sorted(places)}
        assert passed(tmp_path) == theirs, (turn, rules)
        told += len(theirs)
    assert 0 < told < 150 * len(files)


# --- include and exclude


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    names = ("a.md", "b.txt", "sub/c.md", "sub/deep/d.txt", "other/e.md", "other/f.txt")
    return write_all(tmp_path / "docs", dict.fromkeys(names, "x"))


@pytest.mark.parametrize(
    ("include", "exclude", "found"),
    [
        (["*.md"], [], "a.md other/e.md sub/c.md"),
        (["/*.md"], [], "a.md"),
        (["sub/"], [], "sub/c.md sub/deep/d.txt"),
        (["sub/*.md", "b.txt"], [], "b.txt sub/c.md"),
        (["**/deep"], [], "sub/deep/d.txt"),
        (["*.md", "!sub/"], [], "a.md other/e.md sub/c.md"),
        (["sub", "!c.md"], [], "sub/deep/d.txt"),
        ([], ["*.txt"], "a.md other/e.md sub/c.md"),
        ([], ["sub"], "a.md b.txt other/e.md other/f.txt"),
        ([], ["*.txt", "!b.txt"], "a.md b.txt other/e.md sub/c.md"),
        (["sub"], ["deep/"], "sub/c.md"),
        (["*.md"], ["/a.md"], "other/e.md sub/c.md"),
    ],
)
def test_patterns_narrow_what_is_read(docs: Path, include: list[str], exclude: list[str], found: str):
    assert ids(docs, include=include, exclude=exclude) == found.split()
    assert ids(f"{docs}/", include=include, exclude=exclude) == found.split()


def test_patterns_are_relative_to_the_given_folder(docs: Path, monkeypatch):
    monkeypatch.chdir(docs)
    assert ids(".", include=["/sub"]) == ["sub/c.md", "sub/deep/d.txt"]
    assert ids("sub", include=["/deep"]) == ["deep/d.txt"]
    assert ids("a.md", exclude=["*.md"]) == ["a.md"]  # a file that is given is read
    with pytest.warns(UserWarning, match="3 not included"):
        assert count_bytes(".", ReadOptions(include=["*.md"])) == 3


def test_what_patterns_pass_over_is_counted(docs: Path):
    assert warned(docs, include=["*.md"], exclude=["sub"]) == [
        'passed over files and folders in "DOCS": 2 not included, 1 excluded'
    ]


@pytest.mark.parametrize("bad", ["*.md", [1], [""], [b"x"]])
def test_patterns_are_a_list_of_text(bad):
    with pytest.raises(UsageError, match=r"`exclude` is .*; expected a list of patterns such as '\*.md'"):
        ReadOptions(exclude=bad)


# --- bad input


def test_sockets_and_pipes_without_an_extension_are_left_alone(tmp_path: Path):
    write_all(tmp_path, {"a.txt": "x"})
    os.mkfifo(tmp_path / "README")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    assert ids(tmp_path) == ["a.txt"]
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        read_corpus(str(tmp_path / "README"))


def test_a_file_that_vanishes_while_the_folder_is_walked_is_reported(tmp_path: Path):
    write_all(tmp_path, {"a.txt": "x", "b.txt": "x", "README": "x"})
    records = read_corpus(str(tmp_path))
    assert next(records).doc_id == "README"
    (tmp_path / "a.txt").unlink()
    error, document = records
    assert isinstance(error, RecordError)
    assert (error.reason, document.doc_id) == ("cannot be read: No such file or directory", "b.txt")


def test_names_that_are_not_utf8_are_bad_only_if_they_would_be_read(tmp_path: Path):
    write_all(tmp_path, {"a.txt": "x", ".gitignore": b"*.md\n"})
    for name in (b"\xff.md", b"\xff.txt", b"\xff"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(b"x")
    with pytest.warns(UserWarning, match="1 in .gitignore"):
        *errors, document = sorted(read_corpus(str(tmp_path)), key=lambda one: isinstance(one, Document))
    assert len(errors) == 2
    assert all("not valid UTF-8" in error.reason for error in errors)
    assert document.doc_id == "a.txt"


def test_a_large_file_of_one_line_is_one_document(tmp_path: Path):
    write_all(tmp_path, {"README": "word " * 2_000_000, "big.js": "x+" * 5_000_000})
    assert ids(tmp_path) == ["README"]
    assert ids(tmp_path / "big.js") == ["big.js"]  # given, so read, without sections


# --- what an index does with files that are passed over now


def test_a_file_that_is_passed_over_is_no_longer_in_the_corpus(tmp_path: Path):
    write_all(tmp_path, {"a.md": "x", "b.md": "x", "sub/c.md": "x", "d.xyz": "x"})

    def missing(**options) -> set[str]:
        coverage = Coverage()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            list(read_corpus(str(tmp_path), ReadOptions(**options), coverage))
        names = ("a.md", "b.md", "sub/c.md", ".h/e.md", "d.xyz")
        return {name for name in names if coverage.lacks(coverage.origin_of(str(tmp_path / name), found=True))}

    (tmp_path / ".h").mkdir()
    (tmp_path / ".h" / "e.md").write_text("x")
    assert missing(all_files=True) == set()
    assert missing() == {".h/e.md"}
    assert missing(exclude=["sub"], include=["a.md"]) == {".h/e.md", "b.md", "sub/c.md", "d.xyz"}
    (tmp_path / ".gitignore").write_text("b.md\n")
    assert missing() == {".h/e.md", "b.md"}
