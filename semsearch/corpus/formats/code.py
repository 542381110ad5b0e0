"""Reading source code: one document per file, with its classes and functions as sections.

`tree-sitter` parses the code. The rule is the same for all languages: a named node of one of the types in DEFINITIONS
is a section at the depth of its nesting, together with the comments, decorators and attributes right above it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from semsearch.corpus.gzipped import ending_of
from semsearch.corpus.plain import Plain, decode
from semsearch.corpus.records import Reading, ReadingWarning, read_whole
from semsearch.corpus.sources import STDIN, ReadOptions, Source
from semsearch.layout import NO_LAYOUT, Layout, Section

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MAX_PARSED_BYTES = 2**20
"""Size up to which code is parsed, which takes some seconds at most; larger files are read without sections."""

MAX_LINE, HEAD = 5_000, 2**16
"""A file that has a line of more characters than MAX_LINE among its first HEAD bytes was generated or minified."""

GENERATED = re.compile(r"[.-]min\.\w+(\.gz)?$", re.IGNORECASE)
"""Names of minified files."""


class Language(NamedTuple):
    """A programming language.

    Attributes:
        name: Its name in metadata.
        endings: Extensions of its files.
        grammar: Module with its grammar; empty if its files are read without sections.
        function: Function of the module that returns the grammar.
        interpreters: Programs that run its scripts, as the first line of a script names them.
    """

    name: str
    endings: tuple[str, ...]
    grammar: str = ""
    function: str = "language"
    interpreters: tuple[str, ...] = ()


LANGUAGES = (
    Language("python", (".py", ".pyi", ".pyw"), "tree_sitter_python", interpreters=("python", "pypy")),
    Language("javascript", (".js", ".mjs", ".cjs", ".jsx"), "tree_sitter_javascript", interpreters=("node", "bun")),
    Language("typescript", (".ts", ".mts", ".cts"), "tree_sitter_typescript", "language_typescript", ("deno",)),
    Language("tsx", (".tsx",), "tree_sitter_typescript", "language_tsx"),
    Language("java", (".java",), "tree_sitter_java"),
    Language("c", (".c", ".h"), "tree_sitter_c"),
    Language("cpp", (".cpp", ".hpp", ".cc", ".hh", ".cxx", ".hxx"), "tree_sitter_cpp"),
    Language("csharp", (".cs",), "tree_sitter_c_sharp"),
    Language("go", (".go",), "tree_sitter_go"),
    Language("rust", (".rs",), "tree_sitter_rust"),
    Language("ruby", (".rb", ".rake"), "tree_sitter_ruby", interpreters=("ruby",)),
    Language("php", (".php",), "tree_sitter_php", "language_php", ("php",)),
    Language("bash", (".sh", ".bash"), "tree_sitter_bash", interpreters=("bash", "sh", "dash", "ksh")),
    Language("dart", (".dart",)),
    Language("elixir", (".ex", ".exs")),
    Language("haskell", (".hs",)),
    Language("julia", (".jl",)),
    Language("kotlin", (".kt", ".kts")),
    Language("lua", (".lua",), interpreters=("lua",)),
    Language("perl", (".pl", ".pm"), interpreters=("perl",)),
    Language("powershell", (".ps1", ".psm1")),
    Language("r", (".r",), interpreters=("rscript",)),
    Language("scala", (".scala",)),
    Language("sql", (".sql",)),
    Language("swift", (".swift",)),
)

ENDINGS = {ending: language for language in LANGUAGES for ending in language.endings}
INTERPRETERS = {program: language for language in LANGUAGES for program in language.interpreters}
CPP = next(language for language in LANGUAGES if language.name == "cpp")

DEFINITIONS = frozenset(
    {
        *("function_definition", "class_definition"),  # Python, and functions in C, C++, PHP and Bash
        *("function_declaration", "generator_function_declaration", "class_declaration", "method_definition"),
        *("abstract_class_declaration", "interface_declaration", "enum_declaration", "internal_module", "module"),
        *("method_declaration", "constructor_declaration", "record_declaration", "annotation_type_declaration"),
        *("struct_specifier", "union_specifier", "enum_specifier", "class_specifier", "namespace_definition"),
        "type_definition",
        *("struct_declaration", "namespace_declaration", "trait_declaration"),
        "type_spec",
        *("function_item", "struct_item", "enum_item", "union_item", "trait_item", "impl_item", "mod_item"),
        "macro_definition",
        *("class", "method", "singleton_method"),
    }
)
"""Types of nodes that define something, in all grammars."""

BODIED = ("_specifier", "namespace_definition")
"""Ends of the types of nodes that define something only if they have a body."""

FUNCTIONS = frozenset({"arrow_function", "function_expression", "generator_function"})
"""Types of nodes that are functions if a variable is declared with them."""

WRAPPERS = frozenset(
    {
        *("decorated_definition", "export_statement", "template_declaration", "ambient_declaration"),
        *("lexical_declaration", "variable_declaration", "type_declaration"),
    }
)
"""Types of nodes around a definition that belong to it."""

LEADING = frozenset({"comment", "line_comment", "block_comment", "attribute_item", "decorator"})
"""Types of nodes that belong to the definition that follows on the next line."""

_CPP_ONLY = re.compile(r"^\s*(class|namespace|template|using|public:|private:|protected:)(?!\w)", re.MULTILINE)
_SHEBANG = re.compile(r"#!\s*\S*?(?:/env\s+(?:-\S+\s+)*)?([a-z]+)[\d.]*(?:\s|$)", re.IGNORECASE)
_FILLER = re.compile(r"[\s{}();,]*(end[\s;]*)*")


def language_of_script(head: bytes) -> Language | None:
    """Return the language of a script by its first line, `#!` and an interpreter; None for other files."""
    found = _SHEBANG.match(head.split(b"\n", 1)[0].decode(errors="replace"))
    return INTERPRETERS.get(os.path.basename(found[1]).lower()) if found else None


def is_generated(path: str, head: Callable[[int], bytes]) -> bool:
    """Return whether a file of source code was minified or generated, by its name and the length of its lines.

    Args:
        path: The file, or its path inside an archive.
        head: Returns so many of its first bytes; called only if the name does not decide.
    """
    return bool(GENERATED.search(path)) or any(len(line) > MAX_LINE for line in head(HEAD).split(b"\n"))


def read_code(source: Source, options: ReadOptions) -> Iterator[Reading]:
    """Read a file of source code; without the grammar of its language, as text without sections."""
    lacking: list[ReadingWarning] = []
    name = "" if source.path == STDIN else source.inner or source.origin.file
    yield from _after(lacking, read_whole(source, options, partial(_from_code, name=name, lacking=lacking)))


def _after(lacking: list[ReadingWarning], readings: Iterator[Reading]) -> Iterator[Reading]:
    """Yield what was read, after the warnings that reading it has added."""
    for reading in readings:
        yield from lacking
        lacking.clear()
        yield reading


def _from_code(data: bytes, name: str, lacking: list[ReadingWarning]) -> Plain:
    text = decode(data)
    language = ENDINGS.get(ending_of(name)) or language_of_script(data)
    if language is not None and ending_of(name) == ".h" and _CPP_ONLY.search(text):
        language = CPP
    metadata = {"code": language.name} if language else {}
    layout = NO_LAYOUT
    if language is not None and language.grammar:
        try:
            parser = _parser(language)
        except ImportError:
            lacking.append(ReadingWarning(_MISSING))
        else:
            layout = layout_of(text, parser)
    return Plain(text, os.path.basename(name), metadata, layout=layout)


_MISSING = (
    "source code is read without its classes and functions: these need tree-sitter, which is not installed; "
    "pip install 'semsearch[code]'"
)


@cache
def _parser(language: Language) -> Parser:
    """Return the parser of a language.

    Raises:
        ImportError: If its grammar is not installed.
    """
    import tree_sitter

    grammar = getattr(import_module(language.grammar), language.function)()
    return tree_sitter.Parser(tree_sitter.Language(grammar))


def layout_of(text: str, parser: Parser) -> Layout:
    """Return the definitions in source code as sections; code that belongs to none of them ends the one above it."""
    data = text.encode()
    if len(data) > MAX_PARSED_BYTES:
        return NO_LAYOUT
    found = _Outline(data)
    found.read(parser.parse(data).root_node)
    starts = iter(_characters(data, [start for start, _, _ in found.sections]))
    return Layout(tuple(Section(next(starts), level, title) for _, level, title in found.sections))


@dataclass(slots=True)
class _Outline:
    """The sections of code in the order of their starts, in bytes.

    Attributes:
        data: The code in UTF-8.
        sections: Start, level and title; the title is empty where code begins that belongs to no definition.
        open: End and level of the definitions that contain the place that was reached, the innermost last.
        reached: End of what the last section covers at least.
    """

    data: bytes
    sections: list[tuple[int, int, str]] = field(default_factory=list)
    open: list[tuple[int, int]] = field(default_factory=list)
    reached: int = 0

    def read(self, root: Node) -> None:
        """Record the definitions below a node, without recursion: code may be nested to any depth."""
        stack = [(root, 1, 0)]
        while stack:
            node, level, before = stack.pop()
            title = _title(node)
            if title:
                start = self._line_start(before if before >= self.reached else node.start_byte)
                self._close(start)
                self.sections.append((start, level, title))
                self.open.append((node.end_byte, level))
                self.reached = node.start_byte + 1
                level += 1
            wrapped = before if node.type in WRAPPERS else None
            stack += reversed([(child, level, start) for child, start in _with_leading(node, wrapped)])
        self._close(len(self.data))

    def _close(self, place: int) -> None:
        """End the definitions that end before a place; code after them, up to the next definition, has no title."""
        while self.open and self.open[-1][0] <= place:
            end, level = self.open.pop()
            around = self.open[-1][0] if self.open else len(self.data)
            if end >= self.reached:
                rest = self.data[end : min(around, place)].decode(errors="replace")
                if not _FILLER.fullmatch(rest):
                    self.sections.append((self._next_line(end), level, ""))
            self.reached = max(self.reached, end, min(around, place) if around <= place else end)

    def _next_line(self, end: int) -> int:
        """Return the start of the next line if no code is in front of it, or else the place itself."""
        line = self.data.find(b"\n", end) + 1
        return line if line and not self.data[end:line].strip(b" \t\r\n;,)}") else end

    def _line_start(self, start: int) -> int:
        """Return the start of the line if there is only white space in front, so that a section has its indent."""
        line = self.data.rfind(b"\n", 0, start) + 1
        return line if not self.data[line:start].strip() and line >= self.reached else start


def _with_leading(node: Node, before: int | None) -> Iterator[tuple[Node, int]]:
    """Yield the named children of a node, each with the start of what belongs to it, such as a comment right above.

    Args:
        node: The node.
        before: Start of the node with what belongs to it, if it wraps a definition; None for other nodes.
    """
    start, end_row = -1, -2
    for child in node.named_children:
        if child.start_point.row > end_row + 1:
            start = -1
        if child.type in LEADING:
            start = child.start_byte if start < 0 else start
            end_row = child.end_point.row - (child.end_point.column == 0)
            continue
        yield child, before if before is not None else start if start >= 0 else child.start_byte
        start, end_row = -1, -2


def _title(node: Node) -> str | None:
    """Return the name of what a node defines, as the code spells it; None if it is no definition."""
    if node.type == "variable_declarator":
        value = node.child_by_field_name("value")
        return _name(node) if value is not None and value.type in FUNCTIONS else None
    if node.type not in DEFINITIONS:
        return None
    if node.type == "impl_item":
        body = node.child_by_field_name("body")
        header = (node.text or b"")[: body.start_byte - node.start_byte if body else None]
        return " ".join(header.decode(errors="replace").split())
    if node.type == "type_definition":  # typedef struct { ... } name
        kind = node.child_by_field_name("type")
        if kind is None or kind.child_by_field_name("body") is None or kind.child_by_field_name("name") is not None:
            return None
    elif node.type.endswith(BODIED) and node.child_by_field_name("body") is None:
        return None
    receiver = node.child_by_field_name("receiver") if node.type == "method_declaration" else None
    name = _name(node)
    if name and receiver is not None:  # a method in Go: (s *Server) Run
        words = re.findall(r"\w+", (receiver.text or b"").decode(errors="replace").split("[")[0])
        return f"{words[-1]}.{name}" if words else name
    return name


def _name(node: Node) -> str | None:
    """Return the name of a definition; in C, it is inside the declarators of pointers, arrays and parameters."""
    name = node.child_by_field_name("name")
    while name is None and (declarator := node.child_by_field_name("declarator")) is not None:
        node = declarator
        if node.child_by_field_name("declarator") is None:
            name = node
    text = (name.text or b"").decode(errors="replace") if name is not None else ""
    return " ".join(text.split()) or None


def _characters(data: bytes, offsets: list[int]) -> Iterator[int]:
    """Convert ascending offsets in bytes to offsets in characters."""
    last = characters = 0
    for offset in offsets:
        characters += len(data[last:offset].decode(errors="replace"))
        last = offset
        yield characters
