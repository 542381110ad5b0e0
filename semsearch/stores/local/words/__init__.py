"""Keyword search in the segments of a folder: the files of inverted indexes, and the search over them."""
