"""Datasets of xarray as tables: a row for each combination of the axes, a column for each array."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lakeservice.export import arrow, table_html, table_itx, table_text, xlsx
from lakeservice.export.dataset import SPEC, dataset_of
from lakeservice.export.prepared import written_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lakeservice.export.dataset import Dataset, Variable
    from lakeservice.export.exporter import Exporter, Piece
    from lakeservice.export.sources import ContainerSource
    from schemas.entry import DataSource, Spec
    from schemas.structures import StructureFamily

Array = np.ndarray[Any, Any]
Box = dict[str, slice]
"""Part of each axis."""
ROWS = 65_536
"""Rows that are made at a time."""
HELD_BYTES = 8 << 20
"""Arrays that are no larger are read once for a table."""


class DatasetTable:
    """A dataset as a `TableSource`; rows are in the order of the axes, the last fastest.

    Coordinates of an axis come first; an axis without one has no column.
    """

    family: StructureFamily = "table"

    def __init__(self, container: ContainerSource) -> None:
        self._container = container

    @functools.cached_property
    def _dataset(self) -> Dataset:
        return dataset_of(self._container)

    @property
    def name(self) -> str:
        """Name of the container."""
        return self._container.name

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The container's metadata."""
        return self._container.metadata

    @property
    def specs(self) -> Sequence[Spec]:
        """What the container promises."""
        return self._container.specs

    @property
    def options(self) -> Mapping[str, str]:
        """Options of the request."""
        return self._container.options

    @property
    def data_sources(self) -> Sequence[DataSource]:
        """None: the rows do not lie anywhere."""
        return ()

    @property
    def problem(self) -> str | None:
        """Why it cannot be read; None where it can."""
        return self._container.problem

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader, of all or of some of the columns."""
        chosen = self._chosen(columns)
        schema = pa.schema([(one.name, _column(_nothing(one)).type) for one in chosen])
        return pa.RecordBatchReader.from_batches(schema, self._batches(chosen, schema))

    def _chosen(self, columns: tuple[str, ...] | None) -> list[Variable]:
        known = self._dataset.by_name
        if columns is not None:
            return [known[name] for name in columns]
        axes = [known[dim] for dim in self._dataset.sizes if dim in known]
        return axes + [
            one for one in self._dataset.variables if one.name not in self._dataset.sizes
        ]

    def _batches(self, chosen: Sequence[Variable], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        sizes = self._dataset.sizes
        held: dict[str, Array] = {}
        for box in _boxes(sizes):
            columns = [_column(_values(one, box, held)) for one in chosen]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _boxes(sizes: Mapping[str, int]) -> Iterator[Box]:
    """Yield parts of the whole, in order, of a bounded number of elements each."""
    lengths = list(sizes.values())
    if 0 in lengths or not lengths:
        return
    level = 0
    while level < len(lengths) - 1 and math.prod(lengths[level + 1 :]) > ROWS:
        level += 1
    step = max(1, ROWS // math.prod(lengths[level + 1 :]))
    for above in np.ndindex(*lengths[:level]):
        for start in range(0, lengths[level], step):
            here = [slice(one, one + 1) for one in above]
            here.append(slice(start, min(start + step, lengths[level])))
            here += [slice(0, length) for length in lengths[level + 1 :]]
            yield dict(zip(sizes, here, strict=True))


def _values(variable: Variable, box: Box, held: dict[str, Array]) -> Array:
    """Return the elements of an array for every row of a box."""
    source = variable.source
    index = tuple(box[dim] for dim in variable.dims)
    if math.prod(source.shape) * source.dtype.itemsize <= HELD_BYTES:
        if variable.name not in held:
            held[variable.name] = source.read()
        part = held[variable.name][index]
    else:
        part = source.read(index)
    # Its axes in the order of the table's, then once for each row.
    order = sorted(range(part.ndim), key=lambda axis: list(box).index(variable.dims[axis]))
    shape = [(one.stop - one.start) if dim in variable.dims else 1 for dim, one in box.items()]
    whole = [one.stop - one.start for one in box.values()]
    return np.broadcast_to(part.transpose(order).reshape(shape), whole).reshape(-1)


def _nothing(variable: Variable) -> Array:
    return np.empty(0, variable.source.dtype)


def _column(values: Array) -> pa.Array:
    """Return elements as a column of Arrow."""
    kind = values.dtype.kind
    if kind == "U":
        return pa.array(values.tolist(), pa.string())
    if kind == "S":
        return pa.array([one.decode("utf-8", "replace") for one in values.tolist()], pa.string())
    if kind == "c":
        parts = [_column(values.real), _column(values.imag)]
        return pa.StructArray.from_arrays(parts, names=["real", "imag"])
    if values.dtype.names:
        parts = [_column(values[name]) for name in values.dtype.names]
        return pa.StructArray.from_arrays(parts, names=list(values.dtype.names))
    if kind in "mM":
        unit = np.datetime_data(values.dtype)
        fine = unit[1] == 1 and unit[0] in ("s", "ms", "us", "ns")
        values = values if fine else values.astype(f"{kind}8[ns]")
    if values.dtype == np.longdouble:
        values = values.astype(np.float64)
    return pa.array(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("="), copy=False))


def _of_dataset(exporter: Exporter) -> Exporter:
    """Return the exporter that writes a dataset as another writes a table."""

    def write(container: ContainerSource) -> Iterator[Piece]:
        return exporter.write(DatasetTable(container))

    def check(container: ContainerSource) -> None:
        exporter.check(DatasetTable(container))

    return dataclasses.replace(
        exporter,
        family="container",
        spec=SPEC,
        write=write,
        check=check,
        prepare=None if exporter.prepare is None else lambda one: written_out(write(one)),
    )


EXPORTERS = tuple(
    map(
        _of_dataset,
        (
            *arrow.EXPORTERS,
            table_text.CSV,
            *table_text.CSV_BY_OTHER_NAMES,
            table_text.JSON,
            table_text.JSON_SEQ,
            table_text.JSON_LINES,
            table_html.HTML,
            table_itx.ITX,
            xlsx.TABLE,
        ),
    )
)
