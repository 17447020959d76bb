"""Datasets of xarray as HDF5 and as netCDF-4, which is HDF5 with axes that have names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export.container_hdf5 import HDF5
from lakeservice.export.dataset import SPEC, attributes_of, dataset_of
from lakeservice.export.exporter import Exporter
from lakeservice.export.hdf5_attributes import set_attributes
from lakeservice.export.hdf5_layout import Layout, free_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.dataset import Dataset, Variable
    from lakeservice.export.exporter import Piece
    from lakeservice.export.prepared import Prepared
    from lakeservice.export.sources import ContainerSource

_PHANTOM = "This is a netCDF dimension but not a netCDF variable."


def prepare(container: ContainerSource) -> Prepared:
    """Return a netCDF-4 file; the numbers of its arrays are not read yet."""
    dataset = dataset_of(container)
    with Layout() as layout:
        made = {one.name: _variable(layout, one) for one in dataset.variables}
        scales = {
            dim: _scale(layout, dataset, dim, length, made) for dim, length in dataset.sizes.items()
        }
        for variable in dataset.variables:
            _describe(made[variable.name], variable, dataset, scales)
        set_attributes(layout.file, attributes_of(container))
    return layout.prepared


def _variable(layout: Layout, variable: Variable) -> Any:
    source = variable.source
    if source.dtype.kind in "US":
        # Readers of netCDF know text of any length, and none of a fixed one.
        return _text(layout, variable)
    return layout.array(layout.file, source.name, source)


def _text(layout: Layout, variable: Variable) -> Any:
    import h5py  # slow to import, and only needed once a file is written

    source = variable.source
    name = free_name(layout.file, source.name)
    made = layout.file.create_dataset(name, source.shape, dtype=h5py.string_dtype())
    if not source.shape:
        made[()] = _plain(source.read()[()])
        return made
    for row in range(source.shape[0]):
        read = source.read((slice(row, row + 1),))
        made[row : row + 1] = np.array(
            [_plain(one) for one in read.reshape(-1)], dtype=object
        ).reshape(read.shape)
    return made


def _plain(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "")


def _scale(layout: Layout, dataset: Dataset, dim: str, length: int, made: dict[str, Any]) -> Any:
    """Return the array that names an axis: its coordinate, or one without elements."""
    variable = dataset.by_name.get(dim)
    if variable is not None and variable.dims == (dim,):
        made[dim].make_scale(dim)
        return made[dim]
    name = free_name(layout.file, dim if dim not in made else f"{dim}_axis")
    scale = layout.file.create_dataset(name, (length,), dtype=">f4")
    scale.make_scale(f"{_PHANTOM}{length:10d}")
    return scale


def _describe(made: Any, variable: Variable, dataset: Dataset, scales: dict[str, Any]) -> None:
    for axis, dim in enumerate(variable.dims):
        # An array that names an axis has no other axes, and names itself.
        if made != scales[dim]:
            made.dims[axis].attach_scale(scales[dim])
    set_attributes(made, attributes_of(variable.source))
    further = dataset.coordinates_of(variable)
    if further and not variable.coordinate:
        set_attributes(made, {"coordinates": " ".join(further)})


def write(container: ContainerSource) -> Iterator[Piece]:
    """Yield a netCDF-4 file of a dataset."""
    yield from prepare(container).pieces()


def check(container: ContainerSource) -> None:
    """Refuse what is no dataset."""
    dataset_of(container)


def _exporter(media_type: str, *names: str) -> Exporter:
    return Exporter(
        family="container",
        media_type=media_type,
        names=names,
        spec=SPEC,
        write=write,
        prepare=prepare,
        check=check,
    )


EXPORTERS = (
    _exporter("application/x-netcdf", "nc", "netcdf", "nc4"),
    _exporter("application/netcdf"),
    _exporter(HDF5, "h5", "hdf5", "hdf"),
)
