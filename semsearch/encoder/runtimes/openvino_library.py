"""The openvino library: imported without its telemetry, and its one Core."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from semsearch.forks import refuse_fork

TELEMETRY = "openvino_telemetry"

CONVERTER = "openvino.tools.ovc"
"""Takes as long to import as all the rest, so it is imported only when something is converted."""


@cache
def openvino() -> Any:
    """Import the library, without its telemetry: what a user encodes is nobody else's business.

    Raises:
        ImportError: It is not installed.
    """
    later = CONVERTER not in sys.modules
    with hidden(TELEMETRY, *[CONVERTER] * later):
        library: Any = import_module("openvino")
    if later and not hasattr(library, "convert_model"):
        library.__getattr__ = _imported_later  # for the rest of the program, which finds it there as ever
    return library


def _imported_later(name: str) -> Any:
    if name == "convert_model":
        return converter()
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


def converter() -> Any:
    """Import openvino.convert_model."""
    openvino()
    with hidden(TELEMETRY):
        return import_module(CONVERTER).convert_model


def core() -> Any:
    """Return the one openvino.Core of this process.

    Raises:
        ImportError: openvino is not installed.
        UsageError: The process was forked from one that has a Core.
    """
    library = openvino()
    refuse_fork("openvino")
    return _core(library)


@cache
def _core(library: Any) -> Any:
    return library.Core()


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Make imports of these modules fail, as if they were not installed, and leave `sys.modules` as it was."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # None makes an import fail
    before = {name: modules[name] for name in names if name in modules}
    modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            if name in before:
                modules[name] = before[name]
            else:
                modules.pop(name, None)
