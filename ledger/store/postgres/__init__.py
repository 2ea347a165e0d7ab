"""A ledger in PostgreSQL: one schema of evidence, one of keys, roles that can do what they must."""
