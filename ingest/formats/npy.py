"""NPY: one array of NumPy, uncompressed after a short header."""

from __future__ import annotations

import ast
import math
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ingest.found import Found, Item
from ingest.layouts import contiguous_array
from ingest.rows import mapped_rows
from ingest.source import unreadable
from schemas.chunks import Contiguous
from schemas.errors import InvalidRequestError

if TYPE_CHECKING:
    from typing import IO

    from ingest.source import Source

MAGIC = b"\x93NUMPY"
_MOST_HEADER_BYTES = 1 << 20


class NpyHeader(NamedTuple):
    """What stands before the elements."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    size_bytes: int
    """Bytes of the header: where the first element lies."""

    @property
    def array_bytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class NpyFormat:
    """A single array per file; the entry itself is the array."""

    media_type = "application/x-npy"
    suffixes = (".npy",)

    def sniff(self, source: Source) -> bool:
        """Tell whether the file starts with NumPy's magic string."""
        return source.head.startswith(MAGIC)

    def open(self, source: Source) -> Found:
        """Describe the array from the header."""
        with source.path.open("rb") as file:
            header = read_header(file, source.name)
        item = array_item("", header, offset=header.size_bytes)
        if item.problem is None and header.size_bytes + header.array_bytes > source.size_bytes:
            raise unreadable(
                source.name,
                f"it ends after {source.size_bytes} bytes, but {header.shape} elements of "
                f"{header.dtype} need {header.size_bytes + header.array_bytes}",
            )
        item.read = lambda: mapped_rows(
            source.path, header.shape, header.dtype, header.size_bytes, fortran=header.fortran
        )
        return Found([item], assets=[source.asset()])


def read_header(file: IO[bytes], name: str) -> NpyHeader:
    """Read the header at the file's position, leaving it at the first element.

    Raises
    ------
    InvalidRequestError
        ``unreadable-file``: not a header of NPY version 1 to 3.
    """
    start = file.read(8)
    if not start.startswith(MAGIC) or len(start) < 8:
        raise unreadable(name, "there is no NPY header")
    width = 2 if start[6] == 1 else 4
    if start[6] not in (1, 2, 3):
        raise unreadable(name, f"NPY version {start[6]}; 1 to 3 are known")
    sized = file.read(width)
    if len(sized) < width:
        raise unreadable(name, "the NPY header is cut off")
    (length,) = struct.unpack("<H" if width == 2 else "<I", sized)
    text = file.read(min(length, _MOST_HEADER_BYTES))
    if len(text) < length:
        raise unreadable(name, "the NPY header is cut off")
    try:
        words = ast.literal_eval(text.decode("utf-8" if start[6] == 3 else "latin-1").strip())
        shape = tuple(words["shape"])
        dtype = np.lib.format.descr_to_dtype(words["descr"])
        fortran = bool(words["fortran_order"])
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise ValueError("a shape of whole numbers is needed")
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise unreadable(name, f"damaged NPY header ({type(error).__name__})") from None
    return NpyHeader(shape, dtype, fortran, 8 + width + length)


def array_item(path: str, header: NpyHeader, *, offset: int | None) -> Item:
    """Return the item for an array; its bytes lie at ``offset``, or None: to be converted."""
    try:
        structure, layout = contiguous_array(header.shape, header.dtype, fortran=header.fortran)
    except InvalidRequestError as error:
        return Item(path, problem=str(error))
    if offset is None:
        return Item(path, structure)
    return Item(path, structure, layout=layout, location=Contiguous(offset=offset))
