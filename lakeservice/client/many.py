"""Small reads of many nodes in one call."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.client.disk import UnreachableError
from lakeservice.client.exchange import Answer, answers_of
from lakeservice.client.families import node_at
from lakeservice.client.filling import ATTEMPTS, named, restless
from lakeservice.client.takes import by_itself, check_delivery, is_integer, selection_of
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError, LakeError
from schemas.selection import Selection
from schemas.ticket import ReadArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lakeservice.client.remote import Remote

Pair = tuple[str, Any]
"""The path of a node from the root, and a selection of it."""
FEW_NODES = 64
"""Files of so many nodes are asked for one by one, though each may be wanted but once."""


def read_many(remote: Remote, pairs: Sequence[Pair], delivery: str) -> list[NDArray[Any]]:
    """Read a selection of each of many nodes; see `Container.read_many`."""
    check_delivery(delivery)
    found: list[Any] = [None] * len(pairs)
    left = list(range(len(pairs)))
    if delivery != "decoded":
        left = _read_files(remote, pairs, found, forced=delivery == "direct")
    if left:
        _exchange(remote, pairs, left, found, delivery)
    return found


def _read_files(
    remote: Remote, pairs: Sequence[Pair], found: list[Any], *, forced: bool
) -> list[int]:
    """Read what lies in files on this machine; return the numbers of the other pairs."""
    by_path: dict[str, list[int]] = {}
    for number, (path, _) in enumerate(pairs):
        by_path.setdefault(path, []).append(number)
    refused = remote.connection.disk.is_refused
    if not forced and (refused or len(by_path) > max(FEW_NODES, len(pairs) // 2)):
        return list(range(len(pairs)))
    left: list[int] = []
    for path, numbers in by_path.items():
        try:
            _read_node(remote, path, pairs, numbers, found)
        except UnreachableError as error:
            if forced:
                raise named(error.error, numbers[0], len(pairs), f", of {path!r}") from None
            left += numbers
    return left


def _read_node(
    remote: Remote, path: str, pairs: Sequence[Pair], numbers: Sequence[int], found: list[Any]
) -> None:
    """Read what is wanted of one node."""
    from lakeservice.client import chunk_table, direct  # codecs; who reads no array does without

    for _ in range(ATTEMPTS):
        try:
            table = chunk_table.find_table(remote, path, 0, 0)
        except LakeError as error:
            raise UnreachableError(error) from None  # another delivery may, or says it better
        chosen = [_selection(pairs, number, table.shape) for number in numbers]
        outs = [np.empty(each.shape, table.dtype) for each in chosen]
        wants = [
            (each, out.reshape(each.kept_shape))
            for each, out in zip(chosen, outs, strict=True)
            if each.size
        ]
        try:
            direct.read(remote, path, table.version, wants)
        except ConflictError:  # it has another shape now
            continue
        for number, out in zip(numbers, outs, strict=True):
            found[number] = out
        return
    raise restless()


def _selection(pairs: Sequence[Pair], number: int, shape: tuple[int, ...]) -> Selection:
    path, index = pairs[number]
    try:
        return selection_of(index, shape)
    except InvalidRequestError as error:
        raise named(error, number, len(pairs), f", of {path!r}") from None


def _exchange(
    remote: Remote,
    pairs: Sequence[Pair],
    numbers: Sequence[int],
    found: list[Any],
    delivery: str,
) -> None:
    """Ask the server for some of the pairs, in one exchange."""
    total = len(pairs)
    order = sorted(numbers, key=lambda number: pairs[number][0])
    requests = [
        msgspec.json.encode(
            ReadArray(
                path=pairs[number][0],
                selection=index_text(pairs[number][1], number, total),
                as_of=remote.as_of,
            )
        )
        for number in order
    ]
    for _ in range(ATTEMPTS):
        versions: dict[str, set[int]] = {}
        large: list[int] = []

        def take(answer: Answer, versions: dict[str, set[int]] = versions) -> None:
            number = order[answer.number]
            found[number] = answer.elements.copy()
            versions.setdefault(pairs[number][0], set()).add(answer.version)

        def refuse(position: int, error: LakeError, large: list[int] = large) -> None:
            number = order[position]
            if error.kind is not ErrorKind.TOO_LARGE:
                raise named(error, number, total, f", of {pairs[number][0]!r}")
            large.append(number)

        answers_of(remote.connection, len(order), requests.__getitem__, take, refuse)
        if any(len(each) > 1 for each in versions.values()):
            continue
        for number in large:
            path, index = pairs[number]
            node: Any = node_at(remote, path)
            found[number] = node.read(index, delivery=by_itself(delivery))
            versions.setdefault(path, set()).add(node.version)
        if large and remote.as_of is None:  # a large one may be of a later version
            paths = sorted({pairs[number][0] for number in large})
            for path, present in zip(paths, remote.versions(paths), strict=True):
                versions[path].add(-1 if present is None else present[1])
        if all(len(each) == 1 for each in versions.values()):
            return
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
