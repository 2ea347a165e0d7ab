"""Entries: their grammar, their bytes, what is sealed in them, and the chain that they form."""
