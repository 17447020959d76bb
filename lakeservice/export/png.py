"""Arrays as PNG pictures: scaled by percentiles, coloured, shrunk while they are read."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.export.colours import MAPS, palette
from lakeservice.export.exporter import Exporter, Option
from lakeservice.export.options import choice_of, flag_of, number_of, numbers_of
from lakeservice.export.tiff import is_colour
from schemas.errors import ErrorKind, InvalidRequestError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ArraySource

Pixels = np.ndarray[Any, Any]
PERCENTILES = (1.0, 99.0)
"""Values at these percentiles become the darkest and the lightest."""
MOST_PIXELS = 20_000_000
"""A picture has no more pixels than this; a larger array is shrunk with ``max_size``."""
THUMBNAIL = 256
"""Longest side of a thumbnail, in pixels."""
ROWS_BYTES = 1 << 20
"""Bytes of a picture that are compressed at a time."""
SAMPLED = 1 << 20
"""Pixels by which percentiles are found."""


@dataclass(frozen=True)
class _Wanted:
    """What the options of a request ask for."""

    percentile: tuple[float, float]
    is_log: bool
    colours: str
    factor: int
    """So many pixels along each axis become one."""


def write_png(source: ArraySource, most: int | None = None) -> Iterator[Piece]:
    """Yield a PNG file of 8 bits a colour, no side longer than ``most`` pixels."""
    wanted = _wanted(source, most)
    image = _shrunk(source, wanted.factor)
    if image.ndim == 3:
        yield from _encoded(image, lambda rows: rows.astype(np.uint8, copy=False), None)
        return
    table = None if wanted.colours == "gray" else palette(wanted.colours)
    yield from _encoded(image, _Scale(image, wanted), table)


def check_png(source: ArraySource, most: int | None = None) -> None:
    """Refuse what is no picture, and what is too large for one; see `write_png`.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``; ``bad-request``: an option.
    TooLargeError
        ``too-large``.
    """
    shape, dtype = tuple(source.shape), source.dtype
    if dtype.names or dtype.kind not in "biufc":
        raise _no_picture(f"a picture is made of numbers, not of {dtype}")
    if 0 in shape:
        raise _no_picture(f"a picture has at least one pixel; the shape is {shape}")
    images = math.prod(_image_shape(source)[:-2])
    if images > 1 and not flag_of(source, "thumbnail", default=False):
        raise _no_picture(
            f"a picture has two axes; {shape} has {len(shape)}: choose one image with "
            f"slice={','.join('0' * (len(_image_shape(source)) - 2))}"
        )
    factor = _wanted(source, most).factor
    height, width = _image_shape(source)[-2:]
    pixels = -(-height // factor) * -(-width // factor)
    if pixels > MOST_PIXELS:
        raise TooLargeError(
            ErrorKind.TOO_LARGE,
            f"a picture of {height} × {width} pixels; ask for a smaller one with max_size=2048, "
            "or for a part with slice=",
        )


def picture_url(source: ArraySource, most: int) -> str:
    """Return the picture as an address that holds it."""
    picture = b"".join(write_png(source, most))
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _image_shape(source: ArraySource) -> tuple[int, ...]:
    shape = tuple(source.shape)
    shape = shape[:-1] if is_colour(source) else shape
    return (1, 1, *shape)[-max(2, len(shape)) :]


def _wanted(source: ArraySource, most: int | None) -> _Wanted:
    low, high = numbers_of(source, "percentile", 2) or PERCENTILES
    if not 0 <= low < high <= 100:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"percentile={low:g},{high:g}; write 0 to 100, the lower first"
        )
    most = number_of(source, "max_size", least=1, most=1 << 16) or most
    if flag_of(source, "thumbnail", default=False):
        most = min(most or THUMBNAIL, THUMBNAIL)
    longest = max(_image_shape(source)[-2:])
    return _Wanted(
        percentile=(low, high),
        is_log=flag_of(source, "log", default=False),
        colours=choice_of(source, "cmap", MAPS) or "gray",
        factor=1 if most is None else max(1, -(-longest // most)),
    )


def _shrunk(source: ArraySource, factor: int) -> Pixels:
    """Return the picture, read in bands of rows and shrunk by averaging squares of pixels."""
    height, width = _image_shape(source)[-2:]
    colours = source.shape[-1] if is_colour(source) else 1
    row_bytes = width * colours * source.dtype.itemsize
    band = max(1, ROWS_BYTES * 16 // max(1, row_bytes * factor)) * factor
    if factor == 1:
        whole = source.read() if len(source.shape) < 2 else source.read(_rows(source, 0, height))
        return _plain(whole.reshape(height, width, *_tail(colours)))
    parts = []
    for start in range(0, height, band):
        rows = source.read(_rows(source, start, min(height, start + band)))
        parts.append(_averaged(_plain(rows.reshape(-1, width, *_tail(colours))), factor))
    return np.concatenate(parts)


def _rows(source: ArraySource, start: int, stop: int) -> tuple[Any, ...]:
    """Return the index of rows of the picture, whatever axes of length one lie above."""
    axis = len(source.shape) - (3 if is_colour(source) else 2)
    return () if axis < 0 else (*[0] * axis, slice(start, stop))


def _tail(colours: int) -> tuple[int, ...]:
    return () if colours == 1 else (colours,)


def _plain(pixels: Pixels) -> Pixels:
    """Return real numbers; of a complex one, its size."""
    if pixels.dtype.kind == "c":
        return np.abs(pixels)
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels


def _averaged(pixels: Pixels, factor: int) -> Pixels:
    """Return the mean of each square; at the edges, of what there is of it."""
    edges = [np.arange(0, length, factor) for length in pixels.shape[:2]]
    with np.errstate(all="ignore"):
        sums = pixels.astype(np.float64)
        for axis, starts in enumerate(edges):
            counts = np.diff(np.append(starts, pixels.shape[axis]))
            sums = np.add.reduceat(sums, starts, axis=axis)
            sums /= counts.reshape([-1 if one == axis else 1 for one in range(sums.ndim)])
    return sums


class _Scale:
    """From values to bytes: 0 at the lower percentile and below, 255 at the higher and above."""

    def __init__(self, image: Pixels, wanted: _Wanted) -> None:
        self._is_log = wanted.is_log
        step = max(1, math.isqrt(image.size // SAMPLED))
        with np.errstate(all="ignore"):
            sample = self._values(image[::step, ::step])
            sample = sample[np.isfinite(sample)]
            low, high = np.percentile(sample, wanted.percentile) if sample.size else (0.0, 1.0)
            if high <= low and sample.size:
                # Most is one value: what is left decides.
                low, high = sample.min(), sample.max()
        self._low, self._span = float(low), float(high) - float(low)

    def __call__(self, rows: Pixels) -> Pixels:
        """Return some rows as bytes; what is no number is 0."""
        with np.errstate(all="ignore"):
            values = self._values(rows) - self._low
            scaled = values / self._span if self._span > 0 else np.where(values > 0, 1.0, 0.0)
            pixels: Pixels = np.nan_to_num(np.clip(scaled, 0, 1) * 255, nan=0.0).round()
            return pixels.astype(np.uint8)

    def _values(self, pixels: Pixels) -> Pixels:
        values = pixels.astype(np.float64)
        if self._is_log:
            return np.where(values > 0, np.log(np.where(values > 0, values, 1)), -np.inf)
        return values


def _encoded(
    image: Pixels, scale: Callable[[Pixels], Pixels], table: bytes | None
) -> Iterator[Piece]:
    height, width = image.shape[:2]
    colours = image.shape[2] if image.ndim == 3 else 1
    kind = 3 if table is not None else {1: 0, 3: 2, 4: 6}[colours]
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    yield b"\x89PNG\r\n\x1a\n" + header + (_chunk(b"PLTE", table) if table else b"")
    packer = zlib.compressobj(6)
    line_bytes = width * colours
    step = max(1, ROWS_BYTES // line_bytes)
    previous = np.zeros((1, line_bytes), np.uint8)
    for start in range(0, height, step):
        band = scale(image[start : start + step]).reshape(-1, line_bytes)
        # Each line is the difference to the one above (filter 2), which smooth images like.
        lines = np.full((len(band), line_bytes + 1), 2, np.uint8)
        np.subtract(band, np.concatenate([previous, band[:-1]]), out=lines[:, 1:])
        previous = band[-1:]
        if packed := packer.compress(lines.data):
            yield _chunk(b"IDAT", packed)
    yield _chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, payload: bytes) -> bytes:
    check = zlib.crc32(payload, zlib.crc32(kind))
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", check)


def _no_picture(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.UNKNOWN_FORMAT, f"{message}; or choose another format")


PNG = Exporter(
    family="array",
    media_type="image/png",
    names=("png",),
    write=write_png,
    check=check_png,
    options=(
        Option(
            name="percentile",
            kind=str,
            description="Percentiles that become black and white: ``1,99`` unless told.",
        ),
        Option(name="log", kind=bool, description="Logarithm of the values."),
        Option(
            name="cmap",
            kind=str,
            description=f"Colours: {', '.join(f'``{name}``' for name in MAPS)}.",
        ),
        Option(name="max_size", kind=int, description="Longest side, in pixels; the mean is kept."),
        Option(
            name="thumbnail",
            kind=bool,
            description=f"No side longer than {THUMBNAIL} pixels; of a stack, its first image.",
        ),
    ),
)
