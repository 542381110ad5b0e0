"""Tests for patterns in given paths; the standard library's glob says which files they name."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest

from semsearch import Index, WordHashEncoder, read_corpus
from semsearch.cli.locations import index_of
from semsearch.corpus.globs import Glob
from semsearch.corpus.readers import as_records
from semsearch.errors import SemsearchError, SourceError, UsageError
from semsearch.watching import watch

FILES = (
    "a.txt",
    "b.md",
    "[c].txt",
    "2024/a.txt",
    "2024/deep/d.txt",
    "2025/e.md",
    "2025/deep/deeper/f.txt",
    ".hidden.txt",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "notes"
    for file in FILES:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        (top / file).write_text(f"herons wait in {file}", encoding="utf-8")
    return top


def ids(pattern: str) -> list[str]:
    return [record.doc_id for record in read_corpus(pattern)]


@pytest.mark.parametrize(
    "pattern",
    [
        "*.txt",
        "**/*.txt",
        "*/*.txt",
        "20??/a.txt",
        "202[45]/*.md",
        "202[!4]/**/*.txt",
        "**/deep/**/*",
        "[[]c].txt",
        "**",
    ],
)
def test_a_pattern_names_the_files_that_glob_finds(folder, pattern):
    found = [Path(path) for path in glob.glob(f"{folder}/{pattern}", recursive=True)]
    expected = {path.relative_to(folder).as_posix() for path in found if path.is_file()}
    assert expected
    base = Glob.of(f"{folder}/{pattern}").base  # ids are relative to it
    assert {(Path(base) / one).relative_to(folder).as_posix() for one in ids(f"{folder}/{pattern}")} == expected


@pytest.mark.parametrize(("pattern", "expected"), [("20*", 4), ("*/", 4), ("2025/*/", 1), ("*", 7)])
def test_a_folder_that_a_pattern_names_is_read_whole(folder, pattern, expected):
    assert len(ids(f"{folder}/{pattern}")) == expected


def test_a_pattern_may_be_relative_to_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert ids("*.md") == ["b.md"]
    assert ids("2024/*") == ["a.txt", "deep/d.txt"]


def test_a_file_with_wildcards_in_its_name_is_that_file(folder):
    assert ids(f"{folder}/[c].txt") == ["[c].txt"]


def test_ids_and_roots_are_those_of_the_folder(folder, tmp_path):
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        assert index.add(f"{folder}/**/*.txt").encoded == 5
        whole = index.add(folder)
        assert (whole.encoded, whole.unchanged) == (2, 5)
        assert index.roots == [str(folder)]


def test_only_files_that_the_pattern_names_can_be_missing(folder, tmp_path):
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        index.add(folder)
        for gone in ("a.txt", "b.md"):
            (folder / gone).unlink()
        assert index.add(f"{folder}/*.txt").vanished_ids == ["a.txt"]
        result = index.add(f"{folder}/*.txt", delete_missing=True)
        assert (result.deleted, result.not_deleted) == (1, 0)
        assert index.status()["documents"] == 6
        assert index.add([f"{folder}/*.txt", f"{folder}/**/*.md"], delete_missing=True).deleted == 1


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*.pdf", r'/\*.pdf" names no file as a pattern, or none in a supported format; expected .jsonl'),
        ("nowhere/*.txt", r'as a pattern it needs the folder ".*/nowhere", which does not exist'),
    ],
)
def test_a_pattern_without_a_file_is_an_error_of_one_line(folder, pattern, message):
    with pytest.raises(SourceError, match=message) as error:
        ids(f"{folder}/{pattern}")
    assert "\n" not in str(error.value)


def test_a_pattern_cannot_be_watched(folder, tmp_path):
    with Index.open(tmp_path / "i", create=True, encoder=WordHashEncoder(64)) as index:
        for path in (f"{folder}/*.txt", "s3://key:secret@bucket/folder"):
            with pytest.raises(UsageError, match="cannot be watched") as error:
                next(watch(index, [path]))
            assert "secret" not in str(error.value)


def test_a_text_given_by_mistake_is_told_what_a_document_is(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(SourceError, match=r'"./What is this\?" names no file .*, or a document such as {"_id": "1"'):
        as_records("What is this?")


def test_many_asterisks_end(folder):
    with pytest.raises(SemsearchError):
        ids(f"{folder}/{'a*' * 200}b")


def test_the_index_of_a_pattern_or_a_url_is_named_after_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        index_of("notes/*.txt").name == index_of(f"{folder}/**/*.md").name == index_of(folder.as_uri()).name == "notes"
    )
    assert index_of("s3://key:secret@bucket/a/notes/?region=x").name == "notes"
    assert index_of("s3://bucket/notes/**/*.jsonl.gz").name == "notes"
    assert index_of("s3://bucket").name == "bucket"
