"""Structures: what the data of a node looks like, before a byte of it is read."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["b", "i", "u", "f", "c", "m", "M", "S", "U", "V", "t", "O"]
Endianness = Literal["little", "big", "not_applicable"]
StructureFamily = Literal["array", "table", "sparse", "awkward", "ragged", "container", "bytes"]
FAMILIES: tuple[StructureFamily, ...] = (
    "array",
    "table",
    "sparse",
    "awkward",
    "ragged",
    "container",
    "bytes",
)
ARROW_SCHEMA_PREFIX = "data:application/vnd.apache.arrow.file;base64,"
MAX_CHUNKS_PER_AXIS = 1 << 24
"""Most chunks on one axis: clients are sent the list of their sizes."""
_ENDIAN_OF_ORDER: dict[str, Endianness] = {"<": "little", ">": "big", "|": "not_applicable"}


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of a structured dtype."""

    name: str
    dtype: DataType
    shape: tuple[int, ...] = ()
    """Shape of the sub-array that the field holds; empty for a scalar."""
    offset: int | None = None
    """Byte offset in the record; None where the record is packed."""


class DataType(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A NumPy dtype in words that any language can read."""

    kind: Kind
    itemsize: int
    """Bytes of one element."""
    endianness: Endianness = "not_applicable"
    dt_units: str | None = None
    """Unit of datetime64 and timedelta64, as NumPy writes it: ``ns``, ``25s``."""
    fields: tuple[Field, ...] = ()
    """Fields of a structured dtype (kind ``V``); empty otherwise."""

    @classmethod
    def from_numpy(cls, dtype: np.dtype[Any]) -> DataType:
        """Describe a NumPy dtype.

        Raises
        ------
        InvalidRequestError
            ``bad-structure``: Python objects or strings of variable length, which
            have no defined bytes.
        """
        if dtype.kind == "O" or dtype.kind == "T":
            raise _bad(
                "arrays of Python objects or variable-length strings have no defined bytes; "
                "convert to numbers, fixed-length strings or an awkward array",
            )
        if dtype.names is not None and dtype.fields is not None:
            packed, fields = 0, []
            for name in dtype.names:
                base, offset = dtype.fields[name][:2]
                fields.append((name, base, offset))
                packed += base.itemsize
            contiguous = packed == dtype.itemsize and all(
                offset == sum(other[1].itemsize for other in fields[:index])
                for index, (_, _, offset) in enumerate(fields)
            )
            return cls(
                kind="V",
                itemsize=dtype.itemsize,
                fields=tuple(
                    Field(
                        name=name,
                        dtype=cls.from_numpy(base.base),
                        shape=tuple(base.shape),
                        offset=None if contiguous else offset,
                    )
                    for name, base, offset in fields
                ),
            )
        order = dtype.byteorder
        if order == "=":
            order = "<" if np.little_endian else ">"
        units = None
        if dtype.kind in "mM":
            unit, step = np.datetime_data(dtype)
            units = unit if step == 1 else f"{step}{unit}"
        kind: Kind = dtype.kind
        return cls(
            kind=kind,
            itemsize=dtype.itemsize,
            endianness=_ENDIAN_OF_ORDER[order],
            dt_units=units,
        )

    def packed(self) -> DataType:
        """Return a record without gaps between its fields; what is no record stays as it is."""
        if not self.fields:
            return self
        fields = tuple(
            msgspec.structs.replace(field, dtype=field.dtype.packed(), offset=None)
            for field in self.fields
        )
        size = sum(field.dtype.itemsize * math.prod(field.shape) for field in fields)
        return msgspec.structs.replace(self, fields=fields, itemsize=size)

    def to_numpy(self) -> np.dtype[Any]:
        """Return the NumPy dtype.

        Raises
        ------
        InvalidRequestError
            ``bad-structure``: no NumPy dtype has this kind and size.
        """
        try:
            return _numpy_dtype(self)
        except (TypeError, ValueError, OverflowError):
            raise InvalidRequestError(
                ErrorKind.BAD_STRUCTURE,
                f"no NumPy dtype has kind {self.kind!r}, {self.itemsize} bytes an element and "
                f"unit {self.dt_units!r}",
            ) from None


def _numpy_dtype(data_type: DataType) -> np.dtype[Any]:
    if data_type.fields:
        offset, offsets, formats = 0, [], []
        for field in data_type.fields:
            formats.append((_numpy_dtype(field.dtype), field.shape))
            offsets.append(offset if field.offset is None else field.offset)
            offset = offsets[-1] + field.dtype.itemsize * math.prod(field.shape)
        record: Any = {
            "names": [field.name for field in data_type.fields],
            "formats": formats,
            "offsets": offsets,
            "itemsize": data_type.itemsize,
        }
        structured: np.dtype[Any] = np.dtype(record)
        return structured
    if data_type.kind == "O":
        raise TypeError
    order = ">" if data_type.endianness == "big" else "<"
    size = data_type.itemsize // 4 if data_type.kind == "U" else data_type.itemsize
    unit = f"[{data_type.dt_units}]" if data_type.kind in "mM" and data_type.dt_units else ""
    dtype: np.dtype[Any] = np.dtype(f"{order}{data_type.kind}{size}{unit}")
    if dtype.itemsize != data_type.itemsize:
        raise ValueError
    return dtype


Chunks = tuple[int | tuple[int, ...], ...]
"""Per axis: one size (regular, the last chunk is cut at the end) or every size (irregular)."""


class ArrayStructure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="array", tag_field="family"
):
    """A dense N-dimensional array, C order, on a grid of chunks."""

    data_type: DataType
    shape: tuple[int, ...]
    chunks: Chunks
    dims: tuple[str, ...] | None = None
    """Names of the axes, slowest first; None where nobody named them."""
    resizable: bool = False
    blocks: Chunks | None = None
    """Grid in which its writer counts blocks, where chunks of one size are stored and the
    writer has others; None where it is the grid of chunks."""

    @classmethod
    def from_numpy(
        cls,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: Chunks | None = None,
        dims: tuple[str, ...] | None = None,
    ) -> ArrayStructure:
        """Describe an array of this shape and dtype; chunks default to one whole chunk."""
        whole: Chunks = tuple(max(1, n) for n in shape)
        structure = cls(
            data_type=DataType.from_numpy(dtype),
            shape=tuple(int(n) for n in shape),
            chunks=whole if chunks is None else chunks,
            dims=dims,
        )
        structure.check()
        return structure

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of an element."""
        return self.data_type.to_numpy()

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole array, decoded."""
        return math.prod(self.shape) * self.data_type.itemsize

    def explicit_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Return every chunk size on every axis; an axis of length 0 has one chunk of 0."""
        return tuple(
            sizes if isinstance(sizes, tuple) else _cut(length, sizes)
            for length, sizes in zip(self.shape, self.chunks, strict=True)
        )

    def check(self) -> None:
        """Refuse a structure that contradicts itself.

        Raises
        ------
        InvalidRequestError
            ``bad-structure``: negative lengths, a chunk grid that does not cover
            the shape or is finer than `MAX_CHUNKS_PER_AXIS`, more than 2**63 bytes,
            dims that do not name every axis, or an impossible dtype.
        """
        self.data_type.to_numpy()
        if any(length < 0 for length in self.shape):
            raise _bad(f"shape {self.shape} holds a negative length")
        if len(self.shape) > 32:
            raise _bad(f"an array of {len(self.shape)} axes; at most 32 are possible")
        if len(self.chunks) != len(self.shape):
            raise _bad(f"chunks for {len(self.chunks)} axes, but shape {self.shape}")
        if self.dims is not None and len(self.dims) != len(self.shape):
            raise _bad(f"dims {self.dims} name {len(self.dims)} axes of shape {self.shape}")
        for axis, (length, sizes) in enumerate(zip(self.shape, self.chunks, strict=True)):
            if isinstance(sizes, int):
                if sizes < 1:
                    raise _bad(f"chunk size {sizes} on axis {axis}; at least 1 is needed")
                if length > sizes * MAX_CHUNKS_PER_AXIS:
                    raise _bad(
                        f"{-(-length // sizes)} chunks on axis {axis}; "
                        f"at most {MAX_CHUNKS_PER_AXIS} are possible"
                    )
            elif sum(sizes) != length or any(n < 0 for n in sizes):
                raise _bad(f"chunks on axis {axis} add up to {sum(sizes)}, not to {length}")
        if self.blocks is not None:
            msgspec.structs.replace(self, chunks=self.blocks, blocks=None).check()
        if self.size_bytes >= 1 << 63:
            raise _bad(f"an array of shape {self.shape} has more than 2**63 bytes")


def _cut(length: int, size: int) -> tuple[int, ...]:
    if length == 0:
        return (0,)
    whole, rest = divmod(length, size)
    return (size,) * whole + ((rest,) if rest else ())


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_STRUCTURE, message)


