"""Readers of what other systems wrote."""
