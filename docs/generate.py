"""Generate the pages that come from the program itself: `python docs/generate.py`.

tests/docs/test_documentation.py fails if a page differs from what this script makes.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

import semsearch
from semsearch.cli.main import app

DOCS = Path(__file__).parent
PACKAGE = Path(semsearch.__file__).parent
NOTE = "<!-- Made by docs/generate.py; edit the program instead. -->"
WIDTH = 100


def commands() -> str:
    """The command reference: the help of every command."""
    os.environ["COLUMNS"] = str(WIDTH)
    lines = ["# Commands", "", NOTE, "", "`--help` prints the same for each command."]
    for context in _contexts(Context(get_command(app), info_name="semsearch")):
        help_text = context.command.get_help(context).rstrip()
        lines += ["", f"## {context.command_path}", "", "```text"]
        lines += [*(line.rstrip() for line in help_text.split("\n")), "```"]
    return "\n".join(lines) + "\n"


def _contexts(context: Context) -> Iterator[Context]:
    """Commands in the order of the help, groups before their members."""
    yield context
    if isinstance(context.command, TyperGroup):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _contexts(Context(command, info_name=name, parent=context))


def source_map() -> str:
    """Every module with the first sentence of its docstring."""
    lines = ["# Source map", "", NOTE, "", "Every module, and the first sentence of its docstring.", ""]
    lines += ["| Module | Responsibility |", "|---|---|"]
    for file in sorted(PACKAGE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        name = file.relative_to(PACKAGE).as_posix()
        if docstring and (file.name != "__init__.py" or name == "__init__.py"):
            lines.append(f"| `{name}` | {_cell(docstring)} |")
    return "\n".join(lines) + "\n"


def _cell(docstring: str) -> str:
    """The first paragraph of a docstring, for a table."""
    return " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")


PAGES = {"reference/commands.md": commands, "explanation/source-map.md": source_map}


def main() -> None:
    """Write the pages, or with --check say which are out of date, and exit with 1 if there is one."""
    stale = [name for name, make in PAGES.items() if not _is_current(name, make())]
    if "--check" in sys.argv:
        sys.exit(f"out of date, run docs/generate.py: {', '.join(stale)}" if stale else 0)
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")


def _is_current(name: str, text: str) -> bool:
    return (DOCS / name).exists() and (DOCS / name).read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
