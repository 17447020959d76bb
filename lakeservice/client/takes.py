"""Many small reads of arrays: rows by their numbers, or any selections, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lakeservice.client.filling import fill_each, fill_rows, named, settled
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import Selection, parse_selection, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakeservice.client.array import Array
    from lakeservice.client.remote import Remote

LARGE_BYTES = 8 << 20
"""Larger selections are read one by one, each at full speed."""
Delivered = Literal["direct", "encoded", "decoded"]
Reach = Callable[..., bool]
"""Calls a function with the module of direct delivery; tells whether it works here."""


def take(
    array: Array,
    remote: Remote,
    selections: Any,
    out: NDArray[Any] | None,
    delivery: str,
    reach: Reach | None,
    places: NDArray[np.int64] | None = None,
) -> tuple[Any, Delivered | None]:
    """Read many parts of an array; see `Array.take`. Tell also how they came."""
    check_delivery(delivery)
    if isinstance(selections, str) or not isinstance(selections, np.ndarray | Sequence):
        raise _bad(
            f"{type(selections).__name__} is no list of selections; "
            "give a 1-D array, list or range of integers, or a list of selections"
        )
    structure = array.structure
    shape, dtype = structure.shape, structure.dtype
    reach = None if delivery == "decoded" else reach
    rows = row_numbers(selections, shape)
    if rows is not None:
        count = _counted(rows.size, out, places)
        whole = checked_out(out, (count, *shape[1:]), dtype)
        return whole, _take_rows(array, remote, rows, whole, reach, places, delivery)
    chosen = selections_of(list(selections), shape)
    if out is None:
        outs = [np.empty(each.shape, dtype) for each in chosen]
    else:
        count = _counted(len(chosen), out, places)
        checked_out(out, (count, *_one_shape(chosen)), dtype)
        order = range(count) if places is None else places.tolist()
        outs = [out[place, ...] for place in order]
    delivered = _take_each(array, remote, chosen, outs, reach, delivery)
    return outs if out is None else out, delivered


def _counted(count: int, out: NDArray[Any] | None, places: NDArray[np.int64] | None) -> int:
    """Return how many rows ``out`` needs: as many as it has where the places are given."""
    if places is None:
        return count
    rows = -1 if out is None or not out.ndim else len(out)
    fits = places.shape == (count,) and places.dtype.kind in "iu"
    if not fits or (count and not (places.min() >= 0 and places.max() < rows)):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"places are a 1-D array of {count} integers, which number the rows of out",
        )
    return rows


def _take_rows(
    array: Array,
    remote: Remote,
    rows: NDArray[np.int64],
    out: NDArray[Any],
    reach: Reach | None,
    places: NDArray[np.int64] | None,
    delivery: str,
) -> Delivered | None:
    if not out.size or not rows.size:
        return None

    def read(direct: Any) -> None:
        direct.read_rows(remote, array.path, array.version, rows, out, places)

    if reach is not None and reach(read, forced=delivery == "direct"):
        return "direct"
    if out.nbytes // len(out) <= LARGE_BYTES:
        fill_rows(remote, array.path, rows, out, places)
        return "decoded"
    order = range(rows.size) if places is None else places.tolist()

    def read_each() -> None:
        for place, row in zip(order, rows.tolist(), strict=True):
            array.read(row, out[place, ...], by_itself(delivery))

    settled(remote, array.path, read_each)
    return array.last_delivery


def _take_each(
    array: Array,
    remote: Remote,
    chosen: list[Selection],
    outs: list[NDArray[Any]],
    reach: Reach | None,
    delivery: str,
) -> Delivered | None:
    if not any(target.size for target in outs):
        return None

    def read(direct: Any) -> None:
        wants = [
            (each, place.reshape(each.kept_shape))
            for each, place in zip(chosen, outs, strict=True)
            if place.size
        ]
        direct.read(remote, array.path, array.version, wants)

    if reach is not None and reach(read, forced=delivery == "direct"):
        return "direct"
    large = [number for number, target in enumerate(outs) if target.nbytes > LARGE_BYTES]
    small = [number for number, target in enumerate(outs) if 0 < target.nbytes <= LARGE_BYTES]

    def read_each() -> None:
        for number in large:
            array.read(chosen[number], outs[number], by_itself(delivery))
        fill_each(
            remote,
            array.path,
            [chosen[number] for number in small],
            [outs[number] for number in small],
        )

    if large:
        settled(remote, array.path, read_each)
    else:
        read_each()
    return "decoded"


def by_itself(delivery: str) -> Literal["auto", "decoded"]:
    """Return how a large part is read that does not come with others."""
    return "decoded" if delivery == "decoded" else "auto"


def _one_shape(chosen: list[Selection]) -> tuple[int, ...]:
    shapes = {each.shape for each in chosen}
    if len(shapes) > 1:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"out takes selections of one shape; there are {sorted(shapes)[:4]}: leave it out",
        )
    return shapes.pop()


def check_delivery(delivery: str) -> None:
    """Raise ``bad-request`` unless many parts come by this delivery."""
    if delivery not in ("auto", "direct", "decoded"):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"delivery {delivery!r}; many parts come by 'auto', 'direct' or 'decoded'",
        )


def row_numbers(selections: Any, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Return the rows that a sequence of integers means; None where it is no such sequence.

    Parameters
    ----------
    selections
        A 1-D array, list or range of integers; negative ones count from the end.
        An empty one means no rows.
    shape
        Shape of the array.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: a row that is not there (the message says which), booleans,
        or an array of integers that is not 1-D.
    """
    if isinstance(selections, np.ndarray | range):
        numbers = np.asarray(selections)
        if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and numbers.size):
            raise _bad(
                f"an array of {numbers.dtype} and {numbers.ndim} axes; rows are taken by a 1-D "
                "array of integers: use numpy.flatnonzero for a mask"
            )
    elif all(is_integer(each) for each in selections):
        numbers = np.array(selections, np.int64)
    else:
        return None
    if not shape:
        raise _bad("an array without axes has no rows to take")
    length = shape[0]
    wrong = np.flatnonzero((numbers < -length) | (numbers >= length))
    if wrong.size:
        first = int(wrong[0])
        raise _bad(
            f"selection {first} of {numbers.size}: index {numbers[first]} is out of range on "
            f"axis 0, which has length {length}"
        )
    rows = numbers.astype(np.int64)
    rows[rows < 0] += length
    return rows


def selections_of(selections: Sequence[Any], shape: tuple[int, ...]) -> list[Selection]:
    """Return the normal forms of several selections; an error names which one is wrong."""
    found = []
    for number, each in enumerate(selections):
        try:
            found.append(selection_of(each, shape))
        except InvalidRequestError as error:
            raise named(error, number, len(selections)) from None
    return found


def selection_of(selection: Any, shape: tuple[int, ...]) -> Selection:
    """Return the normal form of one selection: an index, a text or a normal form."""
    if isinstance(selection, str):
        return parse_selection(selection, shape)
    if isinstance(selection, Selection):
        selection = selection.as_index()
    return select(selection, shape)


def checked_out(
    out: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return ``out``, or a new array; raise ``bad-request`` where it does not fit."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"out is {out.dtype} of shape {out.shape}; the answer needs a writeable array "
            f"of {dtype} and shape {shape}",
        )
    return out


def is_integer(each: Any) -> bool:
    """Tell whether something is an integer, and no boolean."""
    return isinstance(each, int | np.integer) and not isinstance(each, bool)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_SLICE, message)
