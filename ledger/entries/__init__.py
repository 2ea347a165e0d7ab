"""Entries: their grammar, their bytes, and the chain that they form."""
