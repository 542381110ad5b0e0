"""Where an index is kept: one protocol, and a store for each way of keeping it."""
