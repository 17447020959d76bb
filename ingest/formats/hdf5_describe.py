"""One HDF5 dataset as a node: structure, bytes, metadata, or why it cannot be read."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
from h5py import h5d

from ingest.formats.hdf5_dataset import Dataset, ScatteredError
from ingest.formats.hdf5_files import BrokenError, reason_of
from ingest.formats.hdf5_places import place_of
from ingest.formats.hdf5_records import batches_of, schema_of
from ingest.formats.hdf5_values import (
    READ_ERRORS,
    json_of,
    load_filters,
    read_elements,
    row_blocks,
    texts_of,
)
from ingest.layouts import contiguous_chunks
from ingest.metadata import TooLong
from schemas.chunks import ChunkLayout, Inline
from schemas.errors import InvalidRequestError
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ingest.formats.hdf5_files import OpenFiles
    from ingest.formats.hdf5_links import Place
    from ingest.found import ChunkRows, ReadBatches, ReadRows
    from schemas.chunks import Contiguous
    from schemas.structures import Structure

INLINE_BYTES = 1024
"""Largest single number or record that is kept with its description."""
INLINE_TEXT_BYTES = 64 << 10
"""Largest text, likewise."""
LONGEST_CELL_BYTES = 1024
"""Longest string that still makes an array of fixed-length strings, if it is one of many."""
MOST_TEXT_BYTES = 256 << 20
"""Largest array of fixed-length strings."""
_NO_VALUE = object()


@dataclasses.dataclass(frozen=True)
class Description:
    """What a dataset is, whatever path it is reached by."""

    structure: Structure
    metadata: dict[str, Any]
    layout: ChunkLayout | None = None
    location: Contiguous | Inline | ChunkRows | None = None
    read: ReadRows | ReadBatches | None = None
    problem: str | None = None
    value: Any = _NO_VALUE
    """Its value as JSON, where it is metadata rather than data."""

    @property
    def has_value(self) -> bool:
        """Whether the value belongs into the metadata of the file."""
        return self.value is not _NO_VALUE


def describe_dataset(files: OpenFiles, place: Place, name: str) -> Description:
    """Describe a dataset; whatever is wrong with it becomes its problem."""
    try:
        dataset = Dataset.of(place)
    except READ_ERRORS as error:
        unknown = ArrayStructure.from_numpy((0,), np.dtype("V1"))
        return Description(unknown, {}, problem=f"HDF5 cannot open it: {reason_of(error)}")
    metadata: dict[str, Any] = {"enum": dataset.element.enum} if dataset.element.enum else {}
    try:
        return _described(files, dataset, name, metadata)
    except (BrokenError, InvalidRequestError) as error:
        problem = str(error)
    except READ_ERRORS as error:
        problem = f"HDF5 cannot read it: {reason_of(error)}"
    return Description(_outline(dataset), metadata, problem=problem)


def _described(
    files: OpenFiles, dataset: Dataset, name: str, metadata: dict[str, Any]
) -> Description:
    element = dataset.element
    if element.form == "unknown":
        raise BrokenError(f"it holds {element.remark}")
    if dataset.extent is None:
        return _empty(dataset, metadata)
    if element.form == "ragged" or element.form == "record":
        return _table(files, dataset, name, metadata)
    if element.form != "plain":
        return _texts(files, dataset, name, metadata)
    read = partial(row_blocks, dataset.handle, element, dataset.extent)
    small = dataset.count == 1 and element.itemsize <= INLINE_BYTES
    if small and dataset.creation.get_layout() in (h5d.COMPACT, h5d.CONTIGUOUS):
        if dataset.creation.get_external_count():
            place_of(files, dataset)
        return _single(dataset, metadata, read)
    chunks = contiguous_chunks(dataset.shape, element.stored.itemsize)
    structure = ArrayStructure.from_numpy(dataset.shape, element.dtype, chunks)
    try:
        placement = place_of(files, dataset)
    except ScatteredError:
        return (
            _single(dataset, metadata, read)
            if small
            else Description(structure, metadata, read=read)
        )
    if small:
        return _single(dataset, metadata, read)
    placed = msgspec.structs.replace(structure, chunks=placement.chunks)
    try:
        placed.check()
    except InvalidRequestError:  # more chunks than can be told to a client
        return Description(structure, metadata, read=read)
    return Description(placed, metadata, placement.layout, placement.location, read)


def _single(dataset: Dataset, metadata: dict[str, Any], read: ReadRows) -> Description:
    """Read one element, which is kept with the description."""
    load_filters(dataset.creation)
    element = dataset.element
    values = read_elements(dataset.handle, element, dataset.extent or (), kind=dataset.kind)
    try:
        value = json_of(values, element, dataset.handle)
    except TooLong:
        value = _NO_VALUE
    return _inline(values.astype(element.dtype, copy=False), metadata, read, value)


def _inline(
    values: NDArray[Any], metadata: dict[str, Any], read: ReadRows, value: Any = _NO_VALUE
) -> Description:
    structure = ArrayStructure.from_numpy(values.shape, values.dtype)
    chunk_shape = tuple(max(1, length) for length in values.shape)
    layout = ChunkLayout(data_type=structure.data_type, chunk_shape=chunk_shape)
    return Description(
        structure, metadata, layout, Inline(payload=values.tobytes()), read, value=value
    )


def _empty(dataset: Dataset, metadata: dict[str, Any]) -> Description:
    """Describe a dataset without a dataspace: an axis of length 0."""
    plain = dataset.element.form == "plain"
    values = np.zeros((0,), dataset.element.dtype if plain else np.dtype("U1"))
    return _inline(values, metadata, lambda: iter([values]), None)


def _texts(files: OpenFiles, dataset: Dataset, name: str, metadata: dict[str, Any]) -> Description:
    """Describe strings of variable length, and references as the paths that they point at."""
    _check_sources(files, dataset)
    width = 1
    few: list[str] = []
    for block in row_blocks(dataset.handle, dataset.element, dataset.extent or ()):
        texts = texts_of(block, dataset.handle)
        width = max(width, max(map(len, texts), default=1))
        if len(few) + len(texts) <= INLINE_TEXT_BYTES // 4:
            few += texts
    total = dataset.count * width * 4
    if dataset.count > 1 and (width * 4 > LONGEST_CELL_BYTES or total > MOST_TEXT_BYTES):
        return _table(files, dataset, name, metadata)
    dtype = np.dtype(f"U{width}")
    structure = ArrayStructure.from_numpy(
        dataset.shape, dtype, contiguous_chunks(dataset.shape, dtype.itemsize)
    )
    read = partial(_text_rows, dataset, dtype)
    if total > INLINE_TEXT_BYTES:
        return Description(structure, metadata, read=read)
    values = np.array(few, dtype).reshape(dataset.shape)
    value = few[0] if dataset.count == 1 else few if len(few) <= 16 else _NO_VALUE
    return _inline(values, metadata, read, value)


def _text_rows(dataset: Dataset, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for block in row_blocks(dataset.handle, dataset.element, dataset.extent or ()):
        yield np.array(texts_of(block, dataset.handle), dtype).reshape(block.shape)


def _table(files: OpenFiles, dataset: Dataset, name: str, metadata: dict[str, Any]) -> Description:
    """Describe records and sequences of variable length as the rows of a table."""
    _check_sources(files, dataset)
    extent = dataset.extent or ()
    if len(extent) > 1:
        raise BrokenError(
            f"its elements vary in length and lie on {len(extent)} axes; no table has that form"
        )
    schema = schema_of(dataset, name)
    structure = TableStructure.from_arrow(schema, rows=math.prod(extent))
    return Description(structure, metadata, read=partial(_reader, dataset, name, schema))


def _reader(dataset: Dataset, name: str, schema: pa.Schema) -> pa.RecordBatchReader:
    load_filters(dataset.creation)
    return pa.RecordBatchReader.from_batches(schema, batches_of(dataset, name))


def _check_sources(files: OpenFiles, dataset: Dataset) -> None:
    """Refuse a virtual dataset with a missing source, which HDF5 would fill with zeros."""
    if dataset.is_virtual:
        try:
            place_of(files, dataset)
        except ScatteredError:
            return


def _outline(dataset: Dataset) -> Structure:
    """Return the structure of a dataset that cannot be read, as far as it can be told."""
    plain = dataset.element.form in ("plain", "unknown")
    dtype = dataset.element.dtype if plain else np.dtype("U1")
    try:
        chunks = contiguous_chunks(dataset.shape, dtype.itemsize)
        return ArrayStructure.from_numpy(dataset.shape, dtype, chunks)
    except InvalidRequestError:
        return ArrayStructure.from_numpy((0,), np.dtype("V1"))
