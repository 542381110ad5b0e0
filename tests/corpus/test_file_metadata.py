"""Test what is known of a file besides its text: type, size, time, and language, and how an index keeps it."""

import gzip
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import HASH, call

from semsearch import Index, ReadOptions, WordHashEncoder
from semsearch.corpus.about import moment_of
from semsearch.corpus.languages import LEAST_BYTES, language_of
from semsearch.corpus.readers import read_corpus
from semsearch.types import Document

TEXTS = {
    "en": "The heron waits in the reeds until the fish come close to the shore.",
    "de": "Der Reiher wartet im Schilf, bis die Fische nahe an das Ufer kommen.",
    "fr": "Le héron attend dans les roseaux que les poissons s'approchent de la rive.",
    "es": "La garza espera entre los juncos hasta que los peces se acercan a la orilla.",
    "ru": "Цапля ждёт в камышах, пока рыба не подойдёт близко к берегу.",
    "zh": "苍鹭在芦苇丛中等待，直到鱼儿游近岸边。它站着一动不动，然后迅速地把鱼捉住并且吃掉，这就是它们的生活。",
    "ja": "サギは魚が岸の近くに来るまで、葦の中でじっと待っています。",
    "ar": "ينتظر مالك الحزين بين القصب حتى تقترب الأسماك من الشاطئ.",
}
"""One sentence in several languages."""


def write(path: Path, content: str | bytes, modified: float | None = 1_769_853_600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if modified is not None:
        os.utime(path, (modified, modified))
    return path


def metadata(path: Path, **options) -> dict[str, object]:
    (document,) = read_corpus(str(path), ReadOptions(**options))
    assert isinstance(document, Document), document
    return dict(document.metadata)


def test_a_file_is_described(tmp_path: Path):
    path = write(tmp_path / "a.md", TEXTS["en"], 1_769_853_600.987)  # the beginning of 10 o'clock, plus a fraction
    about = {"path": "a.md", "type": "markdown", "size": 68, "modified": "2026-01-31T10:00:00Z", "language": "en"}
    assert metadata(path) == about


def test_the_size_of_a_gzipped_file_is_that_on_disk(tmp_path: Path):
    path = write(tmp_path / "a.txt.gz", gzip.compress(b"x" * 10_000))
    assert metadata(path) == {
        "path": "a.txt.gz",
        "type": "text",
        "size": path.stat().st_size,
        "modified": "2026-01-31T10:00:00Z",
    }


def test_the_metadata_of_the_document_wins(tmp_path: Path):
    front = "---\nlanguage: tlh\nmodified: 2001-02-03\ntype: poem\nsize: large\n---\n"
    path = write(tmp_path / "a.md", front + TEXTS["en"])
    own = {"language": "tlh", "modified": "2001-02-03", "type": "poem", "size": "large", "path": "a.md"}
    assert metadata(path) == own


def test_records_and_lines_are_not_files(tmp_path: Path):
    assert metadata(write(tmp_path / "a.jsonl", '{"_id": "1", "text": "x"}')) == {}
    assert metadata(write(tmp_path / "a.txt", "x"), per_line=True) == {"path": "a.txt"}


@pytest.mark.parametrize(
    ("seconds", "moment"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (4_102_444_800, "2100-01-01T00:00:00Z"),  # a clock in the future
        (-62_135_596_800, "0001-01-01T00:00:00Z"),
        (-62_135_596_801, None),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (253_402_300_800, None),
        (2**60, None),
    ],
)
def test_moments_are_in_utc_to_the_second(seconds: int, moment: str | None):
    assert moment_of(seconds * 10**9) == moment
    assert moment_of(seconds * 10**9 + 999_999_999) == moment


def test_the_time_zone_of_the_machine_does_not_matter(tmp_path: Path):
    code = "from semsearch.corpus.about import moment_of; print(moment_of(1769853600 * 10**9))"
    told = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for zone in ("UTC", "Pacific/Auckland")
    ]
    assert told == ["2026-01-31T10:00:00Z"] * 2


# --- languages


@pytest.mark.parametrize("code", TEXTS)
def test_the_language_of_a_sentence_is_told(code: str):
    assert language_of(TEXTS[code]) == code
    assert language_of(f"12.5 % -- {TEXTS[code]}\n" * 500) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Heron",
        TEXTS["en"][:40],  # 33 letters
        "1 2 3 " * 500,
        "x " * 500,
        "aGVsbG8gd29ybGQ xkjhqwe lkjzxc qwoeiu mnbvzx plokij qazwsx edcrfv tgbyhn ujmikl",
        "😀" * 500,
        "\ufffd" * 500,
    ],
)
def test_too_little_text_and_what_is_no_language_have_none(text: str):
    assert language_of(text) is None


def test_the_least_length_is_counted_in_letters():
    assert sum(len(word.encode()) for word in TEXTS["zh"]) > LEAST_BYTES
    assert language_of("8" * 999 + TEXTS["en"][:30]) is None


