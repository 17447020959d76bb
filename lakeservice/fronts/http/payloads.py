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
from lakeservice.fronts.http.zipped import ZIP
from lakeservice.service.nested_source import declared_form
from lakeservice.storage.archives import ArchiveReader
from lakeservice.storage.intake import told_form, told_length
from schemas.errors import LakeError
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from schemas.entry import Node

BUFFER_BYTES = 64 << 20
"""Largest buffer of an archive that is told as JSON, decompressed."""
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
            table.validate(full=True)  # offsets that leave their buffer would be followed blindly
            return {name: table.column(name).to_pylist() for name in table.column_names}
        if media_type == ZIP and node.family in ("awkward", "ragged"):
            return _nested(node, payload, shape)
    except (pa.ArrowException, LakeError, ValueError, KeyError, TypeError, OSError):
        return None
    return None


def _nested(node: Node, payload: bytes, shape: tuple[int | None, ...]) -> Any:
    """Return the lists that an archive of buffers stands for; None for buffers that cannot be."""
    import awkward  # heavy

    archive = ArchiveReader(io.BytesIO(payload))
    form = told_form(archive) or declared_form(node)
    length = told_length(archive)
    if length is None:
        length = shape[0] if shape else 0
    buffers = {
        name: np.frombuffer(archive.whole(name, BUFFER_BYTES), "u1") for name in archive.entries
    }
    array = awkward.from_buffers(form, length, buffers)
    return awkward.to_list(array) if awkward.is_valid(array) else None


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    match array.dtype.kind:
        case "M" | "m":
            return array.astype(np.int64)
        case "c":
            return np.stack([array.real, array.imag], axis=-1)
        case "S":
            return np.char.decode(array, "utf-8", "replace")
    return array
