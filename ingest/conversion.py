"""Values copied into the lake: rows of arrays to Zarr, batches of tables to Parquet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from lakeservice.storage.array_writer import ArrayWriter
from lakeservice.storage.chunking import good_chunks
from lakeservice.storage.table_writer import TableWriter
from schemas.chunks import ArrayStorage, ChunkLayout, Codec, Inline
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.found import ReadBatches, ReadRows
    from lakeservice.storage.objects import Objects
    from schemas.chunks import TableStorage
    from schemas.structures import Structure


def convert_array(
    objects: Objects,
    name: str,
    structure: ArrayStructure,
    read: ReadRows,
    beat: Callable[[], None],
) -> tuple[ArrayStructure, ArrayStorage]:
    """Copy an array, chunked for how it will be read.

    Raises
    ------
    LakeError
        The rows do not add up to the structure.
    """
    chunks = good_chunks(structure.shape, structure.dtype, structure.dims)
    structure = msgspec.structs.replace(structure, chunks=chunks)
    with ArrayWriter(objects, name, structure) as writer:
        for rows in read():
            writer.write(np.asarray(rows))
            beat()
        storage = writer.finish()
        return writer.structure, storage


def inline_array(structure: ArrayStructure, read: ReadRows) -> tuple[ArrayStructure, ArrayStorage]:
    """Return a small array with its values in its very description.

    Raises
    ------
    InvalidRequestError
        ``bad-body``: the rows do not add up to the structure.
    """
    rows = [np.asarray(block) for block in read()]
    values = (
        np.concatenate(rows) if structure.shape and len(rows) > 1 else rows[0] if rows else None
    )
    if values is None or values.size != math.prod(structure.shape):
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"the rows do not add up to an array of shape {structure.shape}"
        )
    whole = tuple(max(1, length) for length in structure.shape)
    payload = np.ascontiguousarray(values, structure.dtype).tobytes()
    layout = ChunkLayout(
        data_type=structure.data_type, chunk_shape=whole, codecs=(Codec("bytes"),), edge="clipped"
    )
    structure = msgspec.structs.replace(structure, chunks=whole)
    return structure, ArrayStorage(layout=layout, location=Inline(payload=payload))


def convert_table(
    objects: Objects,
    name: str,
    structure: Structure,
    read: ReadBatches,
    beat: Callable[[], None],
) -> tuple[Structure, TableStorage]:
    """Copy a table, or what is kept as one; its number of rows becomes known."""
    with read() as reader, TableWriter(objects, name, reader.schema) as writer:
        for batch in reader:
            writer.write(batch)
            beat()
        storage, rows = writer.finish()
    if isinstance(structure, TableStructure):
        structure = msgspec.structs.replace(structure, rows=rows, npartitions=len(storage.parts))
    return structure, storage
