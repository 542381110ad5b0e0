"""Presenting comparisons as tables, charts, HTML pages and TREC runs."""
