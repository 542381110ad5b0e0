"""Checkpoints: locating them, and reading what they declare."""
