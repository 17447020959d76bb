"""The zarr.json of an array that we write, so that every Zarr v3 reader opens it."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from schemas.chunks import ChunkLayout
    from schemas.structures import DataType

_UNITS = re.compile(r"(\d*)(\D+)")


def zarr_json(
    shape: tuple[int, ...], layout: ChunkLayout, dims: Sequence[str] | None = None
) -> bytes:
    """Return the metadata document of a Zarr v3 array, as the object ``zarr.json`` holds it."""
    return json.dumps(array_document(shape, layout, dims), indent=2).encode()


def array_document(
    shape: tuple[int, ...],
    layout: ChunkLayout,
    dims: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the metadata of a Zarr v3 array.

    Element types beyond Zarr's core are named as zarr-python 3.1 names them;
    what it has no name for (sub-arrays in records, padded records, long
    doubles) is ``raw_bytes``, of which a NumPy view gives the elements.
    """
    name, fill = _data_type(layout.data_type)
    document: dict[str, Any] = {
        "shape": list(shape),
        "data_type": name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(layout.chunk_shape)},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [
            {"name": codec.name, "configuration": codec.configuration}
            if codec.configuration
            else {"name": codec.name}
            for codec in layout.codecs
        ],
        "attributes": dict(attributes or {}),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    if dims is not None:
        document["dimension_names"] = list(dims)
    return document


def is_raw(data_type: DataType) -> bool:
    """Tell whether elements have no name in Zarr and are stored as bytes without a meaning."""
    name = _data_type(data_type)[0]
    return isinstance(name, dict) and name["name"] == "raw_bytes"


def _data_type(data_type: DataType) -> tuple[Any, Any]:
    """Return Zarr's name of an element type, and zero in its JSON form."""
    kind, size = data_type.kind, data_type.itemsize
    if data_type.fields:
        fields = _fields(data_type.to_numpy())
        if fields is not None:
            zero = base64.b64encode(bytes(size)).decode()
            return {"name": "structured", "configuration": {"fields": fields}}, zero
    elif size:
        if kind == "b":
            return "bool", False
        if kind in "iu" and size <= 8:
            return ("int" if kind == "i" else "uint") + str(8 * size), 0
        if kind == "f" and size <= 8:
            return f"float{8 * size}", 0.0
        if kind == "c" and size <= 16:
            return f"complex{8 * size}", [0.0, 0.0]
        if kind == "S":
            return _sized("null_terminated_bytes", size), ""
        if kind == "U":
            return _sized("fixed_length_utf32", size), ""
        units = _UNITS.fullmatch(data_type.dt_units or "")
        if kind in "mM" and units is not None and units[2] != "generic":
            name = "numpy.datetime64" if kind == "M" else "numpy.timedelta64"
            return {
                "name": name,
                "configuration": {"unit": units[2], "scale_factor": int(units[1] or 1)},
            }, 0
    return _sized("raw_bytes", max(1, size)), base64.b64encode(bytes(max(1, size))).decode()


def _sized(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "configuration": {"length_bytes": size}}


def _fields(dtype: np.dtype[Any]) -> list[list[Any]] | None:
    """Return the fields of a packed record of little-endian scalars; None for other records."""
    from schemas.structures import DataType

    fields, offset = [], 0
    found: Any = dtype.fields
    for name in dtype.names or ():
        base, start = found[name][:2]
        if base.shape or base.fields or start != offset or base.byteorder == ">":
            return None
        described, _ = _data_type(DataType.from_numpy(base))
        fields.append([name, described])
        offset += base.itemsize
    return fields if offset == dtype.itemsize else None
