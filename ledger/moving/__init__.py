"""Taking a ledger elsewhere: moving it to another store, backing it up, and restoring a backup."""
