"""The version of semsearch, which reports state next to their numbers."""

from __future__ import annotations

__version__ = "0.1.0"
