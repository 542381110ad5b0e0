"""Reading files as documents, and cutting documents into passages."""
