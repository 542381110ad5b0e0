"""Test paths as users write them."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

import pytest

from semsearch.errors import UsageError
from semsearch.paths import as_path


@pytest.mark.parametrize("given", ["a/b.txt", Path("a/b.txt"), PurePosixPath("a/b.txt")])
def test_text_and_path_objects_are_paths(given: str | os.PathLike[str]):
    assert as_path(given) == Path("a/b.txt")
    assert type(as_path(given)) is type(Path())


@pytest.mark.parametrize("given", [b"a", 3, None, 1.5, ["a"]])
def test_anything_else_is_refused_in_one_line_that_names_the_parameter(given: object):
    message = f"`to` is {given!r}; expected a path as text or pathlib.Path"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        as_path(given, "to")


def test_a_long_value_is_cut():
    with pytest.raises(UsageError, match=r"^`path` is b'x{58}; expected"):
        as_path(b"x" * 1_000)
