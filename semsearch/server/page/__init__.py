"""The web page at `/`, and what it asks beyond the server's own API."""
