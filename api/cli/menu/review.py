"""Commands about what people say of the evidence. What each does is imported when it is called."""
