"""Access to the openvino library: import without telemetry, a single Core, and safety in forked processes."""

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
"""Takes as long to import as the rest of openvino, so it is imported only for a conversion."""


_COMPILED: WeakSet[Any] = WeakSet()
"""Compiled models, which own threads."""


@cache
def openvino() -> Any:
    """Import the library without its telemetry, for the user's privacy.

    Raises:
        ImportError: If openvino is not installed.
    """
    later = CONVERTER not in sys.modules
    with hidden(TELEMETRY, *[CONVERTER] * later):
        library: Any = import_module("openvino")
    if later and not hasattr(library, "convert_model"):
        library.__getattr__ = _imported_later  # other code still finds convert_model there
    return library


def _imported_later(name: str) -> Any:
    if name == "convert_model":
        return converter()
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


def converter() -> Any:
    """Import and return openvino.convert_model."""
    openvino()
    with hidden(TELEMETRY):
        return import_module(CONVERTER).convert_model


def core() -> Any:
    """Return the one openvino.Core of this process.

    Raises:
        ImportError: If openvino is not installed.
        UsageError: If the process was forked from one that has a Core.
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
    """Return a compiled model after registering it, so that a forked child never destroys it.

    Destroying it waits for threads that do not exist in the child, which would then never exit.
    """
    _COMPILED.add(compiled)
    return compiled


def _abandon() -> None:
    """Keep the parent's compiled models alive forever in a forked child."""
    for compiled in list(_COMPILED):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(compiled))


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Make imports of these modules fail as if they were not installed, and restore `sys.modules` afterwards."""
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
