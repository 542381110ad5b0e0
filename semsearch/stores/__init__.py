"""Storage of an index: one protocol, and one implementation for each way to store it."""
