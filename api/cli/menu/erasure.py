"""Commands that erase, and the rules that do so on time. What each does is imported when it is called."""
