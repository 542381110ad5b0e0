"""The sections of the help: every option and command is listed once, the everyday ones first."""

from __future__ import annotations

import re

from command import call
from typer.main import get_command

from semsearch.cli import main, panels
from semsearch.corpus.formats.table import FORMATS

HEADING = re.compile(r"^([A-Z][\w ]+):$", re.MULTILINE)


def leaves(command, words=()):
    below = getattr(command, "commands", {})
    for name, one in below.items():
        yield from leaves(one, (*words, name))
    if not below:
        yield words, command


def test_the_everyday_options_of_a_query_come_first_and_the_rest_by_purpose():
    shown = call("query", "--help").ok().out
    sections = HEADING.split(shown)[1:]
    by_name = dict(zip(sections[::2], sections[1::2], strict=True))
    assert list(by_name)[:3] == ["Arguments", "Options", "Ranking"]
    assert {"--index", "-k", "--mode", "--where", "--interactive"} <= set(re.findall(r"-[-\w]+", by_name["Options"]))
    assert "--rerank-depth" in by_name["Ranking"]
    assert "--neighbors" in by_name["Context for a prompt"]
    assert "--runtime" in by_name["Encoder"]


def test_every_option_of_every_command_is_listed_once():
    for words, command in leaves(get_command(main.app)):
        shown = call(*words, "--help").ok().out
        for one in command.params:
            if one.opts[0].startswith("-") and not one.hidden:
                long = one.opts[0] if one.opts[0].startswith("--") else one.opts[-1]
                assert len(re.findall(rf"^  (?:-\w, )?{long}\b(?!-)", shown, re.MULTILINE)) == 1, (words, long)


def test_every_command_has_a_section_and_every_section_its_commands():
    named = [name for names in panels.COMMANDS.values() for name in names]
    assert sorted(named) == sorted(get_command(main.app).commands)
    shown = call("--help").ok().out
    assert HEADING.findall(shown) == ["Options", *panels.COMMANDS]
    assert re.findall(r"^  ([a-z]+) ", shown.split("Search:")[1], re.MULTILINE) == named


def test_no_section_lists_an_option_that_no_command_has():
    real = {one.name for _, command in leaves(get_command(main.app)) for one in command.params}
    real |= {"install_completion", "show_completion", "all_files", "include", "exclude"}
    assert {name for names in panels.OPTIONS.values() for name in names} <= real


def test_the_help_of_format_names_every_format_once_and_no_other():
    (option,) = (one for one in get_command(main.app).commands["index"].params if one.name == "format")
    _, named, _ = re.split(r"format: | \[default", option.help)
    assert sorted(re.split(r", | or ", named)) == sorted(FORMATS)
