"""Figures: what the service does beside Tiled, on named data, on one machine, in one run."""
