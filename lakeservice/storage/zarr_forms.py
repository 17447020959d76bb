"""How an array looks to a Zarr reader: a regular grid, and codecs that Zarr libraries have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from lakeservice.codecs.defaults import default_codecs
from schemas.chunks import ChunkLayout, Codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.chunks import ArrayStorage
    from schemas.structures import ArrayStructure

Version = Literal[2, 3]
"""Of the Zarr format."""
LARGEST_CHUNK = 64 << 20
"""Where we choose the grid, its chunks have at most so many bytes, decoded."""
_SHUFFLES = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle"}
_NUMBERS = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
_COMPRESSORS = ("blosc", "zstd", "gzip")


class ZarrForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a Zarr reader is told of an array."""

    shape: tuple[int, ...]
    layout: ChunkLayout
    same_grid: bool
    """Whether its chunks are the stored ones, one for one."""
    same_bytes: bool
    """Whether stored chunks are sent as they are, but for a checksum that is left out."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        pairs = zip(self.shape, self.layout.chunk_shape, strict=True)
        return tuple(-(-length // size) for length, size in pairs)


def zarr_form(
    structure: ArrayStructure, storage: ArrayStorage | None, version: Version
) -> ZarrForm:
    """Return the form in which an array is shown.

    Parameters
    ----------
    storage
        Where its chunks lie; None where it has none of its own.
    """
    data_type = structure.data_type.packed()
    stored = None if storage is None else storage.layout
    same_grid = (
        stored is not None
        and structure.chunks == stored.chunk_shape
        and data_type == structure.data_type
    )
    if same_grid and stored is not None and stored.edge == "full" and stored.data_type == data_type:
        codecs = _known(stored.codecs, version, data_type.itemsize)
        if codecs is not None:
            return ZarrForm(
                shape=structure.shape,
                layout=msgspec.structs.replace(stored, codecs=codecs),
                same_grid=True,
                same_bytes=True,
            )
    layout = ChunkLayout(
        data_type=data_type,
        chunk_shape=stored.chunk_shape if same_grid and stored else good_grid(structure),
        codecs=_unsealed(default_codecs(data_type.to_numpy())),
        fill_value=b"" if stored is None or not same_grid else stored.fill_value,
    )
    return ZarrForm(shape=structure.shape, layout=layout, same_grid=same_grid, same_bytes=False)


def good_grid(structure: ArrayStructure) -> tuple[int, ...]:
    """Return chunks of one shape for an array whose own are of several, or too large."""
    shape = [
        min(length or 1, max(1, sizes if isinstance(sizes, int) else max(sizes, default=1)))
        for length, sizes in zip(structure.shape, structure.chunks, strict=True)
    ]
    for axis in range(len(shape)):
        rest = math.prod(shape[axis + 1 :]) * structure.data_type.itemsize
        shape[axis] = min(shape[axis], max(1, LARGEST_CHUNK // max(1, rest)))
    return tuple(shape)


def _known(codecs: tuple[Codec, ...], version: Version, itemsize: int) -> tuple[Codec, ...] | None:
    """Return a chain as Zarr libraries know it; None where they do not."""
    if version == 2:
        codecs = _unsealed(codecs)
    names = [codec.name for codec in codecs]
    if names[:1] == ["transpose"] and version == 3:
        names = names[1:]
    if names[:1] != ["bytes"]:
        return None
    rest = names[1:]
    if rest[-1:] == ["crc32c"]:
        rest = rest[:-1]
    if len(rest) > 1 or (rest and rest[0] not in _COMPRESSORS):
        return None
    return tuple(_completed(codec, itemsize) for codec in codecs)


def _unsealed(codecs: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """Return a chain without the checksum at its end, which version 2 has not."""
    return codecs[:-1] if codecs[-1:] == (Codec("crc32c"),) else codecs


def _completed(codec: Codec, itemsize: int) -> Codec:
    """Return a codec with everything in its configuration that readers insist on."""
    given: Mapping[str, Any] = codec.configuration
    if codec.name == "blosc":
        shuffle = given.get("shuffle", 1)
        if shuffle == -1:
            shuffle = 2 if itemsize == 1 else 1
        return Codec(
            "blosc",
            {
                "typesize": given.get("typesize") or max(1, min(itemsize, 255)),
                "cname": given.get("cname", "lz4"),
                "clevel": given.get("clevel", 5),
                "shuffle": _SHUFFLES.get(shuffle, shuffle),
                "blocksize": given.get("blocksize", 0),
            },
        )
    if codec.name == "zstd":
        return Codec(
            "zstd", {"level": given.get("level", 0), "checksum": given.get("checksum", False)}
        )
    if codec.name == "gzip":
        return Codec("gzip", {"level": given.get("level", 5)})
    return codec


def array_document_v2(form: ZarrForm) -> dict[str, Any]:
    """Return the ``.zarray`` document of an array in Zarr version 2."""
    dtype = form.layout.data_type.to_numpy()
    if form.layout.codecs and form.layout.codecs[0].configuration.get("endian") == "big":
        dtype = dtype.newbyteorder(">")
    return {
        "zarr_format": 2,
        "shape": list(form.shape),
        "chunks": list(form.layout.chunk_shape),
        "dtype": _descr(dtype.descr) if dtype.names else dtype.str,
        "compressor": _compressor(form.layout.codecs),
        "fill_value": None,  # xarray would take a value for what stands for missing ones
        "filters": None,
        "order": "C",
        "dimension_separator": ".",
    }


def _descr(fields: list[Any]) -> list[Any]:
    return [
        [name, _descr(kind) if isinstance(kind, list) else kind, *map(list, shape)]
        for name, kind, *shape in fields
    ]


def _compressor(codecs: tuple[Codec, ...]) -> dict[str, Any] | None:
    for codec in codecs:
        if codec.name == "blosc":
            given = {k: v for k, v in codec.configuration.items() if k != "typesize"}
            return {"id": "blosc", **given, "shuffle": _NUMBERS[given["shuffle"]]}
        if codec.name in _COMPRESSORS:
            return {"id": codec.name, "level": codec.configuration["level"]}
    return None
