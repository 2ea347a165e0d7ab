"""Witnesses: the server that cosigns what only ever grew, and the client that asks for it."""
