"""The indexes of a server, opened when they are first asked, and the encoders that they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from semsearch.server.settings import Settings


class Shelf:
    """Holds the served indexes by name."""

    def __init__(self, places: Mapping[str, str | Path], settings: Settings) -> None:
        self._places, self._settings = dict(places), settings

    @property
    def names(self) -> tuple[str, ...]:
        """Every index, in the order given."""
        return tuple(self._places)
