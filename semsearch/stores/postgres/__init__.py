"""An index in a PostgreSQL database with pgvector, in a schema of its own."""
