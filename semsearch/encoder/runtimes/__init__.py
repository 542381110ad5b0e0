"""Runtimes, which run token ids through a backbone and its poolers: one module or more per library."""
