"""Poolers, for those who add one or read their formulas: the registry, and what a pooler is a function of."""

from __future__ import annotations

from semsearch.encoder.pooling import POOLERS, Pooler, parse_pooler
from semsearch.encoder.token_states import TokenStates

__all__ = ["POOLERS", "Pooler", "TokenStates", "parse_pooler"]
