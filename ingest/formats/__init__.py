"""One file per detector format."""
