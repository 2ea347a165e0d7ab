"""Where the log lies: SQLite, reading it, and writing it out as static files."""
