"""What the log shows to whoever asks: receipts, and itself as static files."""
