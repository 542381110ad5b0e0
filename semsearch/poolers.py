"""The registry of poolers, and the types needed to write a new one."""

from __future__ import annotations

from semsearch.encoder.pooling import POOLERS, Pooler, parse_pooler
from semsearch.encoder.token_states import TokenStates

__all__ = ["POOLERS", "Pooler", "TokenStates", "parse_pooler"]
