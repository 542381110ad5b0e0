"""Retrievers and stores for frameworks, each module for one, imported with its own extra."""
