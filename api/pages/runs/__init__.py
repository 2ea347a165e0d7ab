"""The pages of optimisation runs: the list, a run, an iteration, its calls."""
