"""The index on disk: SQLite is the truth, FAISS segments can be thrown away."""
