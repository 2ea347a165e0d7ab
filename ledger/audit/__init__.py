"""``verify``: everything derived again, and a verdict that says what was not checked."""
