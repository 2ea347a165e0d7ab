"""The doctor: what endangers a ledger that nothing is wrong with yet."""
