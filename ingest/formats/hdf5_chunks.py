"""The chunks of an HDF5 dataset: where each lies, and which filters it went through."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from h5py import h5s

from ingest.formats.hdf5_dataset import Placement, ScatteredError
from ingest.formats.hdf5_filters import codecs_of
from ingest.found import ChunkRows
from schemas.structures import MAX_CHUNKS_PER_AXIS

if TYPE_CHECKING:
    from h5py import h5d
    from numpy.typing import NDArray

    from ingest.formats.hdf5_dataset import Dataset

MOST_CHUNKS = 1 << 62
_TOGETHER = 1 << 16  # a chunk takes 300 bytes while HDF5 lists it, and 28 afterwards
_EVERY_FILTER = np.uint32(0xFFFFFFFF)


@dataclasses.dataclass(frozen=True)
class _Listed:
    """Chunks as HDF5 lists them, in any order."""

    corner: NDArray[np.int64]
    """Index of the first element; shape (chunk, axis)."""
    mask: NDArray[np.uint32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]


def place_chunked(dataset: Dataset) -> Placement:
    """Return where the chunks of a dataset lie.

    Raises
    ------
    ScatteredError
        Only HDF5 can undo its filters, or there are too many chunks.
    BrokenError
        Nothing that is installed can undo its filters.
    """
    codecs = codecs_of(dataset.creation)
    extent = dataset.extent or ()
    chunk = tuple(int(length) for length in dataset.creation.get_chunk())
    counts = [-(-length // size) for length, size in zip(extent, chunk, strict=True)]
    if max(counts) > MAX_CHUNKS_PER_AXIS or math.prod(counts) >= MOST_CHUNKS:
        raise ScatteredError(f"{math.prod(counts)} chunks are too many to list")
    layout = dataset.layout(chunk + dataset.element.inner, codecs)
    found = _listed(dataset.handle, len(chunk))
    mask = _masks(dataset, found, chunk) if codecs else found.mask
    strides = np.array([math.prod(counts[axis + 1 :]) for axis in range(len(counts))], np.int64)
    inside = (found.corner < np.array(extent, np.int64)).all(axis=1)
    location = ChunkRows.of(
        ((found.corner // np.array(chunk, np.int64)) @ strides)[inside],
        found.offset[inside],
        found.length[inside],
        asset=dataset.place.file.number,
        filter_mask=mask[inside],
    )
    return Placement(layout.chunk_shape, layout, location)


def _listed(handle: h5d.DatasetID, rank: int) -> _Listed:
    rows: list[h5d.StoreInfo] = []
    blocks = [_block([], rank)]

    def take(row: h5d.StoreInfo) -> None:
        rows.append(row)
        if len(rows) == _TOGETHER:
            blocks.append(_block(rows, rank))
            rows.clear()

    handle.chunk_iter(take)
    blocks.append(_block(rows, rank))
    return _Listed(
        np.concatenate([block.corner for block in blocks]),
        np.concatenate([block.mask for block in blocks]),
        np.concatenate([block.offset for block in blocks]),
        np.concatenate([block.length for block in blocks]),
    )


def _block(rows: list[h5d.StoreInfo], rank: int) -> _Listed:
    corners, masks, offsets, lengths = zip(*rows, strict=True) if rows else ((), (), (), ())
    return _Listed(
        np.array(corners, np.int64).reshape(-1, rank),
        np.array(masks, np.uint32),
        np.array(offsets, np.int64),
        np.array(lengths, np.int64),
    )


def _masks(dataset: Dataset, found: _Listed, chunk: tuple[int, ...]) -> NDArray[np.uint32]:
    """Return the filter masks, with chunks over the edge that were stored without filters.

    A writer may ask for that (``H5Pset_chunk_opts``), and no filter mask says so.
    """
    extent = np.array(dataset.extent, np.int64)
    raw_bytes = math.prod(chunk) * dataset.element.itemsize
    over = (found.corner + np.array(chunk, np.int64) > extent).any(axis=1)
    inside = (found.corner < extent).all(axis=1)
    doubtful = over & inside & (found.mask == 0) & (found.length == raw_bytes)
    if not doubtful.any() or not _is_plain(dataset, found.corner[int(doubtful.argmax())], chunk):
        return found.mask
    return np.where(doubtful, _EVERY_FILTER, found.mask)


def _is_plain(dataset: Dataset, corner: NDArray[np.int64], chunk: tuple[int, ...]) -> bool:
    """Tell whether the bytes of a chunk over the edge are its elements as they are."""
    at = tuple(int(start) for start in corner)
    _, stored = dataset.handle.read_direct_chunk(at)
    element, extent = dataset.element, dataset.extent or ()
    whole = np.frombuffer(stored, np.uint8).reshape(*chunk, -1)
    count = tuple(
        min(size, end - start) for start, size, end in zip(at, chunk, extent, strict=True)
    )
    there = dataset.handle.get_space()
    there.select_hyperslab(at, count)
    values = np.zeros(count + element.inner, element.stored)
    dataset.handle.read(h5s.create_simple(count), there, values, mtype=dataset.kind)
    plain = whole[tuple(slice(length) for length in count)]
    return plain.tobytes() == values.tobytes()
