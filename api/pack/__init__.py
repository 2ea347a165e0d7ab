"""Evidence packs: what a reviewer is handed, in one file that needs nothing else to be read."""
