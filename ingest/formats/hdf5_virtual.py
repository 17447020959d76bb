"""Virtual datasets: arrays that are put together from others, as chunks of their sources."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from ingest.formats.hdf5_dataset import Dataset, Placement, ScatteredError
from ingest.formats.hdf5_regions import sources_of
from ingest.found import ChunkRows
from schemas.chunks import Contiguous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.formats.hdf5_files import OpenFiles
    from ingest.formats.hdf5_regions import Mapping, Region
    from schemas.chunks import ChunkLayout

SHORTEST_PIECE = 4096
"""Bytes below which sources in one piece are not cut into more than `MOST_PIECES`."""
MOST_PIECES = 10_000
MOST_NESTED = 16
"""Virtual datasets one inside the other."""


@dataclasses.dataclass(frozen=True)
class Patch:
    """The chunks that one source gives."""

    chunks: tuple[int, ...]
    layout: ChunkLayout
    rows: ChunkRows
    covered: NDArray[np.int64]
    """Numbers of all virtual chunks that lie in the source, absent ones too."""


def place_virtual(
    files: OpenFiles, dataset: Dataset, place: Callable[[Dataset], Placement]
) -> Placement:
    """Return the chunks of its sources as chunks of a virtual dataset.

    Parameters
    ----------
    files
        Where source files are opened.
    dataset
        A virtual dataset.
    place
        Places a source, which may be virtual itself.

    Raises
    ------
    BrokenError
        A source is missing, or holds less than what is taken from it.
    ScatteredError
        The sources' chunks are not chunks of one grid.
    """
    sources = sources_of(files, dataset)
    if not dataset.element.direct or dataset.element.inner:
        raise ScatteredError("its elements have to be converted one by one")
    if not sources:
        chunks = tuple(max(1, length) for length in dataset.shape)
        return Placement(chunks, dataset.layout(chunks), ChunkRows.of([], [], []))
    known: dict[tuple[int, int], Placement] = {}
    placed = []
    for mapping, source in sources:
        key = source.place.key
        if key not in known:
            known[key] = place(source)
        placed.append((mapping, source, known[key]))
    rows = _common_rows(placed)
    patches = [_patch(dataset, mapping, source, found, rows) for mapping, source, found in placed]
    return _joined(dataset, patches)


def _common_rows(placed: Sequence[tuple[Mapping, Dataset, Placement]]) -> int:
    """Return how many rows of unchunked sources make one chunk that fits them all."""
    rows = 0
    for mapping, _, found in placed:
        if isinstance(found.location, Contiguous):
            axis = _row_axis(mapping.virtual)
            length = mapping.source.lengths()[0] if mapping.source.start else 1
            start = mapping.virtual.start[axis] if axis is not None else 0
            rows = math.gcd(rows, length, start, *mapping.source.start[:1])
    return max(1, rows)


def _row_axis(region: Region) -> int | None:
    return next((axis for axis, length in enumerate(region.lengths()) if length > 1), None)


def _patch(
    dataset: Dataset, mapping: Mapping, source: Dataset, found: Placement, rows: int
) -> Patch:
    if source.element.dtype != dataset.element.dtype or source.element.inner:
        raise ScatteredError("its elements are of another type than those of its sources")
    if isinstance(found.location, Contiguous):
        found = _cut(mapping, source, found, rows)
    if not isinstance(found.location, ChunkRows):
        raise ScatteredError("one of its sources is stored with its description")
    chunks = [1] * len(mapping.virtual.start)
    virtual_numbers, source_numbers = np.zeros(1, np.int64), np.zeros(1, np.int64)
    pairs = dict(_pairs(mapping))
    source_strides = _strides(source.extent or (), found.chunks)
    for axis, source_axis in pairs.items():
        chunks[axis] = found.chunks[source_axis]
    here = dataset.extent or ()
    virtual_strides = _strides(here, tuple(chunks))
    base = 0
    for source_axis, stride in enumerate(source_strides):
        if source_axis not in pairs.values():
            if found.chunks[source_axis] != 1:
                raise ScatteredError("it takes parts of its sources' chunks")
            base += int(mapping.source.start[source_axis]) * stride
    for axis, length in enumerate(here):
        indices = mapping.virtual.indices(axis)
        there = mapping.source.indices(pairs[axis]) if axis in pairs else np.zeros(1, np.int64)
        ours, theirs = _matched(indices, there, chunks[axis], length, paired=axis in pairs)
        stride = source_strides[pairs[axis]] if axis in pairs else 0
        virtual_numbers = np.add.outer(virtual_numbers, ours * virtual_strides[axis]).reshape(-1)
        source_numbers = np.add.outer(source_numbers, theirs * stride).reshape(-1)
    source_numbers += base
    return _picked(dataset, source, found, tuple(chunks), virtual_numbers, source_numbers)


def _pairs(mapping: Mapping) -> Iterator[tuple[int, int]]:
    """Yield which axis of the array runs along which axis of the source."""
    ours, theirs = mapping.virtual.lengths(), mapping.source.lengths()
    if ours == theirs:
        yield from enumerate(range(len(theirs)))
        return
    long = [axis for axis, length in enumerate(ours) if length != 1]
    there = [axis for axis, length in enumerate(theirs) if length != 1]
    if [ours[axis] for axis in long] != [theirs[axis] for axis in there]:
        raise ScatteredError("it reshapes its sources")
    yield from zip(long, there, strict=True)


def _matched(
    ours: NDArray[np.int64], theirs: NDArray[np.int64], chunk: int, length: int, *, paired: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return chunk numbers of an axis, here and in the source, if they are the same chunks."""
    number, first, counts = np.unique(ours // chunk, return_index=True, return_counts=True)
    if (counts != np.minimum(chunk, length - number * chunk)).any():
        raise ScatteredError("it takes parts of its sources' chunks")
    if not paired:
        return number, np.zeros_like(number)
    shift = theirs - ours
    if (shift % chunk).any() or (shift != np.repeat(shift[first], counts)).any():
        raise ScatteredError("its sources' chunks lie across its own")
    return number, theirs[first] // chunk


def _cut(mapping: Mapping, source: Dataset, found: Placement, rows: int) -> Placement:
    """Cut a source in one piece into chunks of so many rows."""
    extent = source.extent or ()
    if not isinstance(found.location, Contiguous):
        return found
    if mapping.source.lengths()[1:] != extent[1:]:
        raise ScatteredError("it takes parts of a source that is not chunked")
    chunks = (rows, *extent[1:]) if extent else ()
    size = math.prod(chunks) * source.element.itemsize
    total = math.prod(extent) * source.element.itemsize
    starts = np.arange(total // size, dtype=np.int64) * size + found.location.offset
    if size < SHORTEST_PIECE and total // size > MOST_PIECES:
        raise ScatteredError("its sources' lengths have no common chunk")
    if total % size and (mapping.source.stop()[0] > len(starts) * rows):
        raise ScatteredError("its sources' lengths have no common chunk")
    location = ChunkRows.of(np.arange(len(starts)), starts, size, asset=found.location.asset)
    return Placement(chunks, source.layout(chunks), location)


def _picked(
    dataset: Dataset,
    source: Dataset,
    found: Placement,
    chunks: tuple[int, ...],
    virtual_numbers: NDArray[np.int64],
    source_numbers: NDArray[np.int64],
) -> Patch:
    rows = found.location
    if not isinstance(rows, ChunkRows):
        raise ScatteredError("one of its sources is not chunked")
    at = np.searchsorted(rows.chunk, source_numbers)
    at[at == len(rows)] = 0
    there = rows.chunk[at] == source_numbers if len(rows) else np.zeros(len(at), bool)
    if not there.all() and source.fill() != dataset.fill():
        raise ScatteredError("a source has absent chunks and another fill value")
    picked = at[there]
    return Patch(
        chunks,
        found.layout,
        ChunkRows.of(
            virtual_numbers[there],
            rows.offset[picked],
            rows.length[picked],
            asset=rows.asset[picked],
            filter_mask=rows.filter_mask[picked],
        ),
        virtual_numbers,
    )


def _joined(dataset: Dataset, patches: Sequence[Patch]) -> Placement:
    first = patches[0]
    if any(patch.chunks != first.chunks for patch in patches):
        raise ScatteredError("its sources are chunked in different ways")
    for patch in patches:
        if (
            patch.layout.codecs != first.layout.codecs
            or patch.layout.data_type != first.layout.data_type
        ):
            raise ScatteredError("its sources are encoded in different ways")
    covered = np.concatenate([patch.covered for patch in patches])
    if len(np.unique(covered)) != len(covered):
        raise ScatteredError("its sources overlap")
    layout = type(first.layout)(
        data_type=first.layout.data_type,
        chunk_shape=first.chunks,
        codecs=first.layout.codecs,
        fill_value=dataset.fill(),
    )
    rows = [patch.rows for patch in patches]
    location = ChunkRows.of(
        np.concatenate([one.chunk for one in rows]),
        np.concatenate([one.offset for one in rows]),
        np.concatenate([one.length for one in rows]),
        asset=np.concatenate([one.asset for one in rows]),
        filter_mask=np.concatenate([one.filter_mask for one in rows]),
    )
    return Placement(first.chunks, layout, location)


def _strides(extent: tuple[int, ...], chunks: tuple[int, ...]) -> list[int]:
    counts = [-(-length // size) for length, size in zip(extent, chunks, strict=True)]
    return [math.prod(counts[axis + 1 :]) for axis in range(len(counts))]
