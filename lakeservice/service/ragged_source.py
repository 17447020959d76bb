"""Slices of ragged data as sources for exporters."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from lakeservice.service.nested_source import NestedRows
from lakeservice.storage.conforming import array_of, canonical, window_of
from lakeservice.storage.forms import numbered_form, parse_form
from lakeservice.storage.nested import merged
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import Axis, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakeservice.storage.archives import Member
    from lakeservice.storage.windows import Window

Index = tuple[int | slice | EllipsisType, ...]


@dataclass(frozen=True, kw_only=True)
class RaggedRows(NestedRows):
    """A slice of ragged data, as a `NestedSource`.

    The rows are taken window by window; what is asked of the other axes is taken
    out of each.
    """

    index: Index = ()
    """NumPy basic index; empty for everything."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on."""
        return (*super().identity, str(self.index))

    @cached_property
    def _axes(self) -> tuple[Axis, Index]:
        structure: Any = self.node.structure
        shape = structure.shape
        parts = list(self.index)
        places = [place for place, part in enumerate(parts) if isinstance(part, EllipsisType)]
        if places:
            missing = len(shape) - len(parts) + 1
            parts[places[0] : places[0] + 1] = [slice(None)] * max(0, missing)
        if len(places) > 1 or len(parts) > len(shape):
            raise _refused(f"{len(self.index)} slices for {len(shape)} axes")
        if any(isinstance(part, slice) and part.step == 0 for part in parts):
            # Awkward never comes back from it.
            raise _refused("slice step cannot be zero")
        (axis,) = select(parts[0] if parts else (), (shape[0],)).axes
        rest = parts[1:]
        while rest and rest[-1] == slice(None):
            rest.pop()
        return axis, tuple(rest)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the data, in their order."""
        axis, rest = self._axes
        return not rest and not axis.drop and axis.step == 1 and axis.count == self._stored.length

    @property
    def is_stored(self) -> bool:
        """Whether its buffers lie in the lake as they are to be sent."""
        return self.is_whole and super().is_stored

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single number."""
        structure: Any = self.node.structure
        axis, rest = self._axes
        dropped = axis.drop and all(isinstance(part, int) for part in rest)
        return dropped and len(rest) == len(structure.shape) - 1

    @property
    def form(self) -> Mapping[str, Any]:
        """Awkward's form of what is sent."""
        return self._sliced[0]

    @property
    def length(self) -> int:
        """Rows of what is sent."""
        return self._sliced[1]

    @cached_property
    def _sliced(self) -> tuple[Mapping[str, Any], int]:
        """Form and length, found by going through all that is asked for: it can be sent then."""
        if self.is_whole:
            return self._stored.document, self._stored.length
        if self.is_scalar:
            return {}, 0
        document: Mapping[str, Any] = {}
        length = 0
        for described, rows, _ in self._windows():
            document, length = described, length + rows
        return document, length

    def verify(self) -> None:
        """Go through what is asked for, so that no list is found too short later.

        Raises
        ------
        InvalidRequestError
            ``bad-slice``.
        """
        _, rest = self._axes
        if any(isinstance(part, int) for part in rest):
            for _ in self._picked():
                pass

    def scalar(self) -> Any:
        """Return the single number that is asked for."""
        (number,) = self._picked()
        return number

    def arrays(self) -> Iterator[Any]:
        """Yield the rows as `ak.Array` of bounded size, one at least."""
        if self.is_whole:
            yield from super().arrays()
            return
        for document, rows, window in self._windows():
            yield array_of(document, rows, window)

    @contextmanager
    def members(self) -> Iterator[list[Member]]:
        """Give the buffers as files for an archive; they are read within the context."""
        if self.is_whole:
            with super().members() as members:
                yield members
            return
        windows = ((rows, window) for _, rows, window in self._windows())
        with merged(parse_form(self.form), windows) as joined:
            yield joined.members

    def _windows(self) -> Iterator[tuple[dict[str, Any], int, Window]]:
        document: dict[str, Any] | None = None
        for array in self._picked():
            layout = canonical(array)
            if document is None:
                document = numbered_form(layout.form.to_dict())
            yield document, len(layout), window_of(parse_form(document), layout)

    def _picked(self) -> Iterator[Any]:
        """Yield what the index takes out of each window."""
        axis, rest = self._axes
        try:
            if axis.drop:
                (row,) = self._stored.arrays(axis.start, axis.start + 1)
                picked = row[0]
                yield picked[rest] if rest else picked
                return
            index = (slice(None), *rest)
            for rows, step in self._rows(axis):
                yield rows[::step][index] if rest else rows[::step]
        except (IndexError, ValueError, TypeError, OverflowError) as error:
            told = str(error).strip().partition("\n")[0][:200]
            raise _refused(told) from None

    def _rows(self, axis: Axis) -> Iterator[tuple[Any, int]]:
        """Yield windows of rows and the step in which to take them, in the order of the answer."""
        if axis.step > 0:
            position, stop = axis.start, axis.start + (axis.count - 1) * axis.step + 1
            ahead = 0
            for rows in self._stored.arrays(position, stop if axis.count else position):
                yield rows[ahead:], axis.step
                ahead = (ahead - len(rows)) % axis.step
            return
        low = axis.start + (axis.count - 1) * axis.step
        cuts = [low]
        for count, _ in self._stored.windows(low, axis.start + 1):
            cuts.append(cuts[-1] + count)
        position = axis.start
        for begin, end in zip(cuts[-2::-1], cuts[:0:-1], strict=True):
            if position < begin:
                continue
            parts = list(self._stored.arrays(begin, end))
            for rows in reversed(parts):
                first = end - len(rows)
                if position >= first:
                    yield rows[: position - first + 1], axis.step
                    position -= ((position - first) // -axis.step + 1) * -axis.step
                end = first


def _refused(told: str) -> InvalidRequestError:
    return InvalidRequestError(
        ErrorKind.BAD_SLICE,
        f"Cannot apply the requested slice to these ragged data: {told}. Lists that are too "
        "short have no such element; read whole rows and slice them yourself.",
    )
