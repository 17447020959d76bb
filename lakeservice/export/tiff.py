"""Arrays as TIFF files: a page for each image, without compression, laid out before it is read.

All directories come first and the elements after them in one run, as ImageJ
expects of a stack; its description of the file makes it a hyperstack there.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export.elements import array_hole
from lakeservice.export.exporter import Exporter, Option
from lakeservice.export.holes import Hole, streamed
from lakeservice.export.options import choice_of, flag_of
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ArraySource, Shape

CLASSIC_BYTES = (1 << 32) - (1 << 16)
"""Longer files are BigTIFF: their offsets need more than 32 bits."""
PAGES_AT_ONCE = 1 << 14
"""Directories that are made at a time."""
ALIGNED = 256
"""The elements begin at a multiple of this."""
COLOURS = {"rgb", "rgba", "channel", "channels", "colour", "color", "c", "s", "band"}
"""Names of a last axis of three or four that make an array a picture in colour."""

_SHORT, _LONG, _ASCII, _LONG8 = 3, 4, 2, 16
_FORMATS = {"b": 1, "u": 1, "i": 2, "f": 3, "c": 6}  # TIFF 6.0, section 19: SampleFormat


def is_colour(source: ArraySource) -> bool:
    """Tell whether the last axis of an array holds the colours of a picture."""
    shape, dims = source.shape, source.dims
    if len(shape) < 3 or shape[-1] not in (3, 4) or source.dtype != np.uint8:
        return False
    return dims is None or dims[-1].lower() in COLOURS


@dataclass(frozen=True)
class _Layout:
    """Where everything lies in a file."""

    dtype: np.dtype[Any]
    pages: int
    height: int
    width: int
    samples: int
    is_big: bool
    described: bytes
    single: bool
    """Whether only the first page has a directory; the others follow its elements."""

    @property
    def page_bytes(self) -> int:
        return self.height * self.width * self.samples * self.dtype.itemsize

    @property
    def prologue(self) -> bytes:
        """The header and the texts; the first directory begins behind them."""
        if self.is_big:
            header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, self.first_directory)
        else:
            header = struct.pack("<2sHI", b"II", 42, self.first_directory)
        # What has as many values as there are samples does not fit into a classic entry.
        bits, kind = self._per_sample(8 * self.dtype.itemsize), self._per_sample(self._format)
        return (header + bits + kind + self.described).ljust(self.first_directory, b"\0")

    @property
    def first_directory(self) -> int:
        return -(-(32 + len(self.described)) // 8) * 8

    @property
    def directories(self) -> int:
        return 1 if self.single else self.pages

    @property
    def data_offset(self) -> int:
        end = self.first_directory + self.directories * self.directory_bytes
        return -(-end // ALIGNED) * ALIGNED

    @property
    def size(self) -> int:
        return self.data_offset + self.pages * self.page_bytes

    @property
    def directory_bytes(self) -> int:
        return self._directory_dtype.itemsize

    def directory_blocks(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the directories of all pages, as many as are made at a time."""
        for start in range(0, self.directories, PAGES_AT_ONCE):
            number = np.arange(start, min(start + PAGES_AT_ONCE, self.directories), dtype=np.uint64)
            block = np.zeros(len(number), self._directory_dtype)
            block["count"] = len(self._tags)
            for entry, (tag, kind, count, value) in zip(
                np.moveaxis(block["entries"], 1, 0), self._tags, strict=True
            ):
                entry["tag"], entry["kind"], entry["count"], entry["value"] = (
                    tag,
                    kind,
                    count,
                    value,
                )
                if tag == 273:
                    entry["value"] = self.data_offset + number * np.uint64(self.page_bytes)
            following = self.first_directory + (number + 1) * np.uint64(self.directory_bytes)
            block["next"] = np.where(number + 1 < self.directories, following, 0)
            yield block

    @property
    def _format(self) -> int:
        return _FORMATS[self.dtype.kind]

    @property
    def _tags(self) -> list[tuple[int, int, int, int]]:
        offset = _LONG8 if self.is_big else _LONG
        start = 16 if self.is_big else 8
        bits, kind = self._per_sample(8 * self.dtype.itemsize), self._per_sample(self._format)
        inline = self.samples == 1 or self.is_big
        tags = [
            (256, _LONG, 1, self.width),
            (257, _LONG, 1, self.height),
            (258, _SHORT, self.samples, int.from_bytes(bits, "little") if inline else start),
            (259, _SHORT, 1, 1),
            (262, _SHORT, 1, 1 if self.samples == 1 else 2),
            (270, _ASCII, len(self.described), start + 16),
            (273, offset, 1, 0),
            (277, _SHORT, 1, self.samples),
            (278, _LONG, 1, self.height),
            (279, offset, 1, self.page_bytes),
            (284, _SHORT, 1, 1),
            (339, _SHORT, self.samples, int.from_bytes(kind, "little") if inline else start + 8),
        ]
        if self.samples == 4:
            tags.insert(-1, (338, _SHORT, 1, 2))
        return tags

    @property
    def _directory_dtype(self) -> np.dtype[Any]:
        small, large = ("<u8", "<u8") if self.is_big else ("<u2", "<u4")
        entry = [("tag", "<u2"), ("kind", "<u2"), ("count", large), ("value", large)]
        return np.dtype([("count", small), ("entries", entry, len(self._tags)), ("next", large)])

    def _per_sample(self, value: int) -> bytes:
        return struct.pack(f"<{self.samples}H", *[value] * self.samples).ljust(8, b"\0")


