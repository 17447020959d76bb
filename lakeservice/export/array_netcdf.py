"""Arrays as NetCDF-4 files: HDF5 with named dimensions, as the netCDF library lays them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export.exporter import Exporter
from lakeservice.export.hdf5_attributes import set_attributes
from lakeservice.export.hdf5_layout import Layout
from lakeservice.export.holes import Hole
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.prepared import Prepared
    from lakeservice.export.sources import ArraySource

NETCDF = "application/x-netcdf"
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable.%10d"
_RESERVED = frozenset({"_FillValue", "CLASS", "DIMENSION_LIST", "NAME", "REFERENCE_LIST"})


def prepare(source: ArraySource) -> Prepared:
    """Return a file with the array as its one variable, with its metadata as attributes."""
    with Layout() as layout:
        names = dimension_names(source)
        scales = dimensions(layout.file, dict(zip(names, source.shape, strict=True)))
        taken = {*names, ""}
        name = next(one for one in (source.name, "data", "values", "array") if one not in taken)
        dataset = variable(layout, name, source)
        for axis, one in enumerate(names):
            dataset.dims[axis].attach_scale(scales[one])
        kept = {key: value for key, value in source.metadata.items() if key not in _RESERVED}
        set_attributes(dataset, kept)
    return layout.prepared


def dimension_names(source: ArraySource) -> list[str]:
    """Return a name for each axis, none twice."""
    names: list[str] = []
    for axis, told in enumerate(source.dims or [""] * len(source.shape)):
        name = told.replace("/", "_").replace("\0", "_")
        # To HDF5 a dot is the group itself.
        name = name if name.strip(".") else f"dim_{axis}"
        while name in names:
            name += f"_{axis}"
        names.append(name)
    return names


def dimensions(group: Any, lengths: dict[str, int]) -> dict[str, Any]:
    """Return new dimensions without values of their own, by name."""
    made = {}
    for number, (name, length) in enumerate(lengths.items()):
        scale = group.create_dataset(name, (length,), dtype=">f4")
        scale.make_scale(_NO_VARIABLE % length)
        scale.attrs["_Netcdf4Dimid"] = np.int32(number)
        made[name] = scale
    return made


def variable(layout: Layout, name: str, source: ArraySource) -> Any:
    """Return a new variable that holds an array; truth values are bytes, as xarray has them."""
    dtype = source.dtype
    if dtype.kind == "b" or dtype == np.float16:
        kind = np.dtype("i1") if dtype.kind == "b" else np.dtype("<f4")
        length = int(np.prod(source.shape, dtype=np.int64)) * kind.itemsize
        dataset = layout.dataset(
            layout.file,
            name,
            source.shape,
            kind,
            lambda at: Hole(at, length, lambda: (one.astype(kind) for one in source.blocks())),
        )
        set_attributes(dataset, {"dtype": "bool"} if dtype.kind == "b" else {})
        return dataset
    return layout.array(layout.file, name, source)


def write(source: ArraySource) -> Iterator[Piece]:
    """Yield a NetCDF file of an array."""
    yield from prepare(source).pieces()


def check(source: ArraySource) -> None:
    """Refuse what NetCDF has no type for.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``.
    """
    dtype = source.dtype
    if dtype.names or dtype.kind not in "biufSUmM" or (dtype.kind == "f" and dtype.itemsize > 8):
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT, f"NetCDF has no type for {dtype}; choose HDF5, or NPY"
        )
    if 0 in source.shape:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"a dimension of NetCDF holds at least one value; the shape is {tuple(source.shape)}",
        )


NETCDF_ARRAY = Exporter(
    family="array",
    media_type=NETCDF,
    names=("nc", "netcdf", "nc4"),
    write=write,
    prepare=prepare,
    check=check,
)
