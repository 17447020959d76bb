"""Arrays as Igor Pro knows them: waves of up to four dimensions, rows before columns."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.export.options import flag_of
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.sources import ArraySource, Shape

MOST_AXES = 4
NAME_BYTES = 31
"""Longest name of a wave in all versions of Igor."""
SLAB_BYTES = 64 << 20
"""Bytes that are held at a time to turn the order of axes around."""
NOTE_BYTES = 1 << 20
"""Longer metadata is left out."""
IMAGE = "image"
"""Name of the option that turns the axes around."""

_EPOCH = np.datetime64("1904-01-01", "s")
_NOT_IN_NAMES = re.compile("[\"':;\x00-\x1f\x7f]")
_TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
        x y z t p q r s i j e pi inf nan sin cos tan asin acos atan sinh cosh tanh exp ln log
        sqrt abs real imag conj sum mean min max date time random floor ceil round trunc mod sign
        area char2num num2char num2str str2num string variable wave function if else for do while
        end beta gamma erf cut note edit display print make duplicate rename variance
        """,
    )
)
"""Names of Igor's own: a wave of such a name could not be used."""


@dataclass(frozen=True)
class Wave:
    """An array as a wave: what it is called, its type, and its elements in Igor's order.

    ``wave[i][j]`` is ``array[i, j]``; with the option ``image`` the axes are turned
    around, so that an image stands upright in Igor, its first dimension across.
    """

    source: ArraySource
    shape: Shape
    dtype: np.dtype[Any]
    is_turned: bool
    unit: str
    """Unit of the values: ``dat`` for times."""

    @property
    def name(self) -> str:
        """What Igor calls it; see `wave_name`."""
        return wave_name(self.source.name)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions; empty where nobody named them."""
        dims = self.source.dims or ()
        return dims[::-1] if self.is_turned else dims

    @property
    def note(self) -> bytes:
        """The metadata as JSON; empty where there is none, or too much."""
        if not self.source.metadata:
            return b""
        text = msgspec.json.encode(self.source.metadata, enc_hook=str)
        return text if len(text) <= NOTE_BYTES else b""

    def slabs(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield all elements: parts of the wave along its last dimension, in order.

        Where one index of that dimension is too much, it is cut along the one before it,
        and so on; such a part has fewer dimensions.
        """
        yield from self._slabs(len(self.shape) - 1, ())

    def _slabs(self, axis: int, behind: tuple[int, ...]) -> Iterator[np.ndarray[Any, Any]]:
        if axis < 0:
            yield self.read(())
            return
        one = math.prod(self.shape[:axis]) * self.source.dtype.itemsize
        if axis and one > SLAB_BYTES:
            for number in range(self.shape[axis]):
                yield from self._slabs(axis - 1, (number, *behind))
            return
        step = max(1, SLAB_BYTES // max(1, one))
        for start in range(0, self.shape[axis], step):
            stop = min(start + step, self.shape[axis])
            yield self.read((*[slice(None)] * axis, slice(start, stop), *behind))

    def read(self, index: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        """Return a part of the wave, by its own dimensions."""
        if self.is_turned:
            return self._converted(self.source.read(index[::-1])).T
        return self._converted(self.source.read(index))

    def _converted(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with np.errstate(all="ignore"):
            if block.dtype.kind == "M":
                return (block - _EPOCH) / np.timedelta64(1, "s")
            if block.dtype.kind == "m":
                return block / np.timedelta64(1, "s")
            return block.astype(self.dtype, copy=False)


def wave_name(name: str, ending: str = "") -> str:
    """Return what Igor calls a wave: none of its own names, none too long."""
    wave = _NOT_IN_NAMES.sub("_", name) or "wave0"
    if wave.lower() in _TAKEN:
        wave += "_"
    return wave.encode()[: NAME_BYTES - len(ending)].decode("utf-8", "ignore") + ending


def wave_of(source: ArraySource) -> Wave:
    """Return an array as a wave.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``: no wave can hold it; ``bad-request``: an option.
    """
    shape, dtype = tuple(source.shape), source.dtype
    if dtype.names or dtype.kind not in "biufcmM" or dtype.itemsize > 16:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT, f"a wave holds numbers and times, not {dtype}"
        )
    if len(shape) > MOST_AXES:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_FORMAT,
            f"a wave has at most {MOST_AXES} dimensions; {shape} has {len(shape)}: choose some "
            "indices with slice=",
        )
    is_turned = flag_of(source, IMAGE, default=False)
    unit = {"M": "dat", "m": "s"}.get(dtype.kind, "")
    return Wave(source, shape[::-1] if is_turned else shape, _element(dtype), is_turned, unit)


def _element(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind in "mM":
        return np.dtype("<f8")
    if dtype.kind == "b":
        return np.dtype("i1")
    if dtype.kind in "fc" and dtype.itemsize not in (4, 8, 16):
        return np.dtype("<f4")
    return dtype.newbyteorder("<")
