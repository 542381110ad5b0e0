"""Type checks for arguments: one clear line that says what was given and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import TypeAlias

from semsearch.errors import UsageError

Check: TypeAlias = tuple[Callable[[object], bool], str]
"""A predicate, and the expectation that it checks in words."""


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number; booleans do not count."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_names(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)


TEXT: Check = (lambda value: isinstance(value, str)), "text"
NAMES: Check = _is_names, "a list of names, such as ['mean', 'cls']"
WHOLE: Check = is_whole, "a whole number"
IDS: Check = _is_names, "a list of ids as text"
NUMBER: Check = (lambda value: isinstance(value, Real) and not isinstance(value, bool)), "a number"
FLAG: Check = (lambda value: isinstance(value, bool)), "True or False"
FUNCTION: Check = callable, "a function"


def check_types(given: Mapping[str, object], expected: Mapping[str, Check], optional: Collection[str] = ()) -> None:
    """Reject arguments of the wrong type.

    Args:
        given: Arguments by name.
        expected: Checks by name; arguments without a check are not examined.
        optional: Names of arguments that may be None.

    Raises:
        UsageError: If an argument has the wrong type; names the first one and what was expected.
    """
    for name, value in given.items():
        if name not in expected or (value is None and name in optional):
            continue
        fits, words = expected[name]
        if not fits(value):
            raise UsageError(f"`{name}` is {value!r:.60}; expected {words}")
