"""The fast lane: every delivery beside Tiled, beside other readers, and beside what is possible."""
