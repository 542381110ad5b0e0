"""The `semsearch mcp` command, which serves indexes to an assistant on this machine over standard input and output."""

from __future__ import annotations

from contextlib import ExitStack

from semsearch import interrupts
from semsearch.cli import options as opt
from semsearch.cli import signals
from semsearch.cli.locations import find_index, named_indexes
from semsearch.errors import UsageError


def mcp(
    index: opt.ServedIndexes = None,
    url: opt.PublicUrl = "",
    device: opt.Device = "auto",
    runtime: opt.RuntimeName = "auto",
) -> None:
    """Serve indexes to an AI assistant over stdio (MCP).

    The assistant starts this command and talks to it in the Model Context Protocol. Models are loaded in the
    background; until they are ready, searches use keywords only.
    """
    try:
        from semsearch.mcp.server import create_mcp
    except ImportError as error:
        interrupts.reraise(error)
        raise UsageError(
            "the MCP server needs the mcp package; install it with: pip install 'semsearch[mcp]'"
        ) from None
    from semsearch.cli.addresses import checked_url
    from semsearch.index import Index
    from semsearch.mcp.warming import Warming

    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(Index.open(folder, device=device, runtime=runtime))
            for name, folder in named_indexes(index or [str(find_index(None, newest=True))]).items()
        }
        warming = Warming(opened)
        server = create_mcp(opened, public_url=checked_url(url), is_warm=warming.is_warm)
        warming.start()
        stack.callback(warming.stop)
        signals.release()  # nothing needs cleaning up, and an event loop may lose an interrupt
        server.run("stdio")
