"""What virtual datasets take from where: regions of sources, each put at a region of the array."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from h5py import h5d, h5s

from ingest.formats.hdf5_dataset import Dataset, ScatteredError
from ingest.formats.hdf5_files import BrokenError
from ingest.formats.hdf5_links import open_path, root_of
from ingest.metadata import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from h5py.h5s import SpaceID
    from numpy.typing import NDArray

    from ingest.formats.hdf5_files import OpenFiles

MOST_INDICES = 1 << 24
"""Longest axis whose selected indices are compared one by one."""
_UNLIMITED = 1 << 62


@dataclasses.dataclass(frozen=True)
class Region:
    """A regular selection: per axis, blocks at a stride."""

    start: tuple[int, ...]
    stride: tuple[int, ...]
    count: tuple[int, ...]
    block: tuple[int, ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Region:
        """Return the region that is everything."""
        ones = (1,) * len(shape)
        return cls((0,) * len(shape), ones, ones, shape)

    @classmethod
    def of(cls, space: SpaceID) -> Region | None:
        """Return what is selected in a dataspace; None for all, whose shape it may not know.

        Raises
        ------
        ScatteredError
            Single points or an irregular union.
        """
        if space.get_select_type() == h5s.SEL_ALL:
            return None
        if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
            raise ScatteredError("it is put together from irregular selections")
        return cls(*(tuple(int(n) for n in part) for part in space.get_regular_hyperslab()))

    @property
    def open_axis(self) -> int | None:
        """The axis that goes on for as long as there are elements; None where none does."""
        for axis, (count, block) in enumerate(zip(self.count, self.block, strict=True)):
            if count >= _UNLIMITED or block >= _UNLIMITED:
                return axis
        return None

    def limited(self, elements: int) -> Region:
        """Return the region with its open axis ended after this many elements."""
        axis = self.open_axis
        if axis is None:
            return self
        count, block = list(self.count), list(self.block)
        if block[axis] >= _UNLIMITED:
            count[axis], block[axis] = 1, elements
        else:
            count[axis], rest = divmod(elements, block[axis])
            if rest:
                raise ScatteredError("it ends within a block of an unlimited selection")
        return Region(self.start, self.stride, tuple(count), tuple(block))

    def room(self, extent: Sequence[int]) -> int:
        """Return how many elements of the open axis fit into an extent."""
        axis = self.open_axis
        if axis is None:
            return 0
        length = max(0, extent[axis] - self.start[axis])
        if self.block[axis] >= _UNLIMITED:
            return length
        whole, rest = divmod(length, self.stride[axis])
        return whole * self.block[axis] + min(rest, self.block[axis])

    def lengths(self) -> tuple[int, ...]:
        """Return how many elements are selected on each axis."""
        return tuple(count * block for count, block in zip(self.count, self.block, strict=True))

    def stop(self) -> tuple[int, ...]:
        """Return the index after the last that is selected, per axis; 0 where none is."""
        return tuple(
            start + stride * (count - 1) + block if count and block else 0
            for start, stride, count, block in zip(
                self.start, self.stride, self.count, self.block, strict=True
            )
        )

    def indices(self, axis: int) -> NDArray[np.int64]:
        """Return the selected indices of an axis, in order."""
        if self.count[axis] * self.block[axis] > MOST_INDICES:
            raise ScatteredError("one of its sources is too long to compare")
        starts = self.start[axis] + self.stride[axis] * np.arange(self.count[axis])
        return np.add.outer(starts, np.arange(self.block[axis])).reshape(-1).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Mapping:
    """One source of a virtual dataset."""

    virtual: Region
    source: Region


def sources_of(files: OpenFiles, dataset: Dataset) -> list[tuple[Mapping, Dataset]]:
    """Return each mapping of a virtual dataset with its source, opened.

    All are looked at, so that no gap is overlooked.

    Raises
    ------
    BrokenError
        A source is missing, or holds less than what is taken from it.
    ScatteredError
        Some selection is not regular.
    """
    creation = dataset.creation
    found: list[tuple[Mapping, Dataset]] = []
    known: dict[tuple[bytes, bytes], Dataset] = {}
    scattered: ScatteredError | None = None
    for index in range(creation.get_virtual_count()):
        file = _bytes(creation.get_virtual_filename(index))
        name = _bytes(creation.get_virtual_dsetname(index))
        spaces = creation.get_virtual_vspace(index), creation.get_virtual_srcspace(index)
        try:
            target = Region.of(spaces[0]) or Region.whole(dataset.extent or ())
            taken = Region.of(spaces[1])
        except ScatteredError as error:
            scattered = error
            _check_bounds(spaces[1], _source(files, dataset, file, name))
            continue
        for given, key in _numbered(target, (file, name), dataset):
            if key not in known:
                known[key] = _source(files, dataset, *key)
            try:
                mapping = _within(given, taken, _called(*key), dataset, known[key])
            except ScatteredError as error:
                scattered = error
                continue
            found.append((mapping, known[key]))
    if scattered is not None:
        raise scattered
    return found


def _source(files: OpenFiles, dataset: Dataset, file: bytes, name: bytes) -> Dataset:
    called = _called(file, name)
    try:
        base = dataset.place.file
        place = open_path(files, root_of(base if file == b"." else files.follow(file, base)), name)
    except BrokenError as broken:
        raise BrokenError(f"source {called} is missing: {broken}") from None
    if not isinstance(place.handle, h5d.DatasetID):
        raise BrokenError(f"source {called} is no dataset")
    return Dataset.of(place)


def _check_bounds(space: SpaceID, source: Dataset) -> None:
    if space.get_select_npoints() == 0:
        return
    last = space.get_select_bounds()[1]
    extent = source.extent or ()
    if len(last) != len(extent) or any(
        at >= length for at, length in zip(last, extent, strict=True)
    ):
        raise BrokenError(f"a source has shape {extent}, less than is taken from it")


def _called(file: bytes, name: bytes) -> str:
    """Return how a message calls a source; without folders."""
    return repr(f"{text_of(file).rpartition('/')[2]}:{text_of(name)}")


def _numbered(
    region: Region, names: tuple[bytes, bytes], dataset: Dataset
) -> Iterator[tuple[Region, tuple[bytes, bytes]]]:
    """Yield a mapping, or each block of one whose source names hold the pattern ``%b``."""
    axis = region.open_axis
    if b"%" not in names[0] + names[1]:
        yield region, names
        return
    if axis is None or region.block[axis] >= _UNLIMITED:
        yield region, (_named(names[0], 0), _named(names[1], 0))
        return
    length = (dataset.extent or ())[axis] - region.start[axis]
    for number in range(max(0, -(-length // region.stride[axis]))):
        start, count = list(region.start), list(region.count)
        start[axis] += number * region.stride[axis]
        count[axis] = 1
        block = Region(tuple(start), region.stride, tuple(count), region.block)
        yield block, (_named(names[0], number), _named(names[1], number))


def _named(pattern: bytes, number: int) -> bytes:
    parts = pattern.split(b"%%")
    return b"%".join(part.replace(b"%b", str(number).encode()) for part in parts)


def _bytes(name: str | bytes) -> bytes:
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name


def _within(
    given: Region, taken: Region | None, called: str, dataset: Dataset, source: Dataset
) -> Mapping:
    """End unlimited selections where source or array end, and check that all is there."""
    there, here = source.extent or (), dataset.extent or ()
    taken = taken or Region.whole(there)
    if len(taken.start) != len(there) or len(given.start) != len(here):
        raise BrokenError(f"source {called} has {len(there)} axes")
    if taken.open_axis is not None and given.open_axis is not None:
        elements = min(taken.room(there), given.room(here))
        taken, given = taken.limited(elements), given.limited(elements)
    elif taken.open_axis is not None or given.open_axis is not None:
        raise ScatteredError("an unlimited selection meets a limited one")
    short = math.prod(taken.lengths()) < math.prod(given.lengths())
    if short or any(stop > length for stop, length in zip(taken.stop(), there, strict=True)):
        raise BrokenError(f"source {called} has shape {there}, less than is taken from it")
    if any(stop > length for stop, length in zip(given.stop(), here, strict=True)):
        raise BrokenError(f"source {called} is put outside of the array")
    return Mapping(given, taken)
