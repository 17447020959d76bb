"""One stored chunk and its place in an array, in threads, without a copy."""
