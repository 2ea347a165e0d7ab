"""Commands about trusted time. What each does is imported when it is called."""
