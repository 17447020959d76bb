"""An HDF5 file that is all there but for its elements, which are read when they are sent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

from lakeservice.export.elements import array_hole
from lakeservice.export.hdf5_attributes import set_attributes
from lakeservice.export.hdf5_types import stored_type
from lakeservice.export.holes import Hole
from lakeservice.export.prepared import Prepared, Scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from lakeservice.export.hdf5_columns import Column
    from lakeservice.export.sources import ArraySource, TableSource


class Layout:
    """Groups, datasets and attributes of a file, and where its elements come from.

    Used as a context; when it ends without an error, `prepared` is the file.
    """

    def __init__(self) -> None:
        import h5py  # slow to import, and only needed once a file is written

        self._h5py = h5py
        self._scratch = Scratch()
        self._holes: list[Hole] = []
        self.file = h5py.File(self._scratch.path, "w", track_order=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.file.close()
        if kind is not None:
            self._scratch.close()

    @property
    def prepared(self) -> Prepared:
        """The file, once this context has ended."""
        return Prepared(self._scratch, self._scratch.size, tuple(self._holes))

    def group(self, above: Any, name: str) -> Any:
        """Return a new group, which keeps the order of what is put into it."""
        return above.create_group(free_name(above, name), track_order=True)

    def array(self, above: Any, name: str, source: ArraySource) -> Any:
        """Return a new dataset that holds an array, with its metadata as attributes."""
        stored = stored_type(source.dtype)
        if stored.dtype == source.dtype:
            dataset = self.dataset(
                above, name, source.shape, stored.dtype, lambda at: array_hole(source, at)
            )
        else:
            dataset = self.dataset(
                above,
                name,
                source.shape,
                stored.dtype,
                lambda at: Hole(
                    at,
                    math.prod(source.shape) * stored.dtype.itemsize,
                    lambda: map(stored.convert, source.blocks()),
                ),
            )
        set_attributes(dataset, stored.attributes)
        return dataset

    def column(self, above: Any, column: Column, source: TableSource) -> Any:
        """Return a new dataset that holds a column of a table."""
        shape = (column.rows, *column.shape)
        if column.loose:
            return self._loose(above, column, source)
        dataset = self.dataset(
            above,
            column.name,
            shape,
            column.stored.dtype,
            lambda at: Hole(
                at,
                math.prod(shape) * column.stored.dtype.itemsize,
                lambda: column.arrays(source),
            ),
        )
        set_attributes(dataset, column.stored.attributes)
        return dataset

    def _loose(self, above: Any, column: Column, source: TableSource) -> Any:
        """Write text of very different lengths at once: where it lies cannot be known before."""
        name = free_name(above, column.name)
        dataset = above.create_dataset(name, (column.rows,), dtype=column.stored.dtype)
        row = 0
        for texts in column.texts(source):
            dataset[row : row + len(texts)] = [text.replace("\0", "") for text in texts]
            row += len(texts)
        return dataset

    def dataset(
        self,
        above: Any,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        hole: Callable[[int], Hole],
    ) -> Any:
        """Return a new dataset whose elements fill one range of the file.

        Parameters
        ----------
        dtype
            As h5py names it.
        hole
            From the position of the elements in the file to where they come from.
        """
        h5 = self._h5py
        how = h5.h5p.create(h5.h5p.DATASET_CREATE)
        how.set_layout(h5.h5d.CONTIGUOUS)
        how.set_alloc_time(h5.h5d.ALLOC_TIME_EARLY)
        how.set_fill_time(h5.h5d.FILL_TIME_NEVER)
        # The same data give the same bytes: ranges of two answers fit together.
        how.set_obj_track_times(False)
        how.set_attr_creation_order(h5.h5p.CRT_ORDER_TRACKED | h5.h5p.CRT_ORDER_INDEXED)
        kind = h5.h5t.py_create(dtype, logical=True)
        space = h5.h5s.create_simple(shape) if shape else h5.h5s.create(h5.h5s.SCALAR)
        made = h5.h5d.create(above.id, free_name(above, name).encode(), kind, space, how)
        if math.prod(shape):
            self._holes.append(hole(made.get_offset()))
        return h5.Dataset(made)


def free_name(above: Any, name: str) -> str:
    """Return a name that HDF5 accepts and that is free: there, a dot is the group itself."""
    link = name.replace("/", "_").replace("\0", "_")
    if not link.strip("."):
        link += "_"
    while link in above:
        link += "_"
    return link
