"""The pages of agent evaluation: overview, comparisons, sessions, jobs, judges."""
