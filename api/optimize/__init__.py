"""Runs that are driven here: what they are told to do, and how they start, resume, branch, replay and reproduce."""
