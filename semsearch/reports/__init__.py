"""How comparisons are shown: tables, charts, pages, TREC runs."""
