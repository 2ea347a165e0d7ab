"""Signing: keys and who may use them, checkpoints, witnesses that are asked, timestamps that are recorded."""
