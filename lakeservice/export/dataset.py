"""Containers that promise to be an xarray dataset: variables, coordinates, and axes with names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakeservice.export.sources import ArraySource, ContainerSource, Source

SPEC = "xarray_dataset"


@dataclass(frozen=True)
class Variable:
    """One array of a dataset."""

    source: ArraySource
    dims: tuple[str, ...]
    coordinate: bool

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.source.name


@dataclass(frozen=True)
class Dataset:
    """The arrays of a dataset: data first, then coordinates, each in the container's order."""

    variables: Sequence[Variable]
    sizes: Mapping[str, int]
    """Lengths of the axes, in the order in which the arrays name them."""

    @property
    def by_name(self) -> dict[str, Variable]:
        """The arrays by their names."""
        return {variable.name: variable for variable in self.variables}

    def coordinates_of(self, variable: Variable) -> list[str]:
        """Return the coordinates that belong to an array and are not its axes."""
        return [
            one.name
            for one in self.variables
            if one.coordinate and one.name not in self.sizes and set(one.dims) <= set(variable.dims)
        ]


def dataset_of(container: ContainerSource) -> Dataset:
    """Return the dataset that a container holds.

    Axes that nobody named are called after their length and array.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``: axes of one name and two lengths.
    """
    variables = [
        _variable(child)
        for child in container.children()
        if child.family == "array" and child.problem is None
    ]
    variables.sort(key=lambda variable: variable.coordinate)
    sizes: dict[str, int] = {}
    for variable in variables:
        for dim, length in zip(variable.dims, variable.source.shape, strict=True):
            if sizes.setdefault(dim, length) != length:
                raise InvalidRequestError(
                    ErrorKind.UNKNOWN_FORMAT,
                    f"this is no dataset: the axis {dim!r} has {sizes[dim]} elements, "
                    f"and {length} in {variable.name!r}; ask for its arrays one by one",
                )
    return Dataset(variables, sizes)


def _variable(child: Any) -> Variable:
    dims = child.dims
    if dims is None or len(set(dims)) != len(dims):
        dims = tuple(f"{child.name}_{axis}" for axis in range(len(child.shape)))
    coordinate = any(spec.name == "xarray_coord" for spec in child.specs)
    return Variable(child, tuple(dims), coordinate)


def attributes_of(source: Source) -> Mapping[str, Any]:
    """Return the attributes of a dataset or one of its arrays, as xarray has them."""
    attrs = source.metadata.get("attrs")
    return attrs if isinstance(attrs, dict) else source.metadata
