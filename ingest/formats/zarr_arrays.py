"""The metadata of one Zarr array, version 2 and 3, in one form."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.formats.zarr_dtypes import STRINGS, UnknownTypeError, dtype_v2, dtype_v3, fill_bytes
from lakeservice.codecs.chain import Chain
from schemas.chunks import ChunkLayout, Codec
from schemas.structures import ArrayStructure, DataType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHUFFLES = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle", -1: "bitshuffle"}
_V3_NAMES = {"numcodecs.blosc": "blosc", "numcodecs.gzip": "gzip", "numcodecs.zstd": "zstd"}
_MOST_AXES = 32


@dataclasses.dataclass(frozen=True)
class Keys:
    """How the position of a chunk becomes the name of its file."""

    prefix: str
    """First segment of every name: ``c`` in version 3's default, else empty."""
    separator: str

    def position(self, name: str, axes: int) -> tuple[int, ...] | None:
        """Return the position that a file name below the array stands for; None if it does not."""
        if axes == 0:
            return () if name == (self.prefix or "0") else None
        if self.prefix:
            if not name.startswith(self.prefix + self.separator):
                return None
            name = name[len(self.prefix) + len(self.separator) :]
        parts = name.split(self.separator)
        if len(parts) != axes or not all(part.isascii() and part.isdecimal() for part in parts):
            return None
        return tuple(int(part) for part in parts)


@dataclasses.dataclass(frozen=True)
class Shards:
    """How a file holds many chunks: Zarr's ``sharding_indexed``."""

    shape: tuple[int, ...]
    """Shape of a shard, in elements."""
    index_at_end: bool
    index_has_checksum: bool


@dataclasses.dataclass(frozen=True)
class ZarrArray:
    """What an array's metadata say."""

    structure: ArrayStructure
    keys: Keys
    layout: ChunkLayout | None
    """None where the elements have to be converted: text of any length."""
    shards: Shards | None = None
    is_text: bool = False
    unsupported: str | None = None
    """Why stored chunks cannot be decoded by us."""


