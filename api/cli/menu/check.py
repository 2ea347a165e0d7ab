"""Commands about checking what was handed over. What each does is imported when it is called."""
