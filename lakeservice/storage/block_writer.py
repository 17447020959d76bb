"""Writing into an array that is there: any region, chunk by chunk."""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.engine import Engine, naming
from lakeservice.codecs.grid import Grid, Piece
from lakeservice.codecs.steps import whole_elements
from lakeservice.storage.checksums import checksums_name
from lakeservice.storage.locations import places_of
from schemas.chunks import ZarrParts
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.selection import Axis, Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lakeservice.storage.locations import ByteRange
    from lakeservice.storage.objects import Objects
    from schemas.chunks import ArrayStorage
    from schemas.structures import ArrayStructure

_LOCKS = tuple(threading.Lock() for _ in range(64))  # of chunks that are read, changed and written


class BlockWriter:
    """Writes regions of an array whose chunks lie in the lake.

    Parameters
    ----------
    objects
        The lake's objects.
    structure, storage
        The array as its node describes it; its location must be `ZarrParts`.

    Raises
    ------
    InvalidRequestError
        ``bad-request``: the array lies in a registered file, which nobody writes to.
    """

    def __init__(self, objects: Objects, structure: ArrayStructure, storage: ArrayStorage) -> None:
        if not isinstance(storage.location, ZarrParts):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, "the array lies in a registered file; it cannot be written"
            )
        self._checked = [
            checksums_name(part.name)
            for part in storage.location.parts
            if part.checksum is not None
        ]
        self._objects = objects
        self._structure = structure
        self._dtype = structure.dtype
        self._grid = Grid.of(structure)
        self._chain = Chain.of(storage.layout)
        self._places = places_of(storage, self._grid, objects)

    def holds(self, origin: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Tell whether a region is whole chunks, each with a place where it can be written."""
        axes = (Axis(start, length) for start, length in zip(origin, shape, strict=True))
        pieces = list(self._grid.pieces(Selection(tuple(axes))))
        if self._places is None or not all(piece.is_whole() for piece in pieces):
            return False
        return None not in self._places.ranges(pieces)

    def write(self, origin: tuple[int, ...], block: NDArray[Any]) -> None:
        """Write a region; durable when it returns.

        A chunk that the region covers in part is read, changed and written
        again: at the same time by one writer of this process only.

        Parameters
        ----------
        origin
            First element of the region in the array.
        block
            The elements.

        Raises
        ------
        InvalidRequestError
            ``bad-body``: outside the array, or of another dtype.
        CorruptError
            ``corrupt-chunk``: a chunk to be changed in part is damaged or lost.
        """
        shape = self._structure.shape
        if len(origin) != len(shape) or block.ndim != len(shape):
            raise _bad(f"a region of {block.ndim} axes for an array of {len(shape)}")
        inside = all(
            start >= 0 and start + length <= total
            for start, length, total in zip(origin, block.shape, shape, strict=True)
        )
        if not inside:
            raise _bad(f"a region of shape {block.shape} at {origin} leaves the array, {shape}")
        if not np.can_cast(block.dtype, self._dtype, "equiv"):
            raise _bad(f"elements of dtype {block.dtype} for an array of {self._dtype}")
        selection = Selection(
            tuple(Axis(start, length) for start, length in zip(origin, block.shape, strict=True))
        )
        if self._checked:  # they were of what is overwritten now
            self._objects.delete(self._checked)
            self._checked = []
        Engine.shared().run(
            self._task(piece, piece.place_in(block)) for piece in self._grid.pieces(selection)
        )

    def _task(self, piece: Piece, part: NDArray[Any]) -> Callable[[], None]:
        place = self._places.ranges([piece])[0] if self._places is not None else None
        if place is None or place.name is None:
            raise _bad(f"chunk {piece.position} lies beyond what is stored of the array")
        return lambda: self._store(piece, place, part)

    def _store(self, piece: Piece, place: ByteRange, part: NDArray[Any]) -> None:
        name = place.name or ""
        if piece.is_whole():
            self._objects.put(name, self._chain.encode(part))
            return
        with _LOCKS[zlib.crc32(name.encode()) % len(_LOCKS)]:
            encoded = self._objects.get(name)
            with naming(piece.position):
                if encoded is not None:
                    chunk = self._chain.decode(encoded, piece.shape)
                elif place.required:
                    raise CorruptError(
                        ErrorKind.CORRUPT_CHUNK, "it was written, but is not there any more"
                    )
                else:
                    chunk = np.empty(piece.shape, self._chain.dtype)
                    self._chain.fill_into(chunk)
            whole_elements(chunk)[piece.source] = whole_elements(np.asarray(part, chunk.dtype))
            self._objects.put(name, self._chain.encode(chunk))


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_BODY, message)
