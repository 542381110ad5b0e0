"""An index in a Milvus database, in collections of its own."""
