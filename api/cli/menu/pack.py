"""Commands about evidence packs. What each does is imported when it is called."""
