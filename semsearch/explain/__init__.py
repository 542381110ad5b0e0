"""Explaining hits: scores as sums over the tokens of a passage and the terms of a query."""
