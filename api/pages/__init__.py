"""The pages: what reviewers read in a browser, made on the server from the same projections as every other answer."""
