"""HTTP: Tiled's API v1."""
