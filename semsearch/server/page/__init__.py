"""The web page at `/`, and the operations that it needs beyond the server's own API."""
