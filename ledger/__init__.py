"""How facts are kept and proven: entries, chain, tree, checkpoints, stores, sealed content, verification."""
