"""Larger chunks for arrays that grow row by row: many small ones are written again as fewer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.arrays import StoredArray
from lakeservice.storage.files import FileReader
from schemas.selection import select

if TYPE_CHECKING:
    from lakeservice.storage.objects import Objects
    from schemas.chunks import ArrayStorage
    from schemas.structures import ArrayStructure

MANY_CHUNKS = 256
"""Chunks along the first axis from which on small ones are worth being fewer."""
SMALL_BYTES = 256 << 10
"""Chunks below this size are small."""
MOST_BYTES = 64 << 20
"""Arrays above this size stay as they are."""
_TOGETHER = 16  # small chunks that become one: so seldom is an array written again
_WANTED_BYTES = 1 << 20


def is_worth_it(structure: ArrayStructure, storage: ArrayStorage, rows: int) -> bool:
    """Tell whether an array that is to have so many rows should have larger chunks."""
    told = structure.blocks or structure.chunks
    if not structure.shape or not all(isinstance(size, int) for size in told):
        return False
    stored = storage.layout.chunk_shape
    return (
        rows > structure.shape[0]
        and rows > MANY_CHUNKS * stored[0]
        and math.prod(stored) * structure.data_type.itemsize < SMALL_BYTES
        and structure.size_bytes <= MOST_BYTES
    )


def coarsened(
    objects: Objects, structure: ArrayStructure, storage: ArrayStorage, prefix: str
) -> tuple[ArrayStructure, ArrayStorage]:
    """Write an array again, in chunks of more rows; clients count blocks as they did before.

    Parameters
    ----------
    prefix
        Where it is to lie: ``data/<id>/<part>``.
    """
    stored = storage.layout.chunk_shape
    chunk_bytes = max(1, math.prod(stored) * structure.data_type.itemsize)
    rows = stored[0] * min(_TOGETHER, max(2, _WANTED_BYTES // chunk_bytes))
    larger = msgspec.structs.replace(
        structure, chunks=(rows, *stored[1:]), blocks=structure.blocks or structure.chunks
    )
    array = StoredArray(objects, structure, storage, fetch_files=FileReader())
    with ArrayWriter(objects, prefix, larger) as writer:
        for block in array.blocks(select((), structure.shape)):
            writer.write(block)
        written = writer.finish()
    return writer.structure, written
