"""Arrow Flight."""
