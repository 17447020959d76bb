"""JPEG: one image of grey levels or colours, decoded when it is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from ingest.found import Found, Item
from ingest.source import unreadable
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.source import Source

_MAGIC = b"\xff\xd8\xff"
_MOST_PIXELS = 1 << 30
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, all kinds


class JpegFormat:
    """One array: rows, columns and, of an image in colours, samples."""

    media_type = "image/jpeg"
    suffixes = (".jpg", ".jpeg", ".jpe")

    def sniff(self, source: Source) -> bool:
        """Tell whether the file starts as a JPEG image."""
        return source.head.startswith(_MAGIC)

    def open(self, source: Source) -> Found:
        """Describe the image from its header."""
        bits, height, width, samples = _header(source)
        shape = (height, width) if samples == 1 else (height, width, samples)
        if height * width * samples > _MOST_PIXELS:
            raise unreadable(source.name, f"an image of {shape} is too large to be decoded")
        dims = ("y", "x", "sample")[: len(shape)]
        dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
        structure = ArrayStructure.from_numpy(shape, dtype, None, dims)
        item = Item("", structure, read=lambda: _rows(source.path, structure))
        return Found([item], assets=[source.asset()])


def _rows(path: Path, structure: ArrayStructure) -> Iterator[NDArray[Any]]:
    yield np.asarray(imagecodecs.jpeg_decode(path.read_bytes())).reshape(structure.shape)


def _header(source: Source) -> tuple[int, int, int, int]:
    """Return bits of a sample, height, width and samples of a pixel (ITU-T T.81, B.2.2)."""
    with source.path.open("rb") as file:
        file.seek(2)
        while True:
            mark = file.read(4)
            if len(mark) < 4 or mark[0] != 0xFF:
                raise unreadable(source.name, "there is no image in it")
            size = int.from_bytes(mark[2:], "big")
            if mark[1] in _FRAMES:
                frame = file.read(6)
                if len(frame) < 6:
                    raise unreadable(source.name, "its header is cut off")
                height, width = (int.from_bytes(frame[n : n + 2], "big") for n in (1, 3))
                return frame[0], height, width, frame[5]
            file.seek(size - 2, 1)
