"""The core without wires: describe, search, plan, read, write."""

from lakeservice.service.array_plans import Plan
from lakeservice.service.listing import Listing
from lakeservice.service.reading import rows_of
from lakeservice.service.service import Service
from lakeservice.service.writing import Draft

__all__ = ["Draft", "Listing", "Plan", "Service", "rows_of"]