class TableStructure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="table", tag_field="family"
):
    """Rows with named, typed columns, stored in partitions."""

    arrow_schema: str
    """The Arrow schema, serialised, as a data URI (`ARROW_SCHEMA_PREFIX` and base64)."""
    columns: tuple[str, ...]
    npartitions: int = 1
    rows: int | None = None
    """Number of rows; None where it is not known without reading."""
    resizable: bool = False

    @classmethod
    def from_arrow(
        cls, schema: pa.Schema, *, npartitions: int = 1, rows: int | None = None
    ) -> TableStructure:
        """Describe a table with this Arrow schema."""
        return cls(
            arrow_schema=ARROW_SCHEMA_PREFIX
            + base64.b64encode(schema.serialize().to_pybytes()).decode(),
            columns=tuple(schema.names),
            npartitions=npartitions,
            rows=rows,
        )

    def to_arrow(self) -> pa.Schema:
        """Return the Arrow schema.

        Raises
        ------
        InvalidRequestError
            ``bad-structure``: not a data URI of a serialised Arrow schema.
        """
        import pyarrow as pa  # heavy (60 ms); array clients and query parsing do without it

        if not self.arrow_schema.startswith(ARROW_SCHEMA_PREFIX):
            raise _bad(f"arrow_schema must start with {ARROW_SCHEMA_PREFIX!r}")
        try:
            payload = base64.b64decode(self.arrow_schema[len(ARROW_SCHEMA_PREFIX) :], validate=True)
            return pa.ipc.read_schema(pa.py_buffer(payload))
        except (ValueError, OSError, pa.ArrowException):
            raise _bad("arrow_schema does not decode to an Arrow schema") from None


