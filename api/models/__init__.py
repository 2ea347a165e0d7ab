"""Clients of models: an OpenAI-compatible chat client, when to try again, and a stand-in judge."""
