"""What people ask about optimisation runs: lists, one run, its history, calls, costs and comparisons."""
