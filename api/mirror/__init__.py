"""Mirrors: a log followed by its static files, verified, kept as the same files, and served."""
