"""The core without wires: describe, search, plan, read, write."""
