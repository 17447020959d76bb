"""Are stored chunks what was written: their checksums compared, nothing decoded."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from crc32c import crc32c

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.engine import Engine
from lakeservice.codecs.grid import Grid
from lakeservice.storage.locations import places_of
from schemas.chunks import ZarrParts
from schemas.errors import CorruptError, ErrorKind
from schemas.selection import select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lakeservice.storage.locations import ByteRange
    from lakeservice.storage.objects import Objects
    from schemas.chunks import ArrayStorage, Part
    from schemas.structures import ArrayStructure

_NAME = "checksums"
_METHOD = "crc32c:"
_LOST = "it was written, but is not there any more"
_DIFFERS = "its CRC-32C checksum does not match"
_TOGETHER = 256  # chunks that are looked up together


class DamagedChunk(NamedTuple):
    """A chunk that is not what was written."""

    position: tuple[int, ...]
    """In the array's grid."""
    reason: str


def checksum(payload: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    return crc32c(payload)


def checksums_name(prefix: str) -> str:
    """Return the name of the checksums that older parts have beside their chunks."""
    return f"{prefix}/{_NAME}"


def damaged_chunks(
    objects: Objects, structure: ArrayStructure, storage: ArrayStorage
) -> Iterator[DamagedChunk]:
    """Yield the chunks of an array in the lake that are missing or not what was written.

    Chunks prove themselves by the checksum that is the last step of their chain. Parts
    from before there was one have an object of checksums beside them. A chunk with
    neither is looked for, and not read.

    Parameters
    ----------
    structure, storage
        The array as its node describes it; registered files are passed over.

    Yields
    ------
    DamagedChunk
        In C order.

    Raises
    ------
    CorruptError
        ``corrupt-object``: the checksums beside a part, or an index, are damaged.
    """
    if not isinstance(storage.location, ZarrParts):
        return
    grid = Grid.of(structure)
    places = places_of(storage, grid, objects)
    comparing = _Comparing(objects, structure, storage, storage.location.parts)
    pieces = grid.pieces(select(None, structure.shape))
    while places is not None and (batch := list(islice(pieces, _TOGETHER))):
        faults: list[str | None] = [None] * len(batch)
        Engine.shared().run(
            partial(comparing.note, faults, number, place)
            for number, place in enumerate(places.ranges(batch))
            if place is not None
        )
        for piece, fault in zip(batch, faults, strict=True):
            if fault is not None:
                yield DamagedChunk(piece.position, fault)


class _Comparing:
    """Compares chunks of one array with their checksums."""

    def __init__(
        self,
        objects: Objects,
        structure: ArrayStructure,
        storage: ArrayStorage,
        parts: Sequence[Part],
    ) -> None:
        self._objects = objects
        self._chain = Chain.of(storage.layout)
        self._beside: dict[str, tuple[Grid, NDArray[np.uint32]]] = {}
        for part in [] if self._chain.is_sealed else parts:
            stated = _read_checksums(objects, part)
            if stated is not None:
                own = (part.length, *structure.shape[1:]) if structure.shape else ()
                self._beside[part.name] = Grid(own, storage.layout.chunk_shape), stated

    def note(self, faults: list[str | None], number: int, place: ByteRange) -> None:
        """Put what is wrong with a chunk into a list; None where nothing is."""
        faults[number] = self._fault(place.name or "", required=place.required)

    def _fault(self, name: str, *, required: bool) -> str | None:
        stated = None if self._chain.is_sealed else self._stated(name)
        if stated is None and not self._chain.is_sealed:
            lost = required and self._objects.size(name) is None
            return _LOST if lost else None
        stored = self._objects.get(name)
        if stored is None:
            return _LOST if required else None
        if stated is not None:
            return None if checksum(stored) == stated else _DIFFERS
        try:
            self._chain.unsealed(stored)
        except CorruptError as error:
            return error.message
        return None

    def _stated(self, name: str) -> int | None:
        """Return the checksum of a chunk that stands beside its part."""
        prefix, _, rest = name.partition("/c")
        grid, stated = self._beside.get(prefix, (None, None))
        if grid is None or stated is None:
            return None
        linear = grid.linear(tuple(int(index) for index in rest.split("/")[1:]))
        return int(stated[linear]) if linear < len(stated) else None


def _read_checksums(objects: Objects, part: Part) -> NDArray[np.uint32] | None:
    if part.checksum is None or not part.checksum.startswith(_METHOD):
        return None
    payload = objects.get(checksums_name(part.name))
    if payload is None:  # taken away, because blocks were written in place
        return None
    if part.checksum != f"{_METHOD}{checksum(payload):08x}":
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"the checksums of {part.name!r} are damaged; write it again"
        )
    return np.frombuffer(payload, "<u4")
