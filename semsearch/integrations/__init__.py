"""Retrievers and stores for other frameworks: one module per framework, each with its own extra."""
