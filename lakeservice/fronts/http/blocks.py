"""Blocks of arrays, dense and sparse: which elements ``block=0,3`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.fronts.http.structures import told_blocks
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import Axis, Selection, parse_selection
from schemas.structures import ArrayStructure, SparseStructure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.structures import Chunks

Gridded = ArrayStructure | SparseStructure


def block_position(structure: Gridded, text: str | None) -> tuple[int, ...]:
    """Return which chunk ``block=0,3`` names.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: not one integer an axis, or out of range.
    """
    return tuple(axis.start for axis in _blocks(structure, text))


def block_bounds(structure: Gridded, text: str | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first element and the shape of the chunk, or the chunks side by side, named.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: another number of axes, out of range, or with a step.
    """
    origin, shape = [], []
    for axis, length, sizes in zip(
        _blocks(structure, text), structure.shape, _grid(structure), strict=True
    ):
        if isinstance(sizes, int):
            start = min(axis.start * sizes, length)
            stop = min((axis.start + axis.count) * sizes, length)
        else:
            start = sum(sizes[: axis.start])
            stop = start + sum(sizes[axis.start : axis.start + axis.count])
        origin.append(start)
        shape.append(stop - start)
    return tuple(origin), tuple(shape)


def _blocks(structure: Gridded, text: str | None) -> Sequence[Axis]:
    counts = tuple(
        len(sizes) if isinstance(sizes, tuple) else max(1, -(-length // sizes))
        for length, sizes in zip(structure.shape, _grid(structure), strict=True)
    )
    given = (text or "").strip()
    if len([part for part in given.split(",") if part.strip()]) != len(counts):
        raise InvalidRequestError(
            ErrorKind.BAD_SLICE,
            f"block={given[:80]!r}; write {len(counts)} integers with commas between, "
            f"below {counts}",
        )
    axes = parse_selection(given, counts).axes
    if any(axis.step != 1 for axis in axes):
        raise InvalidRequestError(ErrorKind.BAD_SLICE, "block takes integers and start:stop")
    return axes


def _grid(structure: Gridded) -> Chunks:
    return told_blocks(structure) if isinstance(structure, ArrayStructure) else structure.chunks


def slice_of_block(structure: Gridded, block: str | None, text: str | None) -> Selection:
    """Return the selection of an array that a slice of one of its blocks is.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``.
    """
    origin, shape = block_bounds(structure, block)
    inside = parse_selection(text, shape)
    return Selection(
        tuple(
            Axis(start + axis.start, axis.count, axis.step, axis.drop)
            for start, axis in zip(origin, inside.axes, strict=True)
        )
    )


def check_expected(text: str | None, shape: tuple[int, ...]) -> None:
    """Refuse an answer that has not the shape ``3,4`` that a request expects.

    Raises
    ------
    InvalidRequestError
        ``bad-request``.
    """
    if text is None or text == "":
        return
    wanted = "scalar" if not shape else ",".join(map(str, shape))
    if text.replace(" ", "") != wanted:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"expected_shape={text[:80]!r}, but the answer has the shape {wanted!r}; "
            "the array may have changed: describe it again",
        )
