"""One stored chunk and its place in an array, in threads, without a copy."""

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.defaults import default_codecs
from lakeservice.codecs.engine import Engine
from lakeservice.codecs.grid import Grid, Piece

__all__ = ["Chain", "Engine", "Grid", "Piece", "default_codecs"]
