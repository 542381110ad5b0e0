"""Entry point of the command line, for `semsearch` and `python -m semsearch`."""

from __future__ import annotations


def start() -> None:
    """Run the command line and end the process; see `semsearch.cli.process`.

    A program that wants to continue after the command calls `semsearch.cli.main.main` instead.
    """
    import _signal  # type: ignore[import-not-found]  # built in, so nothing has to be read from disk

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # nothing is lost if it ends during the imports
    from semsearch.cli.process import run

    run()


if __name__ == "__main__":
    start()
