"""What a stranger is handed (evidence, proof of a fork, signed reviews), and checking it with no ledger at hand."""
