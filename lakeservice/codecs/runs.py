"""Runs of bytes in a chunk that hold wanted elements: what a part of it costs to read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakeservice.codecs.steps import Bytes1D

_GAP = 32 << 10  # unwanted bytes between two wanted runs that are worth skipping


class Cut:
    """Some elements of a C-ordered block of memory.

    Parameters
    ----------
    shape
        Shape of the whole block.
    dtype
        Type of its elements.
    source
        Elements wanted; at least one along each axis, steps may be negative.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], source: tuple[slice, ...]
    ) -> None:
        self.dtype = dtype
        """Type of the elements."""
        strides = []
        stride = dtype.itemsize
        for length in reversed(shape):
            strides.append(stride)
            stride *= length
        strides.reverse()
        self._wanted = [range(length)[part] for part, length in zip(source, shape, strict=True)]
        self._strides = strides
        self.whole = stride
        """Bytes of the whole block."""
        self.size = dtype.itemsize * math.prod(len(wanted) for wanted in self._wanted)
        """Bytes of the wanted elements."""
        self.ascending = all(wanted.step > 0 or len(wanted) < 2 for wanted in self._wanted)

    def runs(self) -> list[tuple[int, int]]:
        """Return the byte ranges that hold the wanted elements, ascending.

        Ranges that are nearer to each other than what is worth skipping are one.
        """
        spans = [
            (abs(wanted[-1] - wanted[0])) * stride
            for wanted, stride in zip(self._wanted, self._strides, strict=True)
        ]
        inner = sum(spans) + self.dtype.itemsize
        low = sum(
            min(wanted[0], wanted[-1]) * stride
            for wanted, stride in zip(self._wanted, self._strides, strict=True)
        )
        starts: NDArray[np.int64] = np.full(1, low, np.int64)
        for wanted, stride, span in zip(self._wanted, self._strides, spans, strict=True):
            apart = abs(wanted.step) * stride
            if len(wanted) > 1:
                if apart - (inner - span) < _GAP:
                    break
                steps = np.arange(len(wanted), dtype=np.int64) * apart
                starts = (starts[:, None] + steps).reshape(-1)
            inner -= span
        return [(start, start + inner) for start in starts.tolist()]

    def view(self, memory: Bytes1D, first: int) -> NDArray[Any]:
        """Return the wanted elements, of memory that holds the block from byte ``first`` on."""
        offset = -first
        strides = []
        for wanted, stride in zip(self._wanted, self._strides, strict=True):
            offset += wanted[0] * stride
            strides.append(wanted.step * stride if len(wanted) > 1 else stride)
        shape = tuple(len(wanted) for wanted in self._wanted)
        return np.ndarray(shape, self.dtype, memory.data, offset, tuple(strides))
