"""Signing: keys and whose they are, checkpoints, and the witnesses that are asked."""
