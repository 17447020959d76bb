"""The DuckDB index over the log: apply, rebuild, search."""
