"""Vector indexes that find approximate nearest neighbors, one module per kind; `kinds.py` has the table."""
