"""Exit with 0 if a server can search all of its indexes by meaning, else with 1 and the reason: a readiness probe.

`/ready` requires a key, which probes over HTTP cannot take from a secret. This takes the first one of $SEMSEARCH_TOKEN.

    python ready.py [http://127.0.0.1:8000]
"""

from __future__ import annotations

import json
import os
import sys
from http.client import HTTPException
from urllib.request import Request, urlopen

from semsearch.server.keys import Key

SECONDS = 4


def status(url: str, tokens: str) -> str:
    """Return what the server at a URL says about itself.

    Args:
        url: Address of the server.
        tokens: Its keys, separated by white space; empty if it has none.

    Raises:
        OSError: If it does not answer, or refuses the key.
        HTTPException: If its answer is not HTTP.
        ValueError: If its answer is not JSON.
    """
    headers = {"api-key": Key.parse(tokens.split()[0]).secret} if tokens.split() else {}
    with urlopen(Request(f"{url}/ready", headers=headers), timeout=SECONDS) as answer:
        return str(json.loads(answer.read())["status"])


def main() -> None:
    """Exit as this module says."""
    try:
        found = status((sys.argv[1:] or ["http://127.0.0.1:8000"])[0], os.environ.get("SEMSEARCH_TOKEN", ""))
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.exit(0 if found == "ready" else f"the server is not ready: {found}")


if __name__ == "__main__":
    main()
