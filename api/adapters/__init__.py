"""Readers and recorders of what other systems write."""
