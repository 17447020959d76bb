"""Metadata as attributes of HDF5 objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LIST_BYTES = 32 << 10
"""Longer lists of numbers become text: an attribute of HDF5 holds 64 kB with everything."""

NAME_CHARS = 1_000
"""Longer names of attributes are cut."""


def set_attributes(target: Any, attributes: Mapping[str, Any]) -> None:
    """Write metadata on a group or a dataset; what is there already stays.

    Numbers, text, flags and lists of one kind of them are attributes of that kind;
    everything else, such as nested objects, is JSON text.
    """
    for key, value in attributes.items():
        name = key.replace("\0", "")[:NAME_CHARS] or "_"
        if name not in target.attrs:
            target.attrs[name] = attribute_value(value)


def attribute_value(value: Any) -> Any:
    """Return what h5py writes for a value of a JSON document."""
    if isinstance(value, np.generic | np.ndarray):
        return value
    if isinstance(value, str):
        return value if _is_writable(value) else _json(value)
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, list | tuple) and value:
        return _list_value(list(value))
    return _json(value)


def _list_value(values: list[Any]) -> Any:
    kinds = {type(value) for value in values}
    if kinds == {str} and all(map(_is_writable, values)):
        import h5py  # slow to import, and only needed once a file is written

        if len(values) * 16 <= MAX_LIST_BYTES:
            return np.array(values, dtype=h5py.string_dtype("utf-8"))
    elif kinds in ({int}, {float}, {int, float}, {bool}) and len(values) * 8 <= MAX_LIST_BYTES:
        try:
            numbers = np.array(values)
        except OverflowError:
            return _json(values)
        if numbers.dtype.kind in ("iu" if kinds == {int} else "fb"):
            return numbers
    return _json(values)


def _is_writable(text: str) -> bool:
    return ("\0" not in text and text.isprintable()) or _is_encodable(text)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
