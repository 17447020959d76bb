"""A realistic run, made on the spot, and the proof that it comes back as it went in."""
