"""Small reads of many nodes in one call."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.client.exchange import Answer, answers_of
from lakeservice.client.families import node_at
from lakeservice.client.takes import ATTEMPTS, is_integer, named, restless
from schemas.errors import ErrorKind, InvalidRequestError, LakeError
from schemas.selection import Selection
from schemas.ticket import ReadArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lakeservice.client.remote import Remote


def read_many(remote: Remote, pairs: Sequence[tuple[str, Any]]) -> list[NDArray[Any]]:
    """Read a selection of each of many nodes; see `Container.read_many`.

    Parameters
    ----------
    pairs
        Path from the root, and selection.
    """
    requests = [
        msgspec.json.encode(
            ReadArray(
                path=path, selection=index_text(index, number, len(pairs)), as_of=remote.as_of
            )
        )
        for number, (path, index) in enumerate(pairs)
    ]
    order = sorted(range(len(pairs)), key=lambda number: pairs[number][0])
    for _ in range(ATTEMPTS):
        found: list[Any] = [None] * len(pairs)
        versions: dict[str, set[int]] = {}
        large: list[int] = []

        def take(
            answer: Answer,
            found: list[Any] = found,
            versions: dict[str, set[int]] = versions,
        ) -> None:
            number = order[answer.number]
            found[number] = answer.elements.copy()
            versions.setdefault(pairs[number][0], set()).add(answer.version)

        def refuse(position: int, error: LakeError, large: list[int] = large) -> None:
            number = order[position]
            if error.kind is not ErrorKind.TOO_LARGE:
                raise named(error, number, len(pairs), f", of {pairs[number][0]!r}")
            large.append(number)

        answers_of(remote.connection, len(pairs), lambda n: requests[order[n]], take, refuse)
        if any(len(each) > 1 for each in versions.values()):
            continue
        for number in large:
            path, index = pairs[number]
            node: Any = node_at(remote, path)
            found[number] = node.read(index)
            versions.setdefault(path, set()).add(node.version)
        if all(len(each) == 1 for each in versions.values()):
            return found
    raise restless()


def index_text(index: Any, number: int, count: int) -> str | None:
    """Return a NumPy basic index as text; where it fits is found out by the server."""
    if index is None or isinstance(index, str):
        return index
    if isinstance(index, Selection):
        return index.to_text()
    parts = index if isinstance(index, tuple) else (index,)
    try:
        return ",".join(_part_text(part) for part in parts)
    except TypeError as error:
        raise named(InvalidRequestError(ErrorKind.BAD_SLICE, str(error)), number, count) from None


def _part_text(part: Any) -> str:
    if part is Ellipsis:
        return "..."
    if isinstance(part, slice):
        ends = ["" if end is None else str(operator.index(end)) for end in (part.start, part.stop)]
        step = [] if part.step is None else [str(operator.index(part.step))]
        return ":".join(ends + step)
    if not is_integer(part):
        raise TypeError(
            f"only integers, slices and '...' can be asked for, not {type(part).__name__}"
        )
    return str(int(part))
