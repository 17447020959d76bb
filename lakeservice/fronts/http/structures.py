"""Structures in Tiled's JSON form, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import (
    ArrayStructure,
    AwkwardStructure,
    BytesStructure,
    ContainerStructure,
    DataType,
    Endianness,
    Field,
    Kind,
    RaggedStructure,
    SparseStructure,
    Structure,
    TableStructure,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.structures import Chunks


def structure_document(
    structure: Structure, *, count: int | None = None, partitions: int | None = None
) -> dict[str, Any]:
    """Return a structure as Tiled's clients read it.

    Parameters
    ----------
    count
        Number of children, for a container.
    partitions
        Number of partitions to tell of a table; None for its own.
    """
    match structure:
        case ArrayStructure():
            return _array_document(structure)
        case TableStructure():
            return {
                "arrow_schema": structure.arrow_schema,
                "npartitions": structure.npartitions if partitions is None else partitions,
                "columns": shown_columns(structure),
                "resizable": False,
            }
        case SparseStructure():
            return {
                **_array_document(structure),
                "coord_data_type": data_type_document(structure.coord_data_type),
                "layout": structure.layout,
            }
        case AwkwardStructure():
            return {"length": structure.length, "form": structure.form}
        case RaggedStructure():
            return {
                "data_type": data_type_document(structure.data_type),
                "shape": list(structure.shape),
                "size": structure.size,
                "chunks": [
                    None if length is None or sizes is None else _written_out(length, sizes)
                    for length, sizes in zip(structure.shape, structure.chunks, strict=True)
                ],
                "dims": None if structure.dims is None else list(structure.dims),
                "resizable": False,
            }
        case ContainerStructure():
            return {"contents": None, "count": count}
        case BytesStructure():
            return {}


def _array_document(structure: ArrayStructure | SparseStructure) -> dict[str, Any]:
    grid = told_blocks(structure) if isinstance(structure, ArrayStructure) else structure.chunks
    # Tiled's Python client refuses an array that says it is resizable.
    return {
        "data_type": data_type_document(structure.data_type),
        "chunks": [
            _written_out(length, sizes) for length, sizes in zip(structure.shape, grid, strict=True)
        ],
        "shape": list(structure.shape),
        "dims": None if structure.dims is None else list(structure.dims),
        "resizable": False,
    }


def told_blocks(structure: ArrayStructure) -> Chunks:
    """Return the grid in which clients count blocks: that of the writer, or of the chunks."""
    return structure.chunks if structure.blocks is None else structure.blocks


def _written_out(length: int, sizes: int | tuple[int, ...]) -> list[int]:
    if isinstance(sizes, tuple):
        return list(sizes)
    if length == 0:
        return [0]
    whole, rest = divmod(length, sizes)
    return [sizes] * whole + ([rest] if rest else [])


def shown_columns(structure: TableStructure) -> list[str]:
    """Return the columns that Tiled's clients are told of.

    They refuse a whole table for a column whose name begins with an underscore, as an
    index of pandas does; the Arrow schema and the data have all columns.
    """
    return [column for column in structure.columns if not column.startswith("_")]


def data_type_document(data_type: DataType) -> dict[str, Any]:
    """Return a dtype as Tiled's clients read it; records are packed."""
    if data_type.fields:
        return {
            "itemsize": data_type.packed().itemsize,
            "fields": [
                {
                    "name": field.name,
                    "dtype": data_type_document(field.dtype),
                    "shape": list(field.shape) or None,
                }
                for field in data_type.fields
            ],
        }
    return {
        "endianness": data_type.endianness,
        "kind": data_type.kind,
        "itemsize": data_type.itemsize,
        "dt_units": f"[{data_type.dt_units}]" if data_type.dt_units else None,
    }


class _DataType(msgspec.Struct):
    itemsize: int
    kind: Kind = "V"
    endianness: Endianness = "not_applicable"
    dt_units: str | None = None
    fields: list[_Field] | None = None

    def read(self) -> DataType:
        if self.fields is not None and not self.fields:
            raise _bad("a record needs at least one field")
        units = (self.dt_units or "").strip("[]")
        data_type = DataType(
            kind=self.kind,
            itemsize=self.itemsize,
            endianness=self.endianness,
            dt_units=units or None,
            fields=tuple(
                Field(name=field.name, dtype=field.dtype.read(), shape=tuple(field.shape or ()))
                for field in self.fields or ()
            ),
        )
        return data_type.packed()


