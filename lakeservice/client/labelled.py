"""Arrays with labels, for xarray: read when a value is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from lakeservice.client.array import Array

if TYPE_CHECKING:
    from lakeservice.client.container import Container


class LazyValues(BackendArray):  # type: ignore[misc]
    """An array of the lake behind xarray's indexing; not read before it is used."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        return self.array.read(key)


def data_array(array: Array) -> xr.DataArray:
    """Return a `DataArray` whose values are read when they are used.

    Axes without names are called ``dim_0``, ``dim_1``…; metadata becomes attributes.
    """
    dims = array.dims or tuple(f"dim_{number}" for number in range(array.ndim))
    variable = xr.Variable(dims, indexing.LazilyIndexedArray(LazyValues(array)))
    return xr.DataArray(variable, name=array.name or None, attrs=dict(array.metadata))


def dataset(container: Container) -> xr.Dataset:
    """Return the arrays directly below a container as a `Dataset`, read when they are used.

    An axis without a name, or with a name that another array uses for another
    length, is called ``<array>_dim_0``, ``<array>_dim_1``….
    """
    variables: dict[str, xr.Variable] = {}
    lengths: dict[str, int] = {}
    for name, node in container.items():
        if not isinstance(node, Array):
            continue
        given = node.dims or (None,) * node.ndim
        dims = [
            dim if dim is not None and lengths.get(dim, length) == length else f"{name}_dim_{axis}"
            for axis, (dim, length) in enumerate(zip(given, node.shape, strict=True))
        ]
        lengths.update(zip(dims, node.shape, strict=True))
        lazily = indexing.LazilyIndexedArray(LazyValues(node))
        variables[name] = xr.Variable(dims, lazily, dict(node.metadata))
    return xr.Dataset(variables, attrs=dict(container.metadata))
