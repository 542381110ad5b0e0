"""Measuring how well a pooler, a layer and a transform search, and what lies behind it."""
