"""Test reading source code: its sections in each language, whose names and starts are known by hand."""

import ast
import inspect
import sys
import warnings
from pathlib import Path

import pytest

from semsearch.corpus.formats import code
from semsearch.corpus.formats.code import LANGUAGES, MAX_PARSED_BYTES, layout_of
from semsearch.corpus.readers import FORMATS, ReadOptions, read_corpus
from semsearch.corpus.records import ReadingWarning
from semsearch.errors import RecordError
from semsearch.layout import Layout
from semsearch.types import Document

pytest.importorskip("tree_sitter", reason="needs the extra code")

SAMPLES = {
    "python": (
        '"""Module."""\nimport os\n\n# about\n@frozen\nclass Index:\n    n = 1\n\n    # how\n    @property\n'
        "    def size(self):\n        def inner(): ...\n        return 1\n    m = 2\n\n"
        "async def größe(): ...\n\nmain()\n",
        {"import os": "", "# about": "Index", "n = 1": "Index", "# how": "Index > size", "return 1": "Index > size"}
        | {"inner": "Index > size > inner", "m = 2": "Index", "async": "größe", "main()": ""},
    ),
    "javascript": (
        "// about\nexport default class Index extends Base {\n  size() { return 1 }\n}\n"
        "export const find = (a) => a;\nconst n = 2;\nfunction* walk() {}\n",
        {"// about": "Index", "return 1": "Index > size", "const find": "find", "n = 2": "", "function*": "walk"},
    ),
    "typescript": (
        "export interface Hit { id: number }\nnamespace Store {\n  export function read(): void {}\n}\n"
        "export abstract class Base<T> { get(): T { return 1 as any } }\nenum Kind { A }\n",
        {"id: number": "Hit", "void": "Store > read", "return 1": "Base > get", "Kind": "Kind"},
    ),
    "tsx": ("export function App() { return <p>hello</p> }\n", {"hello": "App"}),
    "java": (
        "package a;\nimport b.C;\n\n/** About. */\n@Ann\npublic class Index<T> {\n  int n;\n  /** How. */\n"
        "  @Override public int size() { return 1; }\n  Index() {}\n  enum Kind { X }\n}\ninterface Store { }\n",
        {"import b": "", "About": "Index", "int n": "Index", "How": "Index > size", "X }": "Index > Kind"}
        | {"interface": "Store"},
    ),
    "c": (
        "#include <a.h>\n/* about */\nstatic int *find(int x) { return 0; }\nstruct hit { int id; };\n"
        "struct hit last;\ntypedef struct { int n; } kind;\n",
        {"#include": "", "about": "find", "return 0": "find", "int id": "hit", "last": "", "int n": "kind"},
    ),
    "cpp": (
        "namespace store {\n// about\ntemplate <class T> class Index {\n public:\n  int size() { return 1; }\n};\n}\n"
        "int store::Index::find(int a) const { return 2; }\nenum class Kind { a };\n",
        {"about": "store > Index", "return 1": "store > Index > size", "return 2": "store::Index::find"}
        | {"Kind": "Kind"},
    ),
    "csharp": (
        "using X;\nnamespace Store {\n  /// About.\n  [Attr] public class Index { public void Find() {} }\n"
        "  struct Hit { }\n  record Pair(int a);\n}\n",
        {"using": "", "About": "Store > Index", "Find": "Store > Index > Find", "Hit": "Store > Hit"}
        | {"Pair": "Store > Pair"},
    ),
    "go": (
        "package main\n\n// Index is\ntype Index struct { n int }\n\n// Find finds\nfunc (s *Index[T]) Find() {}\n"
        "func main() {}\n",
        {"package": "", "Index is": "Index", "finds": "Index.Find", "main() {}": "main"},
    ),
    "rust": (
        "use a;\n/// About.\n#[derive(Debug)]\nstruct Hit { id: u8 }\nimpl<T> Display for Hit {\n    /// How.\n"
        "    fn fmt(&self) {}\n}\nmod inner {\n    fn find() {}\n}\nstatic N: u8 = 1;\n",
        {"use a": "", "About": "Hit", "id: u8": "Hit", "How": "impl<T> Display for Hit > fmt"}
        | {"find": "inner > find", "static": ""},
    ),
    "ruby": (
        "require 'a'\n# about\nmodule Store\n  class Index < Base\n    def size; 1; end\n    def self.open\n    end\n"
        "  end\nend\nputs 2\n",
        {"require": "", "about": "Store", "Base": "Store > Index", "1; end": "Store > Index > size"}
        | {"open": "Store > Index > open", "puts": ""},
    ),
    "php": (
        "<?php\nnamespace A;\n/** About. */\nfinal class Index { public function size() { return 1; } }\n"
        "function find() {}\ntrait Sized {}\necho 2;\n",
        {"namespace": "", "About": "Index", "return 1": "Index > size", "find()": "find", "Sized": "Sized"}
        | {"echo": ""},
    ),
    "bash": ("#!/bin/bash\nset -e\n# about\nfind() { echo; }\nfind\n", {"set": "", "about": "find", "find\n": ""}),
}
"""Code in each language, and pieces of it with the path of their section."""


