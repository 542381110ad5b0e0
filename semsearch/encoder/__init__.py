"""Encoding texts as vectors: poolers, checkpoints and runtimes."""
