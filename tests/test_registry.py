"""Test that server.json, which describes this server to an MCP registry, conforms to the schema of 2025-12-11."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

from command import call

from semsearch import __version__

ROOT = Path(__file__).parents[1]
SERVER = json.loads((ROOT / "server.json").read_text("utf-8"))
(PACKAGE,) = SERVER["packages"]


def test_it_has_what_the_schema_requires_within_its_limits():
    assert SERVER["$schema"] == "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", SERVER["name"])
    assert 3 <= len(SERVER["name"]) <= 200
    assert 1 <= len(SERVER["title"]) <= 100
    assert 1 <= len(SERVER["description"]) <= 100
    assert {"registryType", "identifier", "version", "transport"} <= set(PACKAGE)
    assert "runtimeHint" in PACKAGE, "which must be there where runtimeArguments are"
    for argument in [*PACKAGE["runtimeArguments"], *PACKAGE["packageArguments"]]:
        needed = {"named": {"name"}, "positional": {"value"}}[argument["type"]]
        assert needed <= set(argument)
        assert set(argument) <= {"type", "name", "value", "description", "format", "isRequired", "isRepeated"}


def test_it_names_this_package_and_its_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (PACKAGE["registryType"], PACKAGE["identifier"]) == ("pypi", project["name"])
    assert SERVER["version"] == PACKAGE["version"] == __version__
    assert PACKAGE["transport"] == {"type": "stdio"}
    extras = re.fullmatch(r"semsearch\[([\w,]+)\]", PACKAGE["runtimeArguments"][0]["value"])[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"])


def test_the_readme_claims_it():
    assert f"<!-- mcp-name: {SERVER['name']} -->" in (ROOT / "README.md").read_text("utf-8")


def test_its_arguments_are_those_of_the_command():
    first, *options = PACKAGE["packageArguments"]
    shown = call(first["value"], "--help").ok().out
    assert all(option["name"] in shlex.split(shown.replace("'", "")) for option in options)
