"""Commands about witnesses. What each does is imported when it is called."""