def write_tiff(source: ArraySource) -> Iterator[Piece]:
    """Yield a TIFF file."""
    layout = _layout(source)
    yield from _part(source, 0, layout.size)


def _part(source: ArraySource, start: int, stop: int) -> Iterator[Piece]:
    layout = _layout(source)
    directories = layout.directories * layout.directory_bytes
    holes = (
        Hole(layout.first_directory, directories, layout.directory_blocks),
        array_hole(source, layout.data_offset, layout.dtype),
    )
    yield from streamed(io.BytesIO(layout.prologue), layout.size, holes, start, stop)


def _layout(source: ArraySource) -> _Layout:
    shape = tuple(source.shape)
    samples = shape[-1] if is_colour(source) else 1
    images = shape[:-1] if samples > 1 else shape
    height, width = (1, 1, *images)[-2:]
    leading = images[:-2]
    dtype = _element(source)
    pages = math.prod(leading)
    total = pages * height * width * samples * dtype.itemsize + 400 * pages
    for_imagej = flag_of(source, "imagej", default=False)
    return _Layout(
        dtype=dtype,
        pages=pages,
        height=height,
        width=width,
        samples=samples,
        is_big=total > CLASSIC_BYTES and not for_imagej,
        described=_description(leading),
        single=total > CLASSIC_BYTES and for_imagej,
    )


def _element(source: ArraySource) -> np.dtype[Any]:
    dtype = source.dtype.newbyteorder("<")
    asked = choice_of(source, "dtype", ("float32",))
    # ImageJ opens numbers of 64 bits in its latest versions only.
    needed = dtype.itemsize > 4 and flag_of(source, "imagej", default=False)
    if dtype.kind in "biuf" and (asked or needed):
        return np.dtype("<f4")
    if dtype.kind == "b":
        return np.dtype("u1")
    return np.dtype("<f4") if dtype == np.float16 else dtype


def _description(leading: Shape) -> bytes:
    """Return what ImageJ looks for: how many images, and along which axes they lie."""
    counts = (1, 1, 1, *leading)
    axes = (math.prod(counts[:-2]), counts[-2], counts[-1])
    match len(leading):
        case 0 | 1:
            frames, slices, channels = 1, math.prod(leading), 1
        case 2:
            frames, slices, channels = axes[1], axes[2], 1
        case _:
            frames, slices, channels = axes
    lines = ["ImageJ=1.11a", f"images={math.prod(leading)}"]
    named = (("channels", channels), ("slices", slices), ("frames", frames))
    lines += [f"{name}={number}" for name, number in named if number > 1]
    if len(leading) > 1:
        lines.append("hyperstack=true")
    return ("\n".join([*lines, "loop=false"]) + "\n\0").encode()


def check_tiff(source: ArraySource) -> None:
    """Refuse what is no number, and what has no pixels.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``; ``bad-request``: an option.
    """
    dtype = source.dtype
    if dtype.names or dtype.kind not in _FORMATS or dtype.itemsize > 16:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT, f"TIFF holds numbers, not {dtype}; choose another format"
        )
    if 0 in source.shape:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"a TIFF file holds at least one pixel; the shape is {tuple(source.shape)}",
        )
    _layout(source)


TIFF = Exporter(
    family="array",
    media_type="image/tiff",
    names=("tiff", "tif"),
    write=write_tiff,
    size=lambda source: _layout(source).size,
    part=_part,
    check=check_tiff,
    options=(
        Option(name="dtype", kind=str, description="``float32``: store every number so."),
        Option(
            name="imagej",
            kind=bool,
            description="Write what ImageJ opens: numbers of 64 bits as ``float32``, and more than "
            "4 GB as one run of images behind a single directory.",
        ),
    ),
)
