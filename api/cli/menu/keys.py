"""Commands about the keys that sign and seal. What each does is imported when it is called."""
