"""Read and write a lake from Python: `connect`, then index it like a dict of arrays."""

from __future__ import annotations

from lakeservice.client.array import Array
from lakeservice.client.awkward import Awkward, Ragged
from lakeservice.client.container import Container
from lakeservice.client.families import stands_for
from lakeservice.client.lake import Lake, connect
from lakeservice.client.listing import SearchResult
from lakeservice.client.node import LakeNode
from lakeservice.client.opaque import File
from lakeservice.client.sparse import Sparse
from lakeservice.client.table import Table
from lakeservice.client.transaction import Transaction

__all__ = [
    "Array",
    "Awkward",
    "Container",
    "File",
    "Lake",
    "LakeNode",
    "Ragged",
    "SearchResult",
    "Sparse",
    "Table",
    "Transaction",
    "connect",
]

for _family in (Array, Awkward, Container, File, Ragged, Sparse, Table):
    stands_for(_family)
