"""Silencing transformers, which reports on standard error what semsearch reports itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from threading import Lock
from typing import Any


@dataclass(slots=True)
class _Quiet:
    """Number of threads that need transformers to be quiet, and its settings before the first of them."""

    lock: Lock = field(default_factory=Lock)
    n_threads: int = 0
    verbosity: int = 0
    bars: bool = True
    hub_bars: bool = True


_QUIET: dict[int, _Quiet] = {}
"""One state per process id, because a lock held during a fork is never released in the child."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' messages and progress bars, and restore its settings afterwards.

    The settings are global to the process: of several threads that enter at once, the first saves them and the last
    restores them.
    """
    settings: Any = import_module("transformers").logging
    hub: Any = import_module("huggingface_hub.utils")
    state = _QUIET.setdefault(os.getpid(), _Quiet())
    with state.lock:
        state.n_threads += 1
        if state.n_threads == 1:
            state.verbosity, state.bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
            state.hub_bars = not hub.are_progress_bars_disabled()
            settings.set_verbosity_error()
            settings.disable_progress_bar()
    try:
        yield
    finally:
        with state.lock:
            state.n_threads -= 1
            if not state.n_threads:
                settings.set_verbosity(state.verbosity)
                if state.bars:
                    settings.enable_progress_bar()
                if not state.hub_bars:
                    hub.disable_progress_bars()
