"""Where the log lies: ``ledger.db`` and ``keys.db`` in SQLite, and reading them."""
