"""Keyword search: the analysis of texts, inverted indexes of them, and BM25."""
