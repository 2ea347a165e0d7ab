"""What works beside the API: judging what was published, from the ledger, so that a restart loses nothing."""
