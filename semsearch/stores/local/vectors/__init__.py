"""Vectors of an index: their table in SQLite, the segments they are searched in, and vector indexes over these."""
