"""Stored chunks on the wire: decoded here, each straight into its place."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.engine import Engine
from lakeservice.codecs.grid import Grid, Piece
from schemas.chunks import ChunkLayout
from schemas.errors import ConflictError, CorruptError, ErrorKind
from schemas.selection import Selection
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

Job = tuple[Piece, memoryview | None, int]


class Announced(msgspec.Struct, frozen=True):
    """What the schema of a stream of stored chunks says about it."""

    selection: Selection
    structure: ArrayStructure
    layout: ChunkLayout


@functools.lru_cache(maxsize=256)
def _announced(document: bytes) -> Announced:
    try:
        return msgspec.json.decode(document, type=Announced)
    except msgspec.MsgspecError as error:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"the stream does not say how its chunks are stored: {error}"
        ) from None


def announced(schema: pa.Schema) -> Announced:
    """Return which chunks a stream holds, and how they are stored.

    Raises
    ------
    CorruptError
        ``corrupt-object``: the schema is not one of stored chunks.
    """
    return _announced((schema.metadata or {}).get(b"lake.encoded", b""))


def expect(schema: pa.Schema, selection: Selection, dtype: np.dtype[Any]) -> Announced:
    """Return what a stream announces, if it is a selection of the array that is known.

    Raises
    ------
    ConflictError
        ``revision-conflict``: another shape or dtype than the node was known to have.
    CorruptError
        ``corrupt-object``: the schema is not one of stored chunks.
    """
    document = announced(schema)
    if document.selection != selection or document.structure.dtype != dtype:
        raise ConflictError(
            ErrorKind.REVISION_CONFLICT,
            f"the array has changed: there is {document.structure.dtype} of shape "
            f"{document.structure.shape} now; refresh() the node",
        )
    return document


def receive(
    reader: Any,
    selection: Selection,
    out: NDArray[Any],
    moved: Callable[[int], None] | None = None,
    *,
    path: str = "",
    alone: bool = False,
) -> None:
    """Decode a stream of stored chunks into ``out``.

    Parameters
    ----------
    reader
        A Flight stream reader.
    selection
        What was asked for.
    out
        Array of the selection's ``kept_shape``.
    moved
        Told the decoded bytes of each chunk.
    path
        Of the node, for errors.
    alone
        Decode in this thread, because other streams are read beside it.

    Raises
    ------
    CorruptError
        ``corrupt-chunk``: a chunk does not decode. ``corrupt-object``: the stream
        holds other chunks than the selection needs, or fewer.
    ConflictError
        ``revision-conflict``: another shape or dtype than the node was known to have.
    InvalidRequestError
        ``unreadable-file``: a codec that this version does not know.
    """
    document = expect(reader.schema, selection, out.dtype)
    pieces = Grid.of(document.structure).pieces(selection)
    jobs = _jobs(reader, pieces, moved, out.itemsize)
    Engine.shared().fill(out, jobs, Chain.of(document.layout), path, alone=alone)


def _jobs(
    reader: Any, pieces: Iterator[Piece], moved: Callable[[int], None] | None, itemsize: int
) -> Iterator[Job]:
    """Pair the stream's chunks with their places, which both come in C order."""
    for chunk in reader:
        batch = chunk.data
        if batch is None:
            continue
        for origin, shape, mask, encoded in _rows(batch):
            piece = next(pieces, None)
            if piece is None or (*piece.origin, *piece.shape) != (*origin, *shape):
                raise CorruptError(
                    ErrorKind.CORRUPT_OBJECT,
                    f"the stream holds the chunk at {tuple(origin)}, which is not the next one",
                )
            yield piece, encoded, mask
            if moved is not None:
                size = itemsize
                for length in piece.target_shape:
                    size *= length
                moved(size)
    missing = next(pieces, None)
    if missing is not None:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT,
            f"the stream ended before the chunk at {missing.origin}; nothing is returned",
        )


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[list[int], list[int], int, memoryview | None]]:
    origins = batch.column("offset").to_pylist()
    shapes = batch.column("shape").to_pylist()
    masks = batch.column("filter_mask").to_pylist()
    encoded = batch.column("encoded")
    # The scalars of a column would be copies.
    _, ends, payload = encoded.buffers()
    places = np.frombuffer(ends, np.int64, len(encoded) + 1, 8 * encoded.offset).tolist()
    present = encoded.is_valid().to_pylist() if encoded.null_count else None
    everything = memoryview(payload if payload is not None else b"")
    for row in range(batch.num_rows):
        chunk = (
            everything[places[row] : places[row + 1]] if present is None or present[row] else None
        )
        yield origins[row], shapes[row], masks[row] or 0, chunk
