"""Conditions on documents: how they are written, what they mean, how databases are asked."""
