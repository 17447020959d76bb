"""Hypothesis strategies for arrays, chunk grids and selections; needs ``hypothesis``."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from schemas.selection import Selection, select
from schemas.structures import ArrayStructure, DataType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from schemas.structures import Chunks

SIMPLE_DTYPES: tuple[str, ...] = (
    "?",
    "|i1",
    "|u1",
    "<i2",
    ">u2",
    "<i4",
    "<u4",
    ">i8",
    "<u8",
    "<f2",
    "<f4",
    ">f4",
    "<f8",
    "<c8",
    ">c16",
    "<M8[ns]",
    "<M8[25s]",
    ">m8[ms]",
    "|S5",
    "<U3",
    ">U2",
    "|V3",
)
"""One of each kind of element, in both byte orders."""
RECORD_DTYPES: tuple[np.dtype[Any], ...] = (
    np.dtype([("a", "<i4"), ("b", "<f8")]),
    np.dtype([("a", ">u2"), ("b", "<f4", (2, 3))]),
    np.dtype({"names": ["a", "b"], "formats": ["i1", "<f8"], "offsets": [0, 8], "itemsize": 24}),
)
"""Packed records, records with a sub-array, and records with holes."""


def dtypes() -> st.SearchStrategy[np.dtype[Any]]:
    """Return NumPy dtypes of every kind that an array can have."""
    simple = st.sampled_from([np.dtype(text) for text in SIMPLE_DTYPES])
    return st.one_of(simple, st.sampled_from(RECORD_DTYPES))


@st.composite
def shapes(
    draw: st.DrawFn, *, max_axes: int = 4, max_side: int = 12, min_axes: int = 0
) -> tuple[int, ...]:
    """Return shapes, some without axes and some with axes of length 0."""
    return tuple(draw(st.lists(st.integers(0, max_side), min_size=min_axes, max_size=max_axes)))


@st.composite
def chunkings(draw: st.DrawFn, shape: tuple[int, ...], *, irregular: bool = True) -> Chunks:
    """Return chunks for a shape: per axis one size, or several sizes that add up to it."""
    chunks: list[int | tuple[int, ...]] = []
    for length in shape:
        if irregular and draw(st.booleans()):
            cuts = sorted(draw(st.lists(st.integers(0, length), max_size=3)))
            ends = pairwise([0, *cuts, length])
            chunks.append(tuple(stop - start for start, stop in ends))
        else:
            chunks.append(draw(st.integers(1, length + 2)))
    return tuple(chunks)


@st.composite
def array_structures(
    draw: st.DrawFn,
    *,
    elements: st.SearchStrategy[np.dtype[Any]] | None = None,
    irregular: bool = True,
    max_axes: int = 4,
    max_side: int = 12,
) -> ArrayStructure:
    """Return small array structures of any dtype, shape and chunking."""
    shape = draw(shapes(max_axes=max_axes, max_side=max_side))
    dtype = draw(dtypes() if elements is None else elements)
    return ArrayStructure(
        data_type=DataType.from_numpy(dtype),
        shape=shape,
        chunks=draw(chunkings(shape, irregular=irregular)),
    )


@st.composite
def arrays(draw: st.DrawFn, structure: ArrayStructure) -> NDArray[Any]:
    """Return elements of a structure, with bits of every kind that its dtype allows."""
    return random_array(structure.shape, structure.dtype, draw(st.integers(0, 1 << 32)))


def random_array(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> NDArray[Any]:
    """Return an array of any dtype, the same one for the same seed."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "U":
        letters = rng.integers(0x20, 0x3FF, (*shape, dtype.itemsize // 4), np.uint32)
        points: NDArray[Any] = letters.astype(letters.dtype.newbyteorder(dtype.byteorder))
        return points.view(dtype).reshape(shape)
    top = 2 if dtype.kind == "b" else 256
    payload = rng.integers(0, top, math.prod(shape) * dtype.itemsize, np.uint8)
    return payload.view(dtype).reshape(shape)


@st.composite
def indexes(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Return basic NumPy indexes: integers, slices with any bounds and steps, an Ellipsis."""
    before = draw(st.integers(0, len(shape)))
    after = draw(st.integers(0, len(shape) - before))
    head = [_part(draw, length) for length in shape[:before]]
    if not after and draw(st.booleans()):
        return tuple(head)
    return (*head, ..., *(_part(draw, length) for length in shape[len(shape) - after :]))


def _part(draw: st.DrawFn, length: int) -> int | slice:
    if length and draw(st.booleans()):
        return draw(st.integers(-length, length - 1))
    bounds = st.none() | st.integers(-length - 2, length + 2)
    step = draw(st.none() | st.integers(-4, 4).filter(bool))
    return slice(draw(bounds), draw(bounds), step)


def selections(shape: tuple[int, ...]) -> st.SearchStrategy[Selection]:
    """Return selections of an array of some shape."""
    return indexes(shape).map(lambda index: select(index, shape))
