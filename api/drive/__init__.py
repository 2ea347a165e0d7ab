"""Loops that drive the domain's conversations: make the calls, record them, and feed what was recorded."""
