"""Parts of an array that a registration asks for: a slice of it, axes of length one left out."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ingest.arranging import reshaped, shortened, structure_of
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import parse_selection
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from ingest.found import Item, ReadRows
    from schemas.selection import Selection


def sliced(item: Item, parameters: Mapping[str, Any]) -> Item:
    """Return the part of an array that ``slice`` names, and with ``squeeze`` without axes of 1.

    A part that is not simply the first rows is converted.
    """
    text = parameters.get("slice")
    if text and isinstance(item.structure, ArrayStructure):
        text = str(text).strip("()").replace(" ", "")
        selection = parse_selection(text, item.structure.shape)
        if any(axis.step < 0 for axis in selection.axes):
            raise InvalidRequestError(
                ErrorKind.BAD_SLICE, f"slice={text!r} goes backwards; register it forwards"
            )
        item = _part(item, selection)
    if parameters.get("squeeze") and isinstance(item.structure, ArrayStructure):
        shape = tuple(length for length in item.structure.shape if length != 1)
        item = reshaped(item, shape)
    return item


def _part(item: Item, selection: Selection) -> Item:
    structure = structure_of(item)
    first, *others = selection.axes
    whole = all(
        (axis.start, axis.count, axis.step, axis.drop) == (0, length, 1, False)
        for axis, length in zip(others, structure.shape[1:], strict=True)
    )
    if whole and (first.start, first.step, first.drop) == (0, 1, False):
        return shortened(item, first.count)
    if item.read is None:
        raise InvalidRequestError(ErrorKind.BAD_SLICE, "this array cannot be read in parts")
    part = ArrayStructure.from_numpy(selection.shape, structure.dtype)
    read = partial(_rows, cast("ReadRows", item.read), selection)
    return dataclasses.replace(item, structure=part, read=read, layout=None, location=None)


def _rows(read: ReadRows, selection: Selection) -> Iterator[NDArray[Any]]:
    axis = selection.axes[0]
    index = selection.as_index()
    before = 0
    for block in read():
        rows = range(axis.start, axis.start + axis.count * axis.step, axis.step)
        inside = [row - before for row in rows if before <= row < before + len(block)]
        before += len(block)
        if not inside:
            continue
        part = block[slice(inside[0], inside[-1] + 1, axis.step)]
        part = part[(slice(None), *index[1:])]
        yield part[0] if axis.drop else part