def parsed(language: str, text: str) -> Layout:
    (found,) = (one for one in LANGUAGES if one.name == language)
    return layout_of(text, code._parser(found))


def path_at(layout: Layout, text: str, piece: str) -> str:
    start = text.rindex(piece)
    return " > ".join(layout.path(start, start + 1))


def test_each_language_with_a_grammar_has_a_sample():
    assert [one.name for one in LANGUAGES if one.grammar] == list(SAMPLES)


@pytest.mark.parametrize("language", SAMPLES)
def test_definitions_are_sections(language: str):
    text, pieces = SAMPLES[language]
    layout = parsed(language, text)
    assert {piece: path_at(layout, text, piece) for piece in pieces} == pieces
    assert Layout.from_json(layout.to_json(), len(text)) == layout


@pytest.mark.parametrize("module", [ast, inspect, warnings])
def test_the_definitions_of_python_are_those_that_its_own_parser_finds(module):
    text = Path(module.__file__).read_text("utf-8")
    starts = {}  # line of a definition and its name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            starts[node.lineno] = node.name
    layout, offsets = parsed("python", text), [0]
    for line in text.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    assert {line: layout.path(offsets[line] - 1, offsets[line])[-1] for line in starts} == starts
    titled = [section.title for section in layout.sections if section.title]
    assert sorted(titled) == sorted(starts.values())


def test_sections_begin_with_the_comments_right_above():
    text = "# far\n\n# near\n# nearer\ndef f(): ...\n# tail\n\n# lone\n\nx = 1\n"
    first, rest = parsed("python", text).sections
    assert (first.start, first.title) == (text.index("# near"), "f")
    assert (rest.start, rest.title) == (text.index("# tail"), "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def",
        "class A:\n  def f(",
        "}{)(",
        "(" * 100_000,
        "é" * 50 + "\ndef f(): ...",
        "def f():\n\tx\r\n",
        "\ud7ff",
    ],
)
def test_code_that_does_not_parse_is_still_text(text: str):
    for language in SAMPLES:
        layout = parsed(language, text)
        assert Layout.from_json(layout.to_json(), len(text)) == layout


def test_deep_nesting_and_large_files_are_bounded():
    deep = "".join(f"{' ' * level}def f{level}():\n" for level in range(90)) + " " * 90 + "x = 1\n"
    assert len(parsed("python", deep).path(len(deep) - 3, len(deep))) == 90
    assert not parsed("python", "def f(): ...\n" * (MAX_PARSED_BYTES // 10))


def read(path: Path, **options) -> Document:
    (record,) = read_corpus(str(path), ReadOptions(**options))
    assert isinstance(record, Document), record
    return record


def test_a_file_of_code_is_a_document(tmp_path: Path):
    path = tmp_path / "index.py"
    path.write_text("def f():\n    return  'The heron waits in the reeds until the fish come close to the shore'\n")
    document = read(path)
    assert (document.title, document.text) == ("index.py", path.read_text())
    assert (document.metadata["type"], document.metadata["code"]) == ("code", "python")
    assert "language" not in document.metadata
    assert document.layout.sections[0].title == "f"


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("a.h", "struct s { int class_; };", "c"),
        ("a.h", "class A { };", "cpp"),
        ("a.H", "namespace n { }", "cpp"),
        ("A.KT", "fun main() {}", "kotlin"),
        ("script", "#!/usr/bin/python3.11 -u\nprint(1)", "python"),
        ("script", "#!/usr/bin/env Rscript\n1", "r"),
    ],
)
def test_the_language_is_that_of_the_name_or_of_the_first_line(tmp_path: Path, name: str, text: str, language: str):
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name).metadata["code"] == language


def test_all_extensions_lead_to_one_language():
    endings = [ending for one in LANGUAGES for ending in one.endings]
    assert len(endings) == len(set(endings))
    assert tuple(endings) == FORMATS["code"].endings


@pytest.mark.parametrize("missing", ["tree_sitter", "tree_sitter_python"])
def test_without_the_extra_code_is_text_and_one_warning_says_so(tmp_path: Path, monkeypatch, missing: str):
    for number in range(15):
        (tmp_path / f"{number:02}.py").write_text("def f(): ...\n")
    monkeypatch.setitem(sys.modules, missing, None)
    code._parser.cache_clear()
    with pytest.warns(ReadingWarning) as caught:
        documents = list(read_corpus(str(tmp_path)))
    assert [str(one.message) for one in caught] == [code._MISSING]
    assert "pip install 'semsearch[code]'" in code._MISSING
    assert {(one.text, one.metadata["code"], one.layout) for one in documents} == {
        ("def f(): ...\n", "python", Layout())
    }


def test_code_that_is_no_text_is_a_bad_file(tmp_path: Path):
    (tmp_path / "a.ts").write_bytes(b"G@\0\xff")  # a video
    (error,) = read_corpus(str(tmp_path))
    assert isinstance(error, RecordError)
