"""Many ledgers served by one process: each with its own keys, limits and application, and nothing that crosses."""
