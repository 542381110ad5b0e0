"""Test the ids of files and the coverage of a run, with real files and expected ids written by hand."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from pathlib import Path

import pytest

from semsearch.corpus.readers import Coverage, ReadOptions, has_moved, read_corpus
from semsearch.errors import RecordError, SourceError
from semsearch.types import Document, Root


def write(*files: Path, text: str = "x") -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def ids(*paths: Path | str, coverage: Coverage | None = None, follow_links: bool = False) -> list[str]:
    records = list(read_corpus([str(path) for path in paths], ReadOptions(follow_links=follow_links), coverage))
    assert all(isinstance(record, Document) for record in records), records
    return [record.doc_id for record in records if isinstance(record, Document)]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    write(tmp_path / "docs" / "a.md", tmp_path / "docs" / "sub" / "b.md")
    return tmp_path / "docs"


def test_an_id_is_the_same_by_whatever_path_a_file_is_given(docs: Path, monkeypatch: pytest.MonkeyPatch):
    (docs.parent / "link").symlink_to(docs)
    roots = [Root("", str(docs))]
    monkeypatch.chdir(docs / "sub")
    for path, expected in {
        str(docs): ["a.md", "sub/b.md"],
        "..": ["a.md", "sub/b.md"],
        "../../docs/": ["a.md", "sub/b.md"],
        "../../link": ["a.md", "sub/b.md"],
        ".": ["sub/b.md"],
        "b.md": ["sub/b.md"],
        "../../link/sub/../a.md": ["a.md"],
    }.items():
        coverage = Coverage(roots)
        assert (ids(path, coverage=coverage), coverage.roots) == (expected, roots), path


def test_files_of_two_folders_with_the_same_names_are_two_documents(tmp_path: Path):
    write(tmp_path / "a" / "README.md", tmp_path / "b" / "README.md", tmp_path / "c" / "b" / "README.md")
    assert ids(tmp_path / "a", tmp_path / "b") == ["README.md", "b/README.md"]
    coverage = Coverage()
    assert ids(tmp_path / "a", coverage=coverage) == ["README.md"]
    assert ids(tmp_path / "b" / "README.md", coverage=coverage) == ["b/README.md"]
    assert ids(tmp_path / "c" / "b", coverage=coverage) == ["b-2/README.md"]
    assert ids(tmp_path / "b", coverage=Coverage(coverage.roots)) == ["b/README.md"]


def test_a_name_in_the_first_folder_is_not_taken_for_another_one(tmp_path: Path):
    write(tmp_path / "a" / "b" / "README.md", tmp_path / "b" / "README.md")
    assert ids(tmp_path / "a", tmp_path / "b") == ["b/README.md", "b-2/README.md"]


def test_overlapping_paths_are_read_once_and_named_by_the_outer_folder(docs: Path):
    for paths in ([docs, docs / "sub"], [docs / "sub", docs], [docs / "sub" / "b.md", docs, docs / "a.md"]):
        assert sorted(ids(*paths)) == ["a.md", "sub/b.md"]


def test_a_folder_around_a_known_one_leaves_its_ids_alone(docs: Path):
    coverage = Coverage()
    assert ids(docs / "sub", coverage=coverage) == ["b.md"]
    assert sorted(ids(docs, coverage=coverage)) == ["b.md", "docs/a.md"]


def test_a_folder_that_is_gone_has_moved_to_one_with_its_files(docs: Path, caplog: pytest.LogCaptureFixture):
    moved = docs.rename(docs.parent / "notes")
    roots = [Root("", str(docs))]
    coverage = Coverage(roots, lambda root, folder: (root, folder) == (roots[0], str(moved)))
    assert ids(moved, coverage=coverage) == ["a.md", "sub/b.md"]
    assert coverage.roots == [Root("", str(moved))]
    assert f'"{docs}" no longer exists; "{moved}" contains its files' in caplog.text
    assert ids(moved, coverage=Coverage(roots)) == ["notes/a.md", "notes/sub/b.md"]  # not the same files
    docs.mkdir()
    assert ids(moved, coverage=Coverage(roots, lambda *_: True)) == ["notes/a.md", "notes/sub/b.md"]  # not moved


def test_a_folder_holds_the_files_of_another_if_half_of_them_have_the_same_text(docs: Path):
    write(docs / "a.md", text="one")
    write(docs / "b.txt", text="two")
    hashes = {
        file: hashlib.sha256(f"\0{text}".encode()).hexdigest() for file, text in (("a.md", "one"), ("b.txt", "2"))
    }
    assert has_moved(str(docs), hashes, ReadOptions())
    assert not has_moved(str(docs), {**hashes, "c.md": hashes["a.md"]}, ReadOptions())
    assert not has_moved(str(docs), {}, ReadOptions())


def test_a_link_to_a_disk_that_is_not_there_may_lead_to_something(docs: Path):
    (docs / "more").symlink_to(docs.parent / "disk")
    coverage = Coverage()
    list(read_corpus(str(docs), ReadOptions(follow_links=True), coverage))
    assert not coverage.lacks(coverage.origin_of(f"{docs}/more/c.md", found=True))


def test_what_lies_in_a_folder_is_also_what_is_named_by_a_root_in_it(docs: Path):
    coverage = Coverage(
        [Root("", str(docs / "sub")), Root("docs", str(docs)), Root("other", str(docs.parent / "other"))]
    )
    inner = coverage.below(coverage.origin_of(str(docs), found=False))
    assert [origin.key for origin in inner] == [("docs", ""), ("", "")]


def test_a_decomposed_name_is_the_composed_one(tmp_path: Path):
    name = "Café.md"
    write(tmp_path / "one" / unicodedata.normalize("NFD", name), tmp_path / "two" / unicodedata.normalize("NFC", name))
    assert ids(tmp_path / "one") == ids(tmp_path / "two") == [unicodedata.normalize("NFC", name)]


def test_a_link_inside_a_folder_is_its_target(docs: Path):
    (docs / "link.md").symlink_to("a.md")
    (docs / "other").symlink_to("sub")
    write(docs / "license.xyz", docs / ".hidden" / "c.md")
    (docs / "license.txt").symlink_to("license.xyz")  # read only because this name has a known extension
    (docs / "shown").symlink_to(".hidden")
    with pytest.warns(UserWarning, match=r"1 \.xyz"):
        assert sorted(ids(docs)) == [".hidden/c.md", "a.md", "license.xyz", "sub/b.md"]


def test_links_out_of_a_folder_are_followed_only_if_asked_for(docs: Path):
    outside = docs.parent / "outside"
    write(outside / "c.md", outside / "d.md")
    (docs / "c.md").symlink_to(outside / "c.md")
    (docs / "more").symlink_to(outside)
    with pytest.warns(UserWarning, match=r"did not follow 2 links out of .*docs/c.md.*`follow_links`"):
        assert ids(docs) == ["a.md", "sub/b.md"]
    assert ids(docs, follow_links=True) == ["a.md", "c.md", "more/c.md", "more/d.md", "sub/b.md"]
    known = Coverage([Root("", str(docs)), Root("outside", str(outside))])
    assert ids(docs, coverage=known, follow_links=True)[1:3] == ["outside/c.md", "outside/c.md"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to("/dev/null")])
def test_a_pipe_or_a_device_is_no_corpus(tmp_path: Path, make):
    make(tmp_path / "pipe.jsonl")
    with pytest.raises(SourceError, match=r"pipe.jsonl\" is neither a file nor a folder; .*semsearch index - < PIPE"):
        read_corpus(str(tmp_path / "pipe.jsonl"))


def test_a_corpus_file_says_which_neighbors_it_hides(tmp_path: Path):
    for name in ("corpus.jsonl.gz", "queries.jsonl", "qrels/test.tsv", "pairs.tsv"):
        write(tmp_path / "beir" / name, text="")
    read_corpus(str(tmp_path / "beir"))  # without a warning
    write(tmp_path / "alone" / "corpus.jsonl", tmp_path / "alone" / "pairs.tsv")
    with pytest.warns(UserWarning, match=r"not read: pairs.tsv \(pass"):
        read_corpus(str(tmp_path / "alone"))
    write(tmp_path / "beir" / "notes.md", tmp_path / "beir" / "more" / "a.txt", tmp_path / "beir" / "x.bin")
    with pytest.warns(UserWarning, match=r"contains corpus.jsonl.gz, .* not read: more, notes.md \(pass"):
        read_corpus(str(tmp_path / "beir"))


class TestWhatIsGone:
    def coverage(self, docs: Path, **options) -> Coverage:
        coverage = Coverage()
        list(read_corpus(str(docs), ReadOptions(**options), coverage))
        return coverage

    def test_a_file_that_is_not_there_is_gone(self, docs: Path):
        coverage = self.coverage(docs)
        assert not coverage.lacks(coverage.origin_of(str(docs / "a.md"), found=True))
        for name in ("c.md", "nowhere/c.md", "a.md/c.md"):
            assert coverage.lacks(coverage.origin_of(str(docs / name), found=True)), name

    def test_a_record_of_a_file_that_was_read_is_gone(self, docs: Path):
        (docs / "birds.jsonl").write_text('{"_id": "1", "text": "x"}\n')
        assert self.coverage(docs).lacks(Coverage([Root("", str(docs))]).origin_of(f"{docs}/birds.jsonl", found=True))

    def test_a_record_of_a_file_with_a_bad_one_may_be_there(self, docs: Path):
        (docs / "birds.jsonl").write_text('{"_id": "1", "text": "x"}\n{"_id"\n')
        coverage = self.coverage(docs)
        assert not coverage.lacks(coverage.origin_of(f"{docs}/birds.jsonl", found=True))

    def test_what_has_too_long_a_path_may_be_there(self, docs: Path):
        coverage = self.coverage(docs)
        assert not coverage.lacks(coverage.origin_of(f"{docs}/{'x' * 300}.md", found=True))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
    @pytest.mark.parametrize("mode", [stat.S_IRUSR, stat.S_IXUSR])
    def test_what_lies_in_a_closed_folder_may_be_there(self, docs: Path, mode: int):
        (docs / "sub").chmod(mode)
        coverage = Coverage()
        errors = [record for record in read_corpus(str(docs), coverage=coverage) if isinstance(record, RecordError)]
        gone = coverage.lacks(coverage.origin_of(f"{docs}/sub/b.md", found=True))
        (docs / "sub").chmod(stat.S_IRWXU)
        assert ([error.place for error in errors], gone) == ([f"{docs}/sub"], False)
