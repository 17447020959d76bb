"""The DuckDB index over the log: apply, rebuild, search."""

from lakeservice.catalog.answers import Distinct, Found
from lakeservice.catalog.catalog import Catalog
from lakeservice.catalog.text import parse_query

__all__ = ["Catalog", "Distinct", "Found", "parse_query"]
