"""Engines, which cut documents into passages and encode them: on this machine, or on the machines of a Ray cluster."""
