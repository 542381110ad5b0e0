"""Planning: what a corpus takes in storage, memory, encoder hours and nodes, from constants that were measured."""
