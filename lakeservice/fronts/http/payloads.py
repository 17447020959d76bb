"""Data as it was sent, turned into values of JSON for subscribers that read JSON."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from lakeservice.export.arrow import ARROW_FILE, ARROW_STREAM
from lakeservice.fronts.http.arrow_bodies import CheckedMessages
from schemas.errors import LakeError
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from schemas.entry import Node

_MAGIC_BYTES = 8
"""An Arrow file is so many bytes, then an Arrow stream, then a footer."""


def json_values(node: Node, media_type: str, payload: bytes, shape: tuple[int | None, ...]) -> Any:
    """Return data as values of JSON: nested lists, or lists by column.

    Dates are integers in their unit, complex numbers pairs. None where data of this
    media type has no such form here.
    """
    try:
        if media_type == "application/json":
            return msgspec.Raw(payload)
        if isinstance(node.structure, ArrayStructure):
            dtype = node.structure.data_type.packed().to_numpy()
            sizes = [length or 0 for length in shape]
            if len(payload) == math.prod(sizes) * dtype.itemsize:
                return _plain(np.frombuffer(payload, dtype).reshape(sizes)).tolist()
        if media_type in (ARROW_FILE, ARROW_STREAM):
            stream = io.BytesIO(payload)
            stream.seek(_MAGIC_BYTES if media_type == ARROW_FILE else 0)
            table = pa.ipc.open_stream(CheckedMessages(stream)).read_all()
            return {name: table.column(name).to_pylist() for name in table.column_names}
    except (pa.ArrowException, LakeError, ValueError, OSError):
        return None
    return None


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    match array.dtype.kind:
        case "M" | "m":
            return array.astype(np.int64)
        case "c":
            return np.stack([array.real, array.imag], axis=-1)
        case "S":
            return np.char.decode(array, "utf-8", "replace")
    return array
