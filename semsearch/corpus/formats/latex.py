"""Reading LaTeX, with the text in commands that pandoc does not know."""

from __future__ import annotations

import re

from semsearch.corpus.formats.pandoc import converted, run_pandoc
from semsearch.corpus.plain import Plain, decode

_BEGIN = r"\begin{document}"

_SKIPPED = re.compile(
    r"^\[INFO\] Skipped '\\([A-Za-z]+)\*?(?:\[[^\[\]]*\])?\{(?:[^{}]|\{[^{}]*\})*\}' at .*line (\d+)", re.MULTILINE
)
"""A command with one argument that pandoc did not know, with its name and line."""

_WITHOUT_TEXT = set(
    "begin bibitem bibliography bibliographystyle end graphicspath hspace hypersetup index input label nocite "
    "pagenumbering pagestyle setlength thispagestyle vspace".split()
)


def from_latex(data: bytes) -> Plain:
    r"""Convert LaTeX; in `\term{heron}`, the argument is text even if the command is defined elsewhere."""
    source = decode(data)
    tree, log = run_pandoc(source.encode(), "latex", "--verbose")
    first = source.count("\n", 0, max(source.find(_BEGIN), 0)) + 1
    skipped = _SKIPPED.findall(log.decode(errors="replace"))
    names = sorted({name for name, line in skipped if int(line) >= first} - _WITHOUT_TEXT)
    if names:
        definitions = "".join(rf"\newcommand{{\{name}}}[2][]{{#2}}" for name in names)
        try:
            tree, _ = run_pandoc((definitions + source).encode(), "latex")
        except ValueError:
            pass  # what the commands contain makes no sense as text, so leave them out
    return converted(tree)
