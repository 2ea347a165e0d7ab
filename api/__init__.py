"""How the world reaches the ledger: recording, command line, adapters."""
