"""Test archives: what is in them is read as from a folder, and what is made to do harm is not."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import lzma
import struct
import tarfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import index_corpus
from memory import peak_within
from test_readers import SAMPLES

from semsearch import WordHashEncoder
from semsearch.corpus import archives, gzipped
from semsearch.corpus.formats.table import FORMATS
from semsearch.corpus.readers import Coverage, ReadOptions, count_bytes, read_corpus
from semsearch.corpus.records import ReadingWarning
from semsearch.errors import RecordError
from semsearch.types import Document

HINT = "; pass `all_files` to read them too"

KINDS = {"zip": None, "tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def pack(path: Path, files: dict[str, bytes]) -> str:
    """Write an archive of the kind that its name says."""
    kind = KINDS[path.name.partition(".")[2]]
    if kind is None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return str(path)
    with tarfile.open(path, kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


FILES = {
    **{f"samples/a{FORMATS[name].endings[0]}": content for name, content in sorted(SAMPLES.items())},
    "b.md": b"---\nyear: 2020\n---\n# Title\n\nText",
    "deep/er/c.jsonl.gz": gzip.compress(b'{"_id": "7", "text": "x"}\n{"_id": 8}\n'),
    "deep/er.txt": b"x",
    "deep/mbox": SAMPLES["mbox"],
    "README": b"Herons wait in the reeds.\n" * 4000,
    "LICENSE.gz": gzip.compress(b"Free."),
    "deep/build": b"#!/bin/sh\necho built\n",
    "deep/blob": bytes(range(256)),
    "deep/torn.gz": gzip.compress(b"torn")[:-9],
    "deep/node_modules/a/b.md": b"# not read",
    "deep/a.min.js": b"f()",
    "deep/long.js": b"f(" + b"x," * 4000 + b"x)",
    "deep/short.js": b"f()",
    "deep/torn.py.gz": gzip.compress(b"f()")[:-9],
}


def shown(records: list[Document | RecordError], top: str) -> list[object]:
    """Return records without the path of the folder or the archive."""
    found: list[object] = []
    for one in records:
        if isinstance(one, RecordError):
            found.append((one.source.removeprefix(f"{top}/"), one.line, one.reason, one.found))
            continue
        prefix = f"{one.origin.file}/" if one.origin.file.startswith("all.") else ""
        path = {"path": one.metadata["path"].removeprefix(prefix)} if "path" in one.metadata else {}
        metadata = {name: value for name, value in {**one.metadata, **path}.items() if name != "modified"}
        source = one.source.removeprefix(f"{top}/")
        found.append(replace(one, doc_id=one.doc_id.removeprefix(prefix), metadata=metadata, source=source))
    return found


def test_every_member_is_closed_when_an_archive_was_read(tmp_path, monkeypatch):
    opened = []
    plain_open = zipfile.ZipFile.open

    def kept_open(*arguments, **options):
        opened.append(plain_open(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(zipfile.ZipFile, "open", kept_open)
    gc.disable()  # it would close them, too, sooner or later
    try:
        with pytest.warns(ReadingWarning):
            assert list(read_corpus(pack(tmp_path / "all.zip", FILES)))
        assert len(opened) > 10
        assert all(stream.closed for stream in opened)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_gives_what_its_folder_gives(tmp_path, kind):
    folder = tmp_path / "folder"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    path = pack(tmp_path / f"all.{kind}", FILES)
    with warnings.catch_warnings(record=True) as of_folder:
        warnings.simplefilter("always")
        expected = shown(list(read_corpus(folder)), str(folder))
    with warnings.catch_warnings(record=True) as of_archive:
        warnings.simplefilter("always")
        found = shown(list(read_corpus(path)), path)
    assert len(expected) == len(SAMPLES) + 10
    if kind == "zip":
        assert found == expected
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert sorted(str(one.message).replace(path, str(folder)) for one in of_archive) == sorted(
        str(one.message) for one in of_folder
    )
    assert count_bytes(path) is None  # it is not known how much there is to read


@pytest.mark.parametrize(
    ("options", "read", "passed"),
    [
        (ReadOptions(), ["a.md", "b/c.md"], [f"1 caches, 1 generated{HINT}"]),
        (ReadOptions(include=["b/"]), ["b/c.md"], [f"2 not included, 1 caches{HINT}"]),
        (ReadOptions(exclude=["b/", "*.js"]), ["a.md"], ["2 excluded"]),
        (ReadOptions(all_files=True), [".d/e.md", "a.md", "b/c.md", "b/node_modules/f.md", "g.min.js"], []),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_what_is_chosen_of_an_archive_is_what_is_chosen_of_its_folder(tmp_path, kind, options, read, passed):
    names = [".d/e.md", ".git/h.md", "a.md", "b/c.md", "b/node_modules/f.md", "g.min.js"]
    if kind == "folder":
        for name in names:
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(b"x")
        path, prefix = str(tmp_path / "folder"), ""
    else:
        path, prefix = pack(tmp_path / f"a.{kind}", dict.fromkeys(names, b"x")), f"a.{kind}/"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [one.doc_id.removeprefix(prefix) for one in read_corpus(path, options)] == read
    assert [str(one.message).partition(": ")[2] for one in caught] == passed


BEIR = {
    "queries.jsonl": b'{"_id": "q1", "text": "What waits?"}\n',
    "notes.md": b"# Notes",
    "qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\n",
    "corpus.jsonl": b'{"_id": "d1", "text": "The heron waits."}\n',
}
"""A corpus as BEIR publishes it; in a tar, the documents may come last."""


@pytest.mark.parametrize("top", ["", "scifact/"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_of_beir_in_an_archive_is_its_documents_alone(tmp_path, kind, top):
    path = pack(tmp_path / f"scifact.{kind}", {f"{top}{name}": content for name, content in BEIR.items()})
    with pytest.warns(ReadingWarning) as caught:
        assert [one.doc_id for one in read_corpus(path)] == ["d1"]
    assert [str(one.message) for one in caught] == [
        f'"{path}" contains {top}corpus.jsonl, which is read as the whole corpus; not read: notes.md'
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)
        assert len(list(read_corpus(path, ReadOptions(format="text")))) == 4


def test_a_corpus_beside_other_folders_is_a_file_like_others(tmp_path):
    files = {f"scifact/{name}": content for name, content in BEIR.items()}
    path = pack(tmp_path / "a.tar", {**files, "other/a.md": b"x"})
    assert {"d1", "q1", "a.tar/other/a.md"} <= {one.doc_id for one in read_corpus(path) if isinstance(one, Document)}


def test_a_cut_off_archive_of_beir_gives_no_queries_as_documents(tmp_path):
    files = {name: BEIR[name] for name in ("corpus.jsonl", "queries.jsonl")}
    path = Path(pack(tmp_path / "a.tar", files))
    path.write_bytes(path.read_bytes()[:2048])
    document, error = read_corpus(path)
    assert (document.doc_id, "cut off" in error.reason) == ("d1", True)


def test_ids_sources_and_origins(tmp_path):
    path = pack(tmp_path / "a.zip", {"x/b.md": b"# B", "x\\c.txt": b"c"})
    first, second = read_corpus(path)
    assert (first.doc_id, first.source, first.metadata["path"]) == ("a.zip/x/b.md", f"{path}/x/b.md", "a.zip/x/b.md")
    assert (first.metadata["type"], first.metadata["size"]) == ("markdown", 3)
    assert second.doc_id == "a.zip/x/c.txt"
    assert first.origin.file == "a.zip"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "d.txt").write_text("x")
    assert [one.doc_id for one in read_corpus(tmp_path)] == ["a.zip/x/b.md", "a.zip/x/c.txt", "other/d.txt"]


def test_a_format_is_that_of_the_members(tmp_path):
    path = pack(tmp_path / "a.tar.gz", {"a.log": b"x"})
    (document,) = read_corpus(path, ReadOptions(format="text"))
    assert (document.doc_id, document.text) == ("a.tar.gz/a.log", "x")


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_files_and_unknown_ones_and_archives_are_skipped(tmp_path, kind):
    names = [
        ".a.txt",
        "b/.git/x.txt",
        "__MACOSX/b/._x.txt",
        "__MACOSX/x.txt",
        "p.jpg",
        "b/q.JPG",
        "r",
        "in.zip",
        "b/in.tgz",
    ]
    path = pack(tmp_path / f"all.{kind}", {**dict.fromkeys(names, b"x"), "r": b"\0", "b/fine.txt": b"x"})
    with pytest.warns(ReadingWarning) as caught:
        assert [one.doc_id for one in read_corpus(path)] == [f"all.{kind}/b/fine.txt"]
    assert [str(one.message) for one in caught] == [
        f'ignored files in "{path}" that are not documents: 1 .JPG, 1 .jpg, 1 without an extension',
        f"{path}: did not read the archives in it: in.zip, b/in.tgz",
    ]


@pytest.mark.parametrize("name", ["/etc/a.txt", "../a.txt", "b/../../a.txt", "..\\a.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_leads_out_of_the_archive_is_refused(tmp_path, kind, name):
    path = pack(tmp_path / f"a.{kind}", {name: b"x", "./b//fine.txt": b"x"})
    found = list(read_corpus(path))
    (error,) = (one for one in found if isinstance(one, RecordError))
    assert error.reason == "its path leads out of the archive; make the archive again"
    assert error.found
    assert [one.doc_id for one in found if isinstance(one, Document)] == [f"a.{kind}/b/fine.txt"]


def test_links_and_devices_are_skipped(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("a.txt", tarfile.SYMTYPE), ("b.txt", tarfile.LNKTYPE), ("c.txt", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("a.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert [*read_corpus(tmp_path / "a.tar"), *read_corpus(tmp_path / "a.zip")] == []


def test_the_last_of_two_members_with_one_path_counts_as_when_a_zip_is_extracted(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", "new")
    assert [one.text for one in read_corpus(tmp_path / "a.zip")] == ["new"]


# --- what is broken


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_archive_is_an_error(tmp_path, kind):
    whole = Path(
        pack(tmp_path / f"all.{kind}", {f"{n}.txt": bytes(range(32, 127)) * 50 for n in range(50)})
    ).read_bytes()
    for content in (b"", b"x", b"<html>not an archive</html>" * 100, SAMPLES["pdf"], whole[: len(whole) // 2]):
        (tmp_path / f"b.{kind}").write_bytes(content)
        coverage = Coverage()
        found = list(read_corpus(tmp_path / f"b.{kind}", coverage=coverage))
        error = found[-1]
        assert isinstance(error, RecordError), content[:20]
        assert "\n" not in str(error)
        assert not error.found  # the archive itself was given
        assert not coverage.lacks(coverage.given[0])  # so that nothing is deleted


def test_a_tar_without_its_end_is_cut_off_even_between_two_members(tmp_path):
    path = Path(pack(tmp_path / "a.tar", {"a.txt": b"x", "b.txt": b"y"}))
    path.write_bytes(path.read_bytes()[:2048])
    *documents, error = read_corpus(path)
    assert len(documents) == 2
    assert "cut off" in error.reason


def test_one_damaged_member_does_not_end_a_zip(tmp_path):
    path = Path(pack(tmp_path / "a.zip", {"a.txt": b"x" * 100, "b.txt": b"words " * 100, "c.txt": b"z"}))
    data = bytearray(path.read_bytes())
    at = data.index(b"b.txt") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    first, error, last = read_corpus(path)
    assert (first.text, last.text) == ("x" * 100, "z")
    assert error.source == f"{path}/b.txt"
    assert error.found


def test_an_encrypted_member_is_named(tmp_path):
    path = Path(pack(tmp_path / "a.zip", {"a.txt": b"x"}))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    (error,) = read_corpus(path)
    assert str(error) == f"{path}/a.txt: the file is encrypted; extract it with its password first"


def test_a_name_that_is_not_utf8(tmp_path):
    path = Path(pack(tmp_path / "a.tar", {"aaa.txt": b"x"}))
    info = tarfile.TarInfo("\udcff.txt")
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info)
    (error,) = read_corpus(path)
    assert (error.source, error.reason.split(";")[0]) == (
        f"{path}/\\udcff.txt",
        "the name of the file or its folder is not valid UTF-8",
    )


# --- what is made to do harm


def test_a_member_that_expands_a_thousandfold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(gzipped, "UNSUSPECTED", 100_000)
    bomb = b"0" * 10_000_000
    rest = {"z.txt": b"x", "noise.bin": lzma.compress(bytes(10))}
    noise = {"noise.txt": b"".join(struct.pack("<Q", n**7 % 2**64) for n in range(9000)).hex().encode()}
    path = pack(tmp_path / "a.zip", {"bomb.txt": bomb, **rest, **noise})
    with pytest.warns(ReadingWarning, match=r"1 \.bin"):
        found = list(read_corpus(path))
    assert [one.source for one in found] == [f"{path}/{name}" for name in ("bomb.txt", "noise.txt", "z.txt")]
    assert found[0].reason == gzipped.TOO_COMPRESSED
    for kind in ("tar.gz", "tar.bz2", "tar.xz"):
        *_, error = read_corpus(pack(tmp_path / f"a.{kind}", {"bomb.jsonl": bomb}))
        assert gzipped.TOO_COMPRESSED in error.reason


def test_a_whole_zip_that_expands_a_thousandfold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(gzipped, "UNSUSPECTED", 100_000)
    (error,) = read_corpus(pack(tmp_path / "a.zip", {f"{n}.txt": b"0" * 90_000 for n in range(500)}))
    assert gzipped.TOO_COMPRESSED in error.reason


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_an_archive_are_bounded(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 20_000)
    *_, error = read_corpus(pack(tmp_path / f"a.{kind}", {f"{n}.txt": bytes(range(32, 127)) * 100 for n in range(9)}))
    assert "it contains more than 0 GiB; split it" in error.reason


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_a_tar_may_not_fill_the_memory(tmp_path, kind, before):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 20 * 2**20
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(tarfile.TarInfo("a.txt").tobuf(tarfile.GNU_FORMAT) * before)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(20):
            file.write(b"a" * 2**20)
    *documents, error = peak_within(8_000_000, lambda: list(read_corpus(path)))
    assert "a header is longer than 1048576 bytes" in error.reason
    assert len(documents) == before


def test_a_sparse_file_is_refused(tmp_path):
    header = tarfile.TarInfo("a.jsonl")
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[483:495] = b"%011o\0" % 2**33
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "a.tar").write_bytes(block + bytes(1024))
    (error,) = read_corpus(tmp_path / "a.tar")
    assert "'a.jsonl' is a sparse file" in error.reason


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.txt.gz", "a.csv.gz"])
def test_a_gzipped_file_that_expands_a_thousandfold_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(gzipped, "UNSUSPECTED", 100_000)
    (tmp_path / name).write_bytes(gzip.compress(b"0" * 50_000_000))
    *_, error = read_corpus(tmp_path / name)
    assert gzipped.TOO_COMPRESSED in error.reason
    (tmp_path / name).write_bytes(gzip.compress(b"id,text\n" + b"0,x\n" * 20_000))
    assert not any(gzipped.TOO_COMPRESSED in str(one) for one in read_corpus(tmp_path / name))


def test_the_bounds_leave_room_for_real_files():
    assert (gzipped.UNSUSPECTED, gzipped.MAX_RATIO, archives.MAX_BYTES) == (2**26, 200, 2**34)
    text = "".join(
        f'{{"id": {n}, "text": "A heron waits in the reeds.", "year": 2021}}\n' for n in range(20_000)
    ).encode()
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        assert len(text) / len(compress(text)) < gzipped.MAX_RATIO


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_of_6_mb_takes_little_memory(tmp_path, kind):
    line = b'{"_id": "%d", "text": "' + b"word " * 200 + b'"}\n'
    many = {f"{n}.txt": b"x" for n in range(500)}
    path = pack(tmp_path / f"a.{kind}", {"all.jsonl": b"".join(line % n for n in range(6000)), **many})
    n_read = peak_within(4_000_000, lambda: sum(isinstance(record, Document) for record in read_corpus(path)))
    assert n_read == 6500


def test_a_tar_of_many_files_takes_little_memory(tmp_path):
    path = pack(tmp_path / "a.tar", {f"{n}.bin": b"" for n in range(10_000)})
    with pytest.warns(ReadingWarning, match=r"10,000 \.bin"):
        assert peak_within(3_000_000, lambda: list(read_corpus(path))) == []


# --- deletion


def test_members_that_are_gone_are_lacking_only_if_the_archive_was_read(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.txt": b"x"})
    for options, content, lacks in ((ReadOptions(), b"x", True), (ReadOptions(), b"\0", False)):
        pack(tmp_path / "a.zip", {"a.txt": content})
        coverage = Coverage()
        list(read_corpus(path, options, coverage))
        assert coverage.lacks(coverage.given[0]) is lacks


def test_an_index_forgets_a_member_that_was_removed_from_its_archive(tmp_path):
    path, folder = tmp_path / "docs" / "a.tar.gz", tmp_path / "index"
    path.parent.mkdir()
    pack(path, {"a.txt": b"herons wait", "b.txt": b"gulls fly"})
    assert index_corpus(folder, str(path), WordHashEncoder(64)).documents == 2
    pack(path, {"b.txt": b"gulls fly", "c.txt": b"\0"})
    report = index_corpus(folder, str(path), WordHashEncoder(64), delete_missing=True)
    assert (report.deleted, report.bad) == (0, 1)  # a.txt may be what could not be read
    pack(path, {"b.txt": b"gulls fly"})
    report = index_corpus(folder, str(path), WordHashEncoder(64), delete_missing=True)
    assert (report.documents, report.deleted) == (1, 1)
    path.unlink()
    (path.parent / "d.txt").write_text("x")
    assert index_corpus(folder, str(path.parent), WordHashEncoder(64), delete_missing=True).deleted == 1
