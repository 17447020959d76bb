"""The byte shuffle: first bytes of all elements, then second bytes, and so on."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

if TYPE_CHECKING:
    from lakeservice.codecs.steps import Bytes1D

_library: Any = imagecodecs  # its stubs know less than it does
_MAX_TYPESIZE = 255
_WORTH = 4096  # bytes below which NumPy is as fast


def unshuffle_into(shuffled: Bytes1D, itemsize: int, out: Bytes1D) -> None:
    """Put bytes back into the order of the elements; bytes beyond whole elements stay.

    Blosc has the fastest unshuffle there is: a frame of one block that is
    shuffled but not compressed makes it do just that.
    """
    whole = shuffled.size - shuffled.size % max(1, itemsize)
    if itemsize <= 1 or whole <= itemsize:
        out[:] = shuffled
        return
    out[whole:] = shuffled[whole:]
    if itemsize > _MAX_TYPESIZE or whole < _WORTH:
        out[:whole].reshape(-1, itemsize)[...] = shuffled[:whole].reshape(itemsize, -1).T
        return
    frame = np.empty(24 + whole, np.uint8)
    # version, LZ4's version, flags (shuffle, no split, LZ4), element size; sizes; start; length
    header = struct.pack("<BBBBIIIII", 2, 1, 0x31, itemsize, whole, whole, frame.size, 20, whole)
    frame[:24] = np.frombuffer(header, np.uint8)
    frame[24:] = shuffled[:whole]
    _library.blosc_decode(frame, numthreads=1, out=out[:whole])
