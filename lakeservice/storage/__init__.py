"""Bytes in the lake: objects, the log, chunks, tables."""