class _Field(msgspec.Struct):
    name: str
    dtype: _DataType
    shape: list[int] | None = None


class _Array(msgspec.Struct):
    data_type: _DataType
    shape: list[int]
    chunks: list[list[int]]
    dims: list[str] | None = None
    resizable: Any = False

    def read(self) -> ArrayStructure:
        structure = ArrayStructure(
            data_type=self.data_type.read(),
            shape=tuple(self.shape),
            chunks=_read_chunks(self.chunks, self.shape),
            dims=None if self.dims is None else tuple(self.dims),
            resizable=bool(self.resizable),
        )
        structure.check()
        return structure


class _Sparse(_Array):
    coord_data_type: _DataType | None = None
    layout: str = "COO"

    def read_sparse(self) -> SparseStructure:
        if self.layout != "COO":
            raise _bad(f"sparse arrays of layout {self.layout[:40]!r}; only COO is known")
        dense = self.read()
        coordinates: dict[str, Any] = {}
        if self.coord_data_type is not None:
            coordinates["coord_data_type"] = self.coord_data_type.read()
        return SparseStructure(
            data_type=dense.data_type,
            shape=dense.shape,
            chunks=dense.chunks,
            dims=dense.dims,
            **coordinates,
        )


class _Table(msgspec.Struct):
    arrow_schema: str
    columns: list[str]
    npartitions: int = 1
    resizable: Any = False

    def read(self) -> TableStructure:
        structure = TableStructure(
            arrow_schema=self.arrow_schema,
            columns=(),
            npartitions=self.npartitions,
            resizable=bool(self.resizable),
        )
        names = structure.to_arrow().names
        missing = [name for name in self.columns if name not in names]
        if missing:
            raise _bad(f"columns {missing[:5]} are not in the Arrow schema")
        if not 1 <= self.npartitions <= MAX_PARTITIONS:
            raise _bad(
                f"{self.npartitions} partitions; between 1 and {MAX_PARTITIONS} are possible"
            )
        # Clients leave the index of pandas out of their list; it is a column all the same.
        return msgspec.structs.replace(structure, columns=tuple(names))


class _Awkward(msgspec.Struct):
    length: int
    form: dict[str, Any]


class _Ragged(msgspec.Struct):
    data_type: _DataType
    shape: list[int | None]
    size: int
    chunks: list[list[int] | None]
    dims: list[str] | None = None
    resizable: Any = False


MAX_PARTITIONS = 1_000_000
"""Most partitions of one table."""


def read_structure(family: str, document: Any) -> Structure:
    """Return the structure that a client describes.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``: it is not of that form, or contradicts itself.
    """
    try:
        match family:
            case "array":
                return msgspec.convert(document, _Array).read()
            case "table":
                return msgspec.convert(document, _Table).read()
            case "sparse":
                return msgspec.convert(document, _Sparse).read_sparse()
            case "awkward":
                awkward = msgspec.convert(document, _Awkward)
                return AwkwardStructure(length=awkward.length, form=awkward.form)
            case "ragged":
                ragged = msgspec.convert(document, _Ragged)
                return RaggedStructure(
                    data_type=ragged.data_type.read(),
                    shape=tuple(ragged.shape),
                    size=ragged.size,
                    chunks=tuple(None if c is None else tuple(c) for c in ragged.chunks),
                    dims=None if ragged.dims is None else tuple(ragged.dims),
                )
            case "container":
                return ContainerStructure()
            case "bytes":
                return BytesStructure()
    except msgspec.ValidationError as error:
        raise _bad(f"this is not the structure of a {family}: {error}") from None
    raise _bad(f"no structure family {family[:40]!r}")


def _read_chunks(written: Sequence[Sequence[int]], shape: Sequence[int]) -> Chunks:
    """Return chunk sizes in their short form where they are regular."""
    if len(written) != len(shape):
        raise _bad(f"chunks for {len(written)} axes, but shape {tuple(shape)}")
    chunks: list[int | tuple[int, ...]] = []
    for axis, (length, sizes) in enumerate(zip(shape, written, strict=True)):
        if sum(sizes) != length:
            raise _bad(f"chunks on axis {axis} add up to {sum(sizes)}, not to {length}")
        regular = bool(sizes) and all(size == sizes[0] for size in sizes[:-1])
        if regular and 0 <= sizes[-1] <= sizes[0]:
            chunks.append(max(1, sizes[0]))
        else:
            chunks.append(tuple(sizes))
    return tuple(chunks)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_STRUCTURE, message)
