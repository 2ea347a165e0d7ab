"""What a stranger is handed (evidence, signed reviews), and checking it with no ledger at hand."""
