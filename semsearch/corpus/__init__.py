"""From files to documents, from documents to passages."""
