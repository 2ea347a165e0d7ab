"""Sealed content: disclosures, the keys of erasure scopes, aliases, and erasure."""
