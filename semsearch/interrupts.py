"""Ctrl-C behind an error: an interrupt that a library turned into an error of its own is still an interrupt.

Extension modules do that while they are imported ("openvino is not installed"), and libraries in C++ where they call
back into Python ("does not convert").
"""

from __future__ import annotations

from collections.abc import Iterator

_noted: list[int] = []


def note(signal: int) -> None:
    """Remember a signal that asks this process to end; for the command line, which has the process to itself."""
    _noted.append(signal)


def noted() -> int | None:
    """Return the first such signal, or None."""
    return _noted[0] if _noted else None


def is_behind(error: BaseException) -> bool:
    """Say whether an error came of an interrupt."""
    return bool(_noted) or any(isinstance(one, KeyboardInterrupt) for one in _chain(error))


def reraise(error: BaseException) -> None:
    """Raise KeyboardInterrupt where an error came of one; call it wherever an error is taken for something else."""
    if is_behind(error):
        raise KeyboardInterrupt from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes, and what was being handled when each was raised."""
    seen: list[BaseException] = []
    ahead = [error]
    while ahead:
        one = ahead.pop()
        if one not in seen:
            seen.append(one)
            ahead += [other for other in (one.__cause__, one.__context__) if other]
            yield one
