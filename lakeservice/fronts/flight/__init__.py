"""Arrow Flight."""

from lakeservice.fronts.flight.server import LakeFlightServer

__all__ = ["LakeFlightServer"]
