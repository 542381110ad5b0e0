"""Words: their analysis, inverted indexes, and BM25, with the same scores in every store."""
