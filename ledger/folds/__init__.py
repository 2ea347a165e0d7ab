"""What a log says of itself, folded from its entries: its keys, erasures, anchors and witnesses. No storage."""
