"""The openvino library: imported without its telemetry, its one Core, and what a fork must not take down."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any
from weakref import WeakSet

from semsearch.forks import refuse_fork

TELEMETRY = "openvino_telemetry"

CONVERTER = "openvino.tools.ovc"
"""Takes as long to import as all the rest, so it is imported only when something is converted."""


_COMPILED: WeakSet[Any] = WeakSet()
"""Compiled models, each of which has threads."""


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
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_abandon)
    return library.Core()


def let_fork(compiled: Any) -> Any:
    """Return a compiled model that a forked child never takes down: that waits for threads which are not there.

    Without it, a child of a process with a compiled model would never end.
    """
    _COMPILED.add(compiled)
    return compiled


def _abandon() -> None:
    """In a forked child, keep the compiled models of its parent for good."""
    for compiled in list(_COMPILED):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(compiled))


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
