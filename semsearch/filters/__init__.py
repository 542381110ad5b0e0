"""Conditions on documents: front ends read them into one syntax tree, and back ends compile that tree for a database.

    text.py        an expression ──┐
    mapping.py     a mapping ──────┤
    openai.py      OpenAI's ───────┤
    dify.py        Dify's ─────────┼──→ syntax.py ──→ sqlite.py   a SQL condition
    llamaindex.py  LlamaIndex's ───┤
    haystack.py    Haystack's ─────┘

A new front end (somebody's filter objects) is one file with a function that returns a `Filter`; the tree checks names
and values itself, and `read.py` chooses among the front ends of Python. A new back end is one file with a function that
takes a `Filter` and obeys the meaning that `syntax.py` states; it joins the table of back ends in the tests, which hold
answers by hand and an evaluator in plain Python to agree with. Front ends and back ends never import one another.
"""
