"""Selections: the part of an array that somebody asks for, with NumPy's meaning."""

from __future__ import annotations

import math
import operator
from types import EllipsisType
from typing import Any

import msgspec

from schemas.errors import ErrorKind, InvalidRequestError

MAX_TEXT = 2048
"""Longest selection as text, in characters."""


class Axis(msgspec.Struct, frozen=True, array_like=True):
    """The elements ``start, start + step, …`` (``count`` of them) of one axis."""

    start: int
    count: int
    step: int = 1
    """Never 0; negative runs backwards."""
    drop: bool = False
    """True where an integer chose one element: the axis is not in the answer."""

    def as_slice(self) -> slice:
        """Return the slice that gives these elements, with the axis kept."""
        stop = self.start + self.count * self.step
        if self.count == 0:
            return slice(0, 0, 1)
        return slice(self.start, stop if stop >= 0 else None, self.step)


class Selection(msgspec.Struct, frozen=True, array_like=True):
    """One `Axis` per axis of the array, in order."""

    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the answer, without the dropped axes."""
        return tuple(axis.count for axis in self.axes if not axis.drop)

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """Shape of the answer with dropped axes kept at length 1."""
        return tuple(axis.count for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(axis.count for axis in self.axes)

    def as_index(self) -> tuple[slice | int, ...]:
        """Return the index that gives the same answer on a NumPy array."""
        return tuple(axis.start if axis.drop else axis.as_slice() for axis in self.axes)

    def is_whole(self, shape: tuple[int, ...]) -> bool:
        """Tell whether this is every element of an array of ``shape``, in order."""
        return all(
            axis.start == 0 and axis.count == length and axis.step == 1 and not axis.drop
            for axis, length in zip(self.axes, shape, strict=True)
        )

    def part(self, inner: Selection) -> Selection:
        """Return the selection that takes ``inner`` out of what this one gives."""
        kept = iter(inner.axes)
        axes = []
        for axis in self.axes:
            if axis.drop:
                axes.append(axis)
                continue
            taken = next(kept)
            start = axis.start + taken.start * axis.step
            axes.append(Axis(start, taken.count, axis.step * taken.step, taken.drop))
        return Selection(tuple(axes))

    def to_text(self) -> str:
        """Return the text that `parse_selection` reads back to this selection."""
        return ",".join(
            str(axis.start) if axis.drop else _slice_text(axis.as_slice()) for axis in self.axes
        )


def _slice_text(part: slice) -> str:
    stop = "" if part.stop is None else part.stop
    return f"{part.start}:{stop}" if part.step == 1 else f"{part.start}:{stop}:{part.step}"


def select(index: Any, shape: tuple[int, ...]) -> Selection:
    """Return the normal form of a NumPy basic index on an array of ``shape``.

    Parameters
    ----------
    index
        None for everything, or integers, slices and at most one Ellipsis, alone
        or in a tuple. Bounds follow NumPy: negative counts from the end, a
        slice past the end is clipped, an integer past the end is an error.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: too many axes, two Ellipses, an integer out of range, a
        step of 0, or an index that is not basic (masks, lists, newaxis).
    """
    if index is None:
        index = ()
    parts: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
    parts = _fill(parts, shape)
    return Selection(
        tuple(
            _axis(part, length, number)
            for number, (part, length) in enumerate(zip(parts, shape, strict=True))
        )
    )


def _fill(parts: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
    ellipses = [number for number, part in enumerate(parts) if isinstance(part, EllipsisType)]
    if len(ellipses) > 1:
        raise _bad("a selection may hold one '...', not two")
    given = len(parts) - len(ellipses)
    if given > len(shape):
        raise _bad(f"{given} slices for an array of {len(shape)} axes, shape {shape}")
    missing = (slice(None),) * (len(shape) - given)
    if not ellipses:
        return parts + missing
    return parts[: ellipses[0]] + missing + parts[ellipses[0] + 1 :]


def _axis(part: Any, length: int, number: int) -> Axis:
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(length)
        except (TypeError, ValueError) as error:
            raise _bad(f"slice on axis {number}: {error}") from None
        count = len(range(start, stop, step))
        if count < 2:
            return Axis(start if count else 0, count)
        return Axis(start, count, step)
    if part is None or isinstance(part, bool) or hasattr(part, "__len__"):
        raise _bad(
            f"axis {number}: only integers, slices and '...' can be asked for, "
            f"not {type(part).__name__}; read the enclosing slice and index the result"
        )
    try:
        position = operator.index(part)
    except TypeError:
        raise _bad(f"axis {number}: {part!r} is neither an integer nor a slice") from None
    if not -length <= position < length:
        raise _bad(f"index {position} is out of range on axis {number}, which has length {length}")
    return Axis(position % length, 1, 1, drop=True)


def parse_selection(text: str | None, shape: tuple[int, ...]) -> Selection:
    """Return the selection that a text such as ``0:10,::2,-1,...`` stands for.

    None and empty text mean everything; surrounding ``[]`` or ``()`` are allowed.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: not such a text, or as in `select`.
    """
    return select(parse_index(text), shape)


def parse_index(text: str | None) -> tuple[int | slice | EllipsisType, ...]:
    """Return the NumPy index that a text such as ``0:10,::2,-1,...`` stands for.

    None and empty text are the empty index; surrounding ``[]`` or ``()`` are allowed.

    Raises
    ------
    InvalidRequestError
        ``bad-slice``: not such a text.
    """
    if text is None:
        return ()
    if len(text) > MAX_TEXT:
        raise _bad(f"a selection of {len(text)} characters; at most {MAX_TEXT} are allowed")
    body = text.strip()
    if body[:1] in ("[", "("):
        if body[-1:] != {"[": "]", "(": ")"}[body[0]]:
            raise _bad(f"brackets of {text!r} do not match")
        body = body[1:-1]
    if not body.strip():
        return ()
    return tuple(_part(part, text) for part in body.split(","))


def _part(part: str, text: str) -> int | slice | EllipsisType:
    part = part.strip()
    if part == "...":
        return ...
    try:
        if ":" not in part:
            return int(part)
        numbers = [int(piece) if piece.strip() else None for piece in part.split(":")]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 3:
        raise _bad(
            f"cannot read {part[:40]!r} in selection {text[:80]!r}; "
            "write integers and start:stop:step, with commas between axes"
        )
    return slice(*numbers)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_SLICE, message)
