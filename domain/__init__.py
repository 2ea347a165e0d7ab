"""What can happen: events and the decisions that lead to them. No storage, clock, network or randomness."""
