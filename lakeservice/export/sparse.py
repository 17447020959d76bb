"""Sparse arrays: coordinates and values as a table, or as the two arrays of an HDF5 file."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export import arrow, table_html, table_text, xlsx
from lakeservice.export.exporter import Exporter
from lakeservice.export.hdf5_attributes import set_attributes
from lakeservice.export.hdf5_layout import Layout
from lakeservice.export.hdf5_types import stored_type
from lakeservice.export.holes import Hole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.prepared import Prepared
    from lakeservice.export.sources import SparseSource

HDF5 = "application/x-hdf5"


def prepare_hdf5(source: SparseSource) -> Prepared:
    """Return a file with the datasets ``coords``, shape (axes, values), and ``data``.

    The shape of the array is the attribute ``shape``.
    """
    count = 0
    with source.read(("data",)) as reader:
        for batch in reader:
            count += batch.num_rows
    places = np.dtype("<i8")
    values = stored_type(source.dtype)
    axes = len(source.shape)
    with Layout() as layout:
        for name, shape, dtype, blocks in (
            ("coords", (axes, count), places, functools.partial(_coordinates, source, places)),
            ("data", (count,), values.dtype, functools.partial(_values, source, values.convert)),
        ):
            size = int(np.prod(shape)) * dtype.itemsize
            layout.dataset(layout.file, name, shape, dtype, functools.partial(_hole, size, blocks))
        set_attributes(layout.file, source.metadata)
        set_attributes(layout.file, {"shape": list(source.shape), "layout": "COO"})
    return layout.prepared


def _hole(length: int, blocks: Callable[[], Iterator[np.ndarray[Any, Any]]], at: int) -> Hole:
    return Hole(at, length, blocks)


def _coordinates(source: SparseSource, dtype: np.dtype[Any]) -> Iterator[np.ndarray[Any, Any]]:
    for axis in range(len(source.shape)):
        with source.read((f"dim{axis}",)) as reader:
            for batch in reader:
                yield batch.column(0).to_numpy().astype(dtype, copy=False)


def _values(source: SparseSource, convert: Any) -> Iterator[np.ndarray[Any, Any]]:
    with source.read(("data",)) as reader:
        for batch in reader:
            yield convert(source.values(batch.column(0)))


def write_hdf5(source: SparseSource) -> Iterator[Piece]:
    """Yield that file."""
    yield from prepare_hdf5(source).pieces()


def _of_table(exporter: Exporter) -> Exporter:
    return replace(exporter, family="sparse")


EXPORTERS = (
    *map(_of_table, arrow.EXPORTERS),
    _of_table(table_text.CSV),
    *(_of_table(one) for one in table_text.CSV_BY_OTHER_NAMES),
    _of_table(table_text.JSON),
    _of_table(table_html.HTML),
    _of_table(xlsx.TABLE),
    Exporter(
        family="sparse",
        media_type=HDF5,
        names=("h5", "hdf5"),
        write=write_hdf5,
        prepare=prepare_hdf5,
    ),
)
