"""Wires, without decisions."""
