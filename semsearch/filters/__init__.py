"""Filters on documents: front ends parse them into one syntax tree, and back ends compile that tree for a database.

    text.py        an expression ──┐
    mapping.py     a mapping ──────┤
    openai.py      OpenAI's ───────┤
    dify.py        Dify's ─────────┼──→ syntax.py ──→ sqlite.py   an SQL condition
    llamaindex.py  LlamaIndex's ───┤
    haystack.py    Haystack's ─────┘

A new front end (for another library's filter objects) is one file with a function that returns a `Filter`; the tree
itself checks names and values, and `read.py` chooses among the front ends for Python callers. A new back end is one
file with a function that takes a `Filter` and implements the semantics defined in `syntax.py`; it is added to the table
of back ends in the tests, which check it against hand-written answers and an evaluator in plain Python. Front ends and
back ends never import one another.
"""
