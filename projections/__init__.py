"""What people look at: pure functions of the first N entries, and the runner that feeds them."""
