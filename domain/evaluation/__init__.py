"""Evaluation: what agents said, how they were judged, and how that was set up."""
