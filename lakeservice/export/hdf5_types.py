"""Elements as HDF5 has them: text of fixed length in UTF-8, times as whole numbers with a unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Array = np.ndarray[Any, Any]
UNITS = {
    "D": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
"""NumPy's units of time in the words of the CF conventions."""


@dataclass(frozen=True)
class Stored:
    """A type of elements in a file, and the way there."""

    dtype: np.dtype[Any]
    """As h5py names it; its bytes are those that `convert` returns."""
    convert: Callable[[Array], Array]
    """From elements as they are read to elements as they lie in the file."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What a reader needs to know, such as the unit of a time."""


def stored_type(dtype: np.dtype[Any]) -> Stored:
    """Return how elements of a NumPy dtype lie in an HDF5 file.

    Unicode becomes UTF-8, padded with zeros; dates and times become whole numbers
    with a unit; in records, each field for itself.
    """
    if dtype.names:
        return _record(dtype)
    if dtype.kind == "U":
        return text_type(max(1, dtype.itemsize), _encoded)
    if dtype.kind == "S" and not dtype.itemsize:
        return text_type(1, lambda block: block.astype("S1"))
    if dtype.kind in "mM":
        unit, step = np.datetime_data(dtype)
        order = dtype.newbyteorder("<")
        plain = step == 1 and unit in UNITS
        kept = order if plain else np.dtype(f"<{dtype.kind}8[ns]")
        return Stored(
            np.dtype("<i8"),
            lambda block: block.astype(kept).view("<i8"),
            time_attributes(dtype.kind, unit if plain else "ns"),
        )
    return Stored(dtype, lambda block: block)


def time_attributes(kind: str, unit: str) -> dict[str, Any]:
    """Return the attributes of dates (kind ``M``) or durations (``m``) in a unit of NumPy's."""
    since = " since 1970-01-01 00:00:00" if kind == "M" else ""
    return {"units": UNITS[unit] + since, "_FillValue": np.int64(np.iinfo(np.int64).min)}


def text_type(length: int, convert: Callable[[Array], Array]) -> Stored:
    """Return text of at most ``length`` bytes of UTF-8; ``convert`` gives NumPy's ``S``."""
    import h5py  # slow to import, and only needed once a file is written

    dtype = h5py.string_dtype("utf-8", length)
    return Stored(dtype, lambda block: convert(block).astype(f"S{length}", copy=False))


def _encoded(block: Array) -> Array:
    encoded: Array = np.char.encode(block, "utf-8", "replace") if block.size else block
    return encoded


def _record(dtype: np.dtype[Any]) -> Stored:
    inner = {}
    formats: list[Any] = []
    for name in dtype.names or ():
        base = dtype[name]
        shape = base.shape
        inner[name] = stored_type(base.base)
        formats.append((name, inner[name].dtype, shape))
    stored: np.dtype[Any] = np.dtype(formats)

    def convert(block: Array) -> Array:
        out = np.empty(block.shape, stored)
        for name, one in inner.items():
            out[name] = one.convert(np.ascontiguousarray(block[name]))
        return out

    return Stored(stored, convert)
