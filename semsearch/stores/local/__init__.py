"""The index on disk: SQLite is the source of truth, and FAISS segments can be rebuilt from it."""
