"""Routers: one file for each part of the server's own API and for each foreign contract."""
