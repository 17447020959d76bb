"""Answers of many small reads, each put into its place: all of one version of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lakeservice.client.exchange import Answer, answers_of
from schemas.errors import ConflictError, ErrorKind, LakeError
from schemas.ticket import ReadArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lakeservice.client.remote import Remote
    from schemas.selection import Selection

ATTEMPTS = 5
"""How often everything is asked for when others change the array meanwhile."""


def fill_rows(
    remote: Remote,
    path: str,
    rows: NDArray[np.int64],
    out: NDArray[Any],
    places: NDArray[np.int64] | None = None,
) -> None:
    """Read rows of an array, each into its place.

    Parameters
    ----------
    rows
        Numbers of rows, not negative.
    out
        Array of ``(len(rows), *shape of a row)``.
    places
        Row of ``out`` that each goes to; None for their order.
    """
    order = np.argsort(rows, kind="stable")
    head, tail = _around(remote, path)

    def request(number: int) -> bytes:
        return b"%b%d%b" % (head, rows[order[number]], tail)

    def place(number: int) -> NDArray[Any]:
        row = order[number]
        view: NDArray[Any] = out[row if places is None else places[row], ...]
        return view

    fill(remote, rows.size, request, place, lambda number: int(order[number]))


def fill_each(
    remote: Remote, path: str, selections: Sequence[Selection], outs: Sequence[NDArray[Any]]
) -> None:
    """Read selections of an array, each into its array, which has the selection's ``shape``."""
    order = sorted(
        range(len(selections)),
        key=lambda number: tuple(axis.start for axis in selections[number].axes),
    )
    head, tail = _around(remote, path)

    def request(number: int) -> bytes:
        return b"".join((head, selections[order[number]].to_text().encode(), tail))

    fill(remote, len(order), request, lambda n: outs[order[n]], lambda n: order[n])


def fill(
    remote: Remote,
    count: int,
    request: Callable[[int], bytes],
    place: Callable[[int], NDArray[Any]],
    asked: Callable[[int], int],
) -> None:
    """Ask many requests of one node in one exchange, and put each answer into its place.

    All answers are of one version of the node: where it changes meanwhile, everything
    is asked again.

    Parameters
    ----------
    asked
        Returns which selection of the caller a request stands for, to be named in errors.

    Raises
    ------
    ConflictError
        ``revision-conflict``: another shape or dtype than the node was known to have,
        or changes again and again.
    """

    def refuse(number: int, error: LakeError) -> None:
        raise named(error, asked(number), count)

    for _ in range(ATTEMPTS):
        versions: set[int] = set()

        def take(answer: Answer, versions: set[int] = versions) -> None:
            versions.add(answer.version)
            target = place(answer.number)
            if answer.elements.shape != target.shape or answer.elements.dtype != target.dtype:
                raise _changed(answer.elements, target)
            target[...] = answer.elements

        answers_of(remote.connection, count, request, take, refuse)
        if len(versions) < 2:
            return
    raise restless()


def settled(remote: Remote, path: str, read: Callable[[], None]) -> None:
    """Read a node in several steps, again where it was changed between them.

    Parameters
    ----------
    read
        Asks the server at each step; it answers with the present version.

    Raises
    ------
    ConflictError
        ``revision-conflict``: it changes again and again.
    """
    if remote.as_of is not None:  # the past does not change
        read()
        return
    (before,) = remote.versions([path])
    for _ in range(ATTEMPTS):
        read()
        (after,) = remote.versions([path])
        if after == before:
            return
        before = after
    raise restless()


def restless() -> ConflictError:
    """Return the error for what others change all the time."""
    return ConflictError(
        ErrorKind.REVISION_CONFLICT,
        f"what was read was changed {ATTEMPTS} times meanwhile; try again later",
    )


def _changed(found: NDArray[Any], target: NDArray[Any]) -> ConflictError:
    return ConflictError(
        ErrorKind.REVISION_CONFLICT,
        f"the array has changed: a selection gives {found.dtype} of shape {found.shape} now, "
        f"where this node expects {target.dtype} of shape {target.shape}; refresh() it",
    )


def _around(remote: Remote, path: str) -> tuple[bytes, bytes]:
    """Return what stands before and behind the selection in a request."""
    marked = ReadArray(path=path, selection="@@", as_of=remote.as_of)
    head, _, tail = msgspec.json.encode(marked).rpartition(b"@@")
    return head, tail


def named(error: LakeError, number: int, count: int, about: str = "") -> LakeError:
    """Return an error that says which of several selections it is about."""
    return type(error)(error.kind, f"selection {number} of {count}{about}: {error.message}")
