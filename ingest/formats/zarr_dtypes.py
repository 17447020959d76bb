"""Element types of Zarr arrays, version 2 and 3, as NumPy dtypes."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

STRINGS = frozenset({"string", "variable_length_utf8"})
"""Data types of version 3 whose elements have no fixed size, but are text."""
_NUMBERS = {
    "bool": "?",
    **{
        f"{sign}int{bits}": f"{sign[:1] or 'i'}{bits // 8}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    "float16": "f2",
    "float32": "f4",
    "float64": "f8",
    "complex64": "c8",
    "complex128": "c16",
}
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class UnknownTypeError(ValueError):
    """An element type that has no NumPy dtype of fixed size."""


def dtype_v2(description: Any) -> np.dtype[Any]:
    """Return the dtype that a ``.zarray`` names.

    Raises
    ------
    UnknownTypeError
        Python objects, or no dtype at all.
    """
    try:
        dtype: np.dtype[Any] = np.dtype(_tuples(description))
    except (TypeError, ValueError):
        raise UnknownTypeError(f"data type {description!r} is not known") from None
    if dtype.hasobject:
        raise UnknownTypeError(
            f"data type {description!r} holds Python objects, which have no defined bytes"
        )
    return dtype


def _tuples(description: Any) -> Any:
    if not isinstance(description, list):
        return description
    fields: list[Any] = []
    for name, kind, *shape in description:
        fields.append((str(name), _tuples(kind), *(tuple(lengths) for lengths in shape)))
    return fields


def dtype_v3(data_type: Any) -> np.dtype[Any]:
    """Return the dtype that a ``zarr.json`` names, in native byte order.

    Raises
    ------
    UnknownTypeError
        A type of an extension that we do not know.
    """
    name, options = _named(data_type)
    if name in _NUMBERS:
        return np.dtype(_NUMBERS[name])
    try:
        if name in ("numpy.datetime64", "numpy.timedelta64"):
            scale, kind = int(options.get("scale_factor", 1)), "M" if "date" in name else "m"
            unit = options.get("unit", "generic")
            return np.dtype(kind + "8" if unit == "generic" else f"{kind}8[{scale}{unit}]")
        if name == "fixed_length_utf32":
            return np.dtype(f"U{int(options['length_bytes']) // 4}")
        if name == "null_terminated_bytes":
            return np.dtype(f"S{int(options['length_bytes'])}")
        if name == "raw_bytes":
            return np.dtype(f"V{int(options['length_bytes'])}")
        if name[:1] == "r" and name[1:].isdecimal() and int(name[1:]) % 8 == 0:
            return np.dtype(f"V{int(name[1:]) // 8}")
        if name in ("struct", "structured"):
            return np.dtype([_field(field) for field in options["fields"]])
    except (TypeError, ValueError, KeyError) as error:
        raise UnknownTypeError(f"data type {data_type!r} is damaged ({error})") from None
    raise UnknownTypeError(f"data type {name!r} is not known")


def _named(data_type: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(data_type, dict):
        return str(data_type.get("name")), data_type.get("configuration") or {}
    return str(data_type), {}


def _field(field: Any) -> tuple[str, np.dtype[Any]]:
    if isinstance(field, dict):
        return str(field["name"]), dtype_v3(field["data_type"])
    name, data_type = field
    return str(name), dtype_v3(data_type)


def fill_bytes(value: Any, dtype: np.dtype[Any]) -> bytes:
    """Return the fill value as one element as stored; empty for zero bytes.

    Raises
    ------
    UnknownTypeError
        No value of this type.
    """
    if value is None:
        return b""
    try:
        payload = _element(value, dtype).tobytes()
    except (TypeError, ValueError, OverflowError, binascii.Error):
        raise UnknownTypeError(f"fill value {value!r} is none of {dtype}") from None
    return payload if payload.strip(b"\0") else b""


def _element(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    if dtype.kind in "fc":
        return np.array(_number(value, dtype), dtype)
    if dtype.kind in "SV" and isinstance(value, str):
        payload = base64.b64decode(value, validate=True) if value else b""
        if dtype.kind == "S":
            return np.array(payload, dtype)
        return np.frombuffer(payload.ljust(dtype.itemsize, b"\0")[: dtype.itemsize], dtype)
    if dtype.kind == "V" and isinstance(value, list) and dtype.names is None:
        return np.frombuffer(bytes(value).ljust(dtype.itemsize, b"\0"), dtype)
    if dtype.kind in "mM":
        return np.array(np.int64(np.iinfo(np.int64).min) if value == "NaT" else value, "i8").astype(
            dtype.str.replace(dtype.str[1:], "i8")
        )
    if dtype.names is not None:
        if value == 0:
            return np.zeros((), dtype)
        record = value if isinstance(value, dict) else dict(zip(dtype.names, value, strict=True))
        element = np.zeros((), dtype)
        for name in dtype.names:
            element[name] = _element(record[name], dtype[name]).view(dtype[name])
        return element
    return np.array(value, dtype)


def _number(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, str):
        if value in _SPECIAL:
            return _SPECIAL[value]
        if value.startswith("0x"):
            bits = int(value, 16).to_bytes(dtype.itemsize, "big")
            return np.frombuffer(bits, dtype.newbyteorder(">"))[0]
        return float(value)
    if isinstance(value, list):
        return complex(_number(value[0], dtype), _number(value[1], dtype))
    return value
