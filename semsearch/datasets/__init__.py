"""Public evaluation sets, fetched once and checked."""
