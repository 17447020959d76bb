"""One step of a codec chain: what every codec does, and how a codec is found by its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lakeservice.codecs.extent import Extent

Buffer = bytes | bytearray | memoryview | NDArray[Any]
"""Contiguous bytes, wherever they come from."""
Bytes1D = NDArray[np.uint8]
"""A flat view of memory."""


class DecodeError(Exception):
    """Encoded bytes, or options, are not what the codec expects; its users say which chunk."""


class Context(NamedTuple):
    """What a codec may have to know about the chunk that it works on."""

    dtype: np.dtype[Any]
    """Element type as stored."""
    chunk_shape: tuple[int, ...]
    """Shape of a whole stored chunk."""

    @property
    def size(self) -> int:
        """Bytes of a whole stored chunk, decoded."""
        return self.dtype.itemsize * math.prod(self.chunk_shape)

    @property
    def limit(self) -> int:
        """Most bytes that any step may decode to: a header is not believed beyond it."""
        return 4 * self.size + (64 << 10)


class Step:
    """One codec of a chain, from bytes to bytes; subclasses decode, some encode too.

    Parameters
    ----------
    configuration
        As the layout has it.
    context
        The chunk that the chain is for.

    Raises
    ------
    DecodeError
        Not a configuration of this codec.
    """

    is_seal = False
    """Whether it changes nothing, and only adds a checksum that decoding compares."""

    def __init__(self, configuration: Mapping[str, Any], context: Context) -> None:
        self.configuration = configuration
        self.limit = context.limit
        """Most bytes that it may decode to."""

    def encoded_size(self, size: int) -> int | None:
        """Return the size of ``size`` bytes when encoded; None where that depends on them."""
        return None

    def decode(self, encoded: Buffer, size: int | None) -> Buffer:
        """Return the decoded bytes.

        Parameters
        ----------
        encoded
            Bytes as this step wrote them.
        size
            Size of the decoded bytes where it is known.
        """
        raise NotImplementedError

    def expect(self, stated: int, size: int | None) -> int:
        """Return the decoded size that a header states.

        Raises
        ------
        DecodeError
            It is not the one that is known, or is out of all proportion.
        """
        if (size is not None and stated != size) or not 0 <= stated <= self.limit:
            raise DecodeError(f"its header says {stated} bytes instead of {size or 'a few'}")
        return stated

    def decode_into(self, encoded: Buffer, out: Bytes1D) -> None:
        """Decode into memory of exactly the decoded size."""
        out[:] = sized(self.decode(encoded, out.size), out.size)

    def decode_runs(self, encoded: Extent, runs: Runs, out: Bytes1D) -> bool:
        """Decode at least these runs of ``out``, leaving the rest of it undefined.

        Returns
        -------
        bool
            False where this step cannot decode a part, and has done nothing.
        """
        return False

    def as_blosc(self, encoded: Buffer, size: int) -> memoryview | None:
        """Return the encoded bytes as a Blosc frame of ``size`` decoded bytes, nothing decoded.

        None where they are no such frame and cannot be made one by moving bytes.
        """
        return None

    def encode(self, decoded: Buffer) -> Buffer:
        """Return the bytes as they are to be stored."""
        raise NotImplementedError


Runs = Sequence[tuple[int, int]]
"""Ranges of decoded bytes, ``start <= byte < stop``, ascending, apart from one another."""
Factory = Callable[[Mapping[str, Any], Context], Step]


def flat(buffer: Buffer) -> Bytes1D:
    """Return the bytes of any contiguous buffer, without a copy."""
    if isinstance(buffer, np.ndarray):
        return buffer.reshape(-1).view(np.uint8)
    return np.frombuffer(buffer, np.uint8)


def whole_elements(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array whose copies take every byte of each element along.

    NumPy copies records field by field: the bytes between fields would be
    whatever was in the memory before, and that might be somebody else's.
    """
    return array.view(f"V{array.dtype.itemsize}") if array.dtype.names else array


def sized(buffer: Buffer, size: int) -> Bytes1D:
    """Return the bytes of a buffer that must have this many.

    Raises
    ------
    DecodeError
        More or fewer bytes: wrong data is never padded or cut.
    """
    found = flat(buffer)
    if found.size != size:
        raise DecodeError(f"decoded to {found.size} bytes instead of {size}")
    return found


def filled(result: Any, out: Bytes1D) -> Bytes1D:
    """Return ``out`` where a library says that it has filled all of it.

    Raises
    ------
    DecodeError
        It decoded fewer bytes.
    """
    size = out.size if result is None else memoryview(result).nbytes
    if size != out.size:
        raise DecodeError(f"decoded to {size} bytes instead of {out.size}")
    return out