def array_v2(metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> ZarrArray:
    """Read a ``.zarray``.

    Raises
    ------
    ValueError
        It contradicts itself, or has an unknown type.
    """
    shape, chunks = _lengths(metadata, "shape"), _lengths(metadata, "chunks")
    keys = Keys("", metadata.get("dimension_separator") or ".")
    dims = _dims(attributes.get("_ARRAY_DIMENSIONS"), shape)
    filters = list(metadata.get("filters") or ())
    if metadata["dtype"] == "|O" and any(one.get("id") == "vlen-utf8" for one in filters):
        return ZarrArray(_text_structure(shape, chunks, dims), keys, None, is_text=True)
    stored = dtype_v2(metadata["dtype"])
    codecs: list[Codec] = []
    if metadata.get("order", "C") == "F" and len(shape) > 1:
        codecs.append(Codec("transpose", {"order": list(range(len(shape)))[::-1]}))
    codecs.append(Codec("bytes"))
    codecs += [_codec_v2(one) for one in filters]
    if metadata.get("compressor"):
        codecs.append(_codec_v2(metadata["compressor"]))
    return _array(shape, chunks, stored, codecs, metadata.get("fill_value"), dims, keys)


def array_v3(metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> ZarrArray:
    """Read the ``zarr.json`` of an array.

    Raises
    ------
    ValueError
        It contradicts itself, or has an unknown type, grid or transformer.
    """
    shape = _lengths(metadata, "shape")
    grid = metadata["chunk_grid"]
    if grid.get("name") != "regular":
        raise UnknownTypeError(f"chunk grid {grid.get('name')!r} is not known")
    if metadata.get("storage_transformers"):
        raise UnknownTypeError("storage transformers are not known")
    chunks = _lengths(grid["configuration"], "chunk_shape")
    keys = _keys_v3(metadata.get("chunk_key_encoding") or {})
    names = metadata.get("dimension_names") or attributes.get("_ARRAY_DIMENSIONS")
    dims = _dims(names, shape)
    data_type = metadata["data_type"]
    if (data_type.get("name") if isinstance(data_type, dict) else data_type) in STRINGS:
        return ZarrArray(_text_structure(shape, chunks, dims), keys, None, is_text=True)
    dtype = dtype_v3(data_type)
    steps = list(metadata["codecs"])
    shards = None
    if len(steps) == 1 and steps[0]["name"] == "sharding_indexed":
        options = steps[0]["configuration"]
        shards = _shards(options, chunks)
        chunks, steps = _lengths(options, "chunk_shape"), list(options["codecs"])
    codecs = [_codec_v3(step) for step in steps]
    big = any(
        codec.configuration.get("endian") == "big" for codec in codecs if codec.name == "bytes"
    )
    stored = dtype.newbyteorder(">") if big else dtype
    found = _array(shape, chunks, stored, codecs, metadata.get("fill_value"), dims, keys)
    if shards is not None and any(
        outer % inner for outer, inner in zip(shards.shape, chunks, strict=True)
    ):
        raise UnknownTypeError(f"shards of {shards.shape} are no whole number of chunks {chunks}")
    return dataclasses.replace(found, shards=shards)


def _array(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    stored: np.dtype[Any],
    codecs: Sequence[Codec],
    fill_value: Any,
    dims: tuple[str, ...] | None,
    keys: Keys,
) -> ZarrArray:
    if len(chunks) != len(shape):
        raise ValueError(f"chunks {chunks} for shape {shape}")
    structure = ArrayStructure.from_numpy(shape, stored.newbyteorder("="), chunks, dims)
    layout = ChunkLayout(
        data_type=DataType.from_numpy(stored),
        chunk_shape=chunks,
        codecs=tuple(codecs),
        fill_value=fill_bytes(fill_value, stored),
    )
    return ZarrArray(structure, keys, layout, unsupported=Chain.supported(codecs))


def _text_structure(
    shape: tuple[int, ...], chunks: tuple[int, ...], dims: tuple[str, ...] | None
) -> ArrayStructure:
    return ArrayStructure.from_numpy(shape, np.dtype("U1"), chunks, dims)


def _codec_v2(options: Mapping[str, Any]) -> Codec:
    """Return a codec of numcodecs in our words: Zarr 3's name where there is one."""
    name = str(options["id"])
    settings = {key: value for key, value in options.items() if key != "id"}
    if name == "blosc":
        settings["shuffle"] = _SHUFFLES.get(settings.get("shuffle", 1), "shuffle")
    return Codec(name, settings)


def _codec_v3(step: Any) -> Codec:
    if isinstance(step, str):
        return Codec(step)
    name, options = str(step["name"]), dict(step.get("configuration") or {})
    if name in _V3_NAMES:
        return _codec_v2({"id": _V3_NAMES[name], **options})
    if name.startswith("numcodecs."):
        for key in ("dtype", "astype"):
            if key in options:
                options[key] = dtype_v3(options[key]).str if options[key] else options[key]
        return Codec(name.removeprefix("numcodecs."), options)
    return Codec(name, options)


def _shards(options: Mapping[str, Any], shape: tuple[int, ...]) -> Shards:
    names = [step["name"] for step in options.get("index_codecs") or ()]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise UnknownTypeError(f"a shard index encoded with {names} is not known")
    endian = (options["index_codecs"][0].get("configuration") or {}).get("endian", "little")
    if endian != "little":
        raise UnknownTypeError("a big-endian shard index is not known")
    return Shards(shape, options.get("index_location", "end") == "end", "crc32c" in names)


def _keys_v3(encoding: Mapping[str, Any]) -> Keys:
    name, options = encoding.get("name", "default"), encoding.get("configuration") or {}
    if name == "default":
        return Keys("c", options.get("separator", "/"))
    if name == "v2":
        return Keys("", options.get("separator", "."))
    raise UnknownTypeError(f"chunk key encoding {name!r} is not known")


def _lengths(metadata: Mapping[str, Any], key: str) -> tuple[int, ...]:
    lengths = metadata[key]
    if not isinstance(lengths, list) or len(lengths) > _MOST_AXES:
        raise ValueError(f"{key} {lengths!r}")
    if not all(isinstance(one, int) and 0 <= one < 1 << 62 for one in lengths):
        raise ValueError(f"{key} {lengths!r}")
    return tuple(lengths) if key == "shape" else tuple(max(1, one) for one in lengths)


def _dims(names: Any, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    if not isinstance(names, list) or len(names) != len(shape) or not names:
        return None
    if all(name is None for name in names):
        return None
    return tuple(
        str(name) if name is not None else f"dim_{axis}" for axis, name in enumerate(names)
    )
