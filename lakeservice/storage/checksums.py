"""Checksums of stored chunks, beside them: a flipped bit is found without decoding anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import google_crc32c
import numpy as np

from lakeservice.codecs.grid import Grid
from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from lakeservice.storage.objects import Objects
    from schemas.chunks import ArrayStorage, Part

_NAME = "checksums"
_METHOD = "crc32c:"


def checksum(payload: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    return int(google_crc32c.value(payload))


def checksums_name(prefix: str) -> str:
    """Return the name of the checksums of a Zarr array that lies below a prefix."""
    return f"{prefix}/{_NAME}"


def write_checksums(objects: Objects, prefix: str, found: Mapping[int, int], count: int) -> str:
    """Write the checksums of all chunks; return the checksum of that object.

    Parameters
    ----------
    prefix
        Of the Zarr array.
    found
        CRC-32C of each chunk by its number in C order of the array's own grid.
    count
        Number of chunks.
    """
    table: NDArray[np.uint32] = np.zeros(count, "<u4")
    table[list(found)] = list(found.values())
    payload = table.tobytes()
    objects.put(checksums_name(prefix), payload, durable=False)
    return f"{_METHOD}{checksum(payload):08x}"


def damaged_chunks(
    objects: Objects, storage: ArrayStorage, part: Part, shape: tuple[int, ...]
) -> Iterator[tuple[int, ...]]:
    """Yield the chunks of one part that are missing or not what was written.

    Parameters
    ----------
    storage
        Of the array that the part belongs to.
    shape
        Shape of the whole array.

    Yields
    ------
    tuple of int
        Position of the chunk in the part's own grid. Nothing where the part has no
        checksums: its chunks are written one by one, again and again.

    Raises
    ------
    CorruptError
        ``corrupt-object``: the checksums themselves are damaged.
    """
    if part.checksum is None or not part.checksum.startswith(_METHOD):
        return
    payload = objects.get(checksums_name(part.name))
    if payload is None:
        return
    if part.checksum != f"{_METHOD}{checksum(payload):08x}":
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"the checksums of {part.name!r} are damaged; write it again"
        )
    own = (part.length, *shape[1:]) if shape else ()
    grid = Grid(own, storage.layout.chunk_shape)
    for linear, stated in enumerate(np.frombuffer(payload, "<u4").tolist()):
        position = grid.position(linear)
        name = "/".join((part.name, "c", *map(str, position)))
        stored = objects.get(name)
        if stored is None or checksum(stored) != stated:
            yield position
