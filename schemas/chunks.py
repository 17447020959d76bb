"""Where stored bytes lie and how they become an array or a table."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from schemas.structures import ArrayStructure, DataType


class Codec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a codec chain, in Zarr v3's words: a name and its configuration."""

    name: str
    configuration: dict[str, Any] = {}


class ChunkLayout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the bytes of one stored chunk become its place in an array."""

    data_type: DataType
    """Element type as stored, byte order included; the array's own type may be another order."""
    chunk_shape: tuple[int, ...]
    """Shape of a stored chunk."""
    codecs: tuple[Codec, ...] = ()
    """Chain in the order of encoding, as Zarr v3 writes it; decoding goes backwards."""
    fill_value: bytes = b""
    """One element as stored, for chunks that are absent; empty means zero bytes."""
    edge: Literal["full", "clipped"] = "full"
    """Whether a chunk over the array's end is stored whole (Zarr, HDF5) or cut (TIFF, raw)."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object or prefix that we wrote: a Zarr array or a Parquet file."""

    name: str
    """Object name (Parquet) or prefix (Zarr) below the lake's root: ``data/<id>/0``."""
    length: int
    """Rows that it adds: along the first axis, or of the table."""
    size_bytes: int | None = None
    """Stored bytes."""
    checksum: str | None = None
    """A method, a colon, hexadecimal digits: of a Parquet file ``crc32:``, of its end, where its
    metadata are with their length and magic."""
    complete: bool = False
    """Whether every chunk was written: one that is absent is a loss then, not the fill value."""
    partition: int | None = None
    """Which partition of a table, or block (C order) of sparse or ragged data, these rows are;
    None for rows that follow those before them."""
    within: tuple[int, ...] | None = None
    """Number of chunks along each axis that a Zarr array has here; one beyond is absent, or
    rewritten. None for all that its rows have."""


class ZarrParts(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="zarr", tag_field="at"
):
    """Zarr v3 arrays in the lake, one after another along the first axis, one chunk an object."""

    parts: tuple[Part, ...]
    rewritten: str | None = None
    """Object that names the chunks which were written again, and lie beside the parts."""


class Contiguous(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="contiguous", tag_field="at"
):
    """All chunks one after another in an asset, each at its full size but the last ones."""

    asset: int = 0
    offset: int
    """Bytes before the first element."""


class Indexed(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="indexed", tag_field="at"
):
    """Chunks at the byte ranges that rows of a chunk index name; a chunk without a row is fill."""

    index: str
    """Object name of the chunk index: ``data/<id>/chunks.parquet``."""
    first: int
    """First row of this array in it."""
    count: int
    """Number of rows of this array, ordered by ``chunk``."""


class Inline(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="inline", tag_field="at"
):
    """A small array whose one chunk lies in this very document."""

    payload: bytes


class ArrayStorage(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="array", tag_field="of"
):
    """Layout and location of an array's chunks."""

    layout: ChunkLayout
    location: ZarrParts | Contiguous | Indexed | Inline


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A column that lies as an array of one axis, by itself."""

    name: str
    structure: ArrayStructure
    storage: ArrayStorage


class TableStorage(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="table", tag_field="of"
):
    """Files that hold the rows of a table (or of sparse, awkward and ragged data), in order."""

    format: Literal["parquet", "arrow", "buffers"] = "parquet"
    """``buffers``: each part is a ZIP archive of Awkward's buffers, their form and length."""
    parts: tuple[Part, ...] = ()
    """Objects in the lake; empty where the table lies in assets."""
    assets: tuple[int, ...] = ()
    """Assets by number, for registered files."""
    columns: tuple[Column, ...] = ()
    """Columns of a table that has no files of its own: arrays of one length, as HDF5 groups
    hold them. Either these, or parts and assets."""


CHUNK_INDEX_COLUMNS = ("chunk", "asset", "offset", "length", "filter_mask")
"""Columns of a chunk index: int64 position in the grid (C order), int32, int64, int64, uint32."""