def test_the_detector_is_loaded_only_when_it_is_needed():
    code = "import sys, semsearch.corpus.readers as r; print('py3langid' in sys.modules, 'pathspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# --- in an index


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "index", create=True, encoder=WordHashEncoder()) as opened:
        yield opened


def test_what_changes_of_a_file_but_its_text_is_not_encoded_again(tmp_path: Path, index: Index):
    folder = tmp_path / "docs"
    paths = [write(folder / f"{n}.md", f"text number {n}") for n in range(3)]
    assert index.add(folder).encoded == 3
    again = index.add(folder)
    assert (again.encoded, again.described, again.unchanged) == (0, 0, 3)
    os.utime(paths[0], (1_769_853_600.5, 1_769_853_600.5))  # within the same second
    assert index.add(folder).unchanged == 3
    os.utime(paths[0], (2_000_000_000, 2_000_000_000))
    touched = index.add(folder)
    assert (touched.encoded, touched.described, touched.unchanged) == (0, 1, 2)
    assert index.select("modified >= 2033-05-18") == ["0.md"]


def test_an_older_index_gets_the_metadata_without_being_encoded_again(tmp_path: Path, index: Index):
    path = write(tmp_path / "a.md", "text")
    (document,) = read_corpus(str(path))
    index.add([Document("a.md", "text", "text", {"path": "a.md"}, origin=document.origin)])
    report = index.add(path)
    assert (report.encoded, report.described) == (0, 1)
    assert index.select("type = 'markdown'") == ["a.md"]


def test_files_are_found_by_what_is_known_of_them(tmp_path: Path, index: Index):
    days = {"a.md": 1_769_817_600, "b.md": 1_769_903_999, "c.txt": 1_769_904_000}  # first and last second of January 31
    for name, modified in days.items():
        write(tmp_path / "docs" / name, TEXTS["de" if name == "c.txt" else "en"], modified)
    index.add(tmp_path / "docs")
    assert index.select("modified = 2026-01-31") == ["a.md", "b.md"]
    assert index.select("modified <= 2026-01-31") == ["a.md", "b.md"]
    assert index.select("modified > 2026-01-31") == ["c.txt"]
    assert index.select("modified >= 2026-01-31T23:59") == ["b.md", "c.txt"]
    assert index.select("modified >= '2026-02-01'") == ["c.txt"]
    assert index.select("modified < '2026-02'") == ["a.md", "b.md"]
    assert index.select("type = 'markdown' and language = 'en' and size < 100") == ["a.md", "b.md"]


def test_what_is_passed_over_now_is_missing_and_deleted_only_on_request(tmp_path: Path, index: Index):
    folder = tmp_path / "docs"
    for name in ("a.md", "b.md", "node_modules/c.md"):
        write(folder / name, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert index.add(folder, options=ReadOptions(all_files=True)).encoded == 3
        report = index.add(folder)
        assert (report.vanished_ids, report.deleted, len(index)) == (["node_modules/c.md"], 0, 3)
        (folder / ".gitignore").write_text("b.md\n")
        report = index.add(folder, delete_missing=True)
    assert (report.deleted, report.not_deleted, index.select()) == (2, 0, ["a.md"])


@pytest.mark.filterwarnings("ignore:passed over files")
def test_the_status_counts_the_values_of_fields_that_have_few(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(14):
        write(tmp_path / "docs" / f"{number}.md", f"{number} {TEXTS['en']}", 1_769_853_600 + number)
    write(tmp_path / "docs" / "a.py", "x = 1\n")
    options = ("--exclude", "3.md", "--exclude", "/4.md", "--include", "*.md", "--include", "*.py", "--all-files")
    call("index", "docs", *options, *HASH).ok()
    shown = json.loads(call("status", "--json").ok().out)
    assert shown["facets"]["type"] == [{"value": "markdown", "count": 12}, {"value": "code", "count": 1}]
    assert not {"path", "modified"} & shown["facets"].keys()
    assert dict(call("status").ok().rows)["facets.type"] == "markdown 12, code 1"


FORGED = {
    "a.md": b"---\npath: /etc/passwd\ntype: post\n---\n# A\n",
    "a.org": b"#+PATH: /etc/passwd\n* A\n",
    "a.html": b'<title>A</title><meta name="path" content="/etc/passwd"><p>A',
    "a.eml": b"From: a@example.com\npath: /etc/passwd\n\nA\n",
    "a.adoc": b"= A\n:path: /etc/passwd\n\nA\n",
}


@pytest.mark.parametrize("name", FORGED)
def test_no_file_can_claim_to_be_another(tmp_path, name):
    (tmp_path / name).write_bytes(FORGED[name])
    (document,) = read_corpus(tmp_path)
    assert document.metadata["path"] == name
    assert name != "a.md" or document.metadata["type"] == "post"  # which only describes the document


def test_the_path_in_a_record_is_a_field_like_others(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"_id": "1", "text": "x", "path": "/shelf/3"}\n')
    (document,) = read_corpus(tmp_path)
    assert document.metadata["path"] == "/shelf/3"
