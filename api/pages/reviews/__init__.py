"""The pages of reviews: what was signed, signing, and evidence packs."""
