"""Bytes for people: one exporter a file."""
