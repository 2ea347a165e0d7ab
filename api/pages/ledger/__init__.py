"""The pages of the log itself: entries, streams, checkpoints and what vouches for them, and its verification."""