class SparseStructure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="sparse", tag_field="family"
):
    """A sparse array in COO layout: coordinates and values of what is not zero."""

    data_type: DataType
    shape: tuple[int, ...]
    chunks: Chunks
    coord_data_type: DataType = DataType(kind="u", itemsize=8, endianness="little")
    dims: tuple[str, ...] | None = None
    layout: Literal["COO"] = "COO"
    resizable: bool = False


class AwkwardStructure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="awkward", tag_field="family"
):
    """Nested data of variable length, as Awkward Array describes it."""

    length: int
    form: dict[str, Any]
    """Awkward's form, as a JSON object."""


class RaggedStructure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="ragged", tag_field="family"
):
    """An array with axes of variable length."""

    data_type: DataType
    shape: tuple[int | None, ...]
    """Length of each axis; None where it varies."""
    size: int
    """Number of elements in all."""
    chunks: tuple[int | tuple[int, ...] | None, ...]
    dims: tuple[str, ...] | None = None
    resizable: bool = False


class ContainerStructure(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="container",
    tag_field="family",
):
    """A node that holds other nodes."""


class BytesStructure(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="bytes", tag_field="family"
):
    """A file as it is, not taken apart."""

    size_bytes: int | None = None


Structure = (
    ArrayStructure
    | TableStructure
    | SparseStructure
    | AwkwardStructure
    | RaggedStructure
    | ContainerStructure
    | BytesStructure
)


def family_of(structure: Structure) -> StructureFamily:
    """Return the structure family, the word that clients and queries use."""
    tag: Any = type(structure).__struct_config__.tag
    family: StructureFamily = tag
    return family
