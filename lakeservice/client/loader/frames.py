"""Samples of arrays: read from many nodes, each straight into its place in a batch."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeservice.client.chunk_table import vouch
from lakeservice.codecs.engine import Engine
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lakeservice.client.array import Array
    from lakeservice.client.remote import Remote


class Frames:
    """Arrays whose samples have one shape and dtype.

    Parameters
    ----------
    remote
        Where the lake answers.
    nodes
        Arrays as they were described.
    sample_axes
        How many leading axes count samples, the last of them fastest.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``: too few axes, or the first node whose samples differ.
    """

    def __init__(self, remote: Remote, nodes: Sequence[Array], sample_axes: int = 1) -> None:
        self.nodes = nodes
        self._remote = remote
        self._axes = sample_axes
        if sample_axes < 1:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"sample_axes={sample_axes}; it must be 1 or more"
            )
        for node in nodes:
            self._check(node)
        first = nodes[0]
        self.shape = first.shape[sample_axes:]
        """Shape of a sample."""
        self.stored_dtype = first.dtype
        self.dtype = first.dtype.newbyteorder("=")
        """Of an element of a batch: native byte order."""
        self.lengths = np.array([math.prod(n.shape[:sample_axes]) for n in nodes], np.int64)
        self.block_rows = np.array([_together(n, sample_axes) for n in nodes], np.int64)
        self.sample_bytes = math.prod(self.shape) * self.dtype.itemsize

    def _check(self, node: Array) -> None:
        first, axes = self.nodes[0], self._axes
        if node.ndim < axes:
            raise InvalidRequestError(
                ErrorKind.BAD_STRUCTURE,
                f"{node.path!r} has {node.ndim} axes; the first {axes} are to count samples",
            )
        if (node.shape[axes:], node.dtype) != (first.shape[axes:], first.dtype):
            raise InvalidRequestError(
                ErrorKind.BAD_STRUCTURE,
                f"samples of {node.path!r} are {node.dtype} of shape {node.shape[axes:]}; "
                f"{first.dtype} of shape {first.shape[axes:]} is expected, as of {first.path!r}",
            )

    def read(self, indices: NDArray[np.int64], out: NDArray[Any]) -> NDArray[Any]:
        """Read samples into ``out``, and return them in native byte order.

        Parameters
        ----------
        indices
            Node and row of each; shape (n, 2).
        out
            Of the stored dtype; shape (n, …).
        """
        far = self.nodes[0].last_delivery == "decoded"
        engine = Engine.shared_far() if far else Engine.shared()
        engine.run(
            functools.partial(self._read_node, self.nodes[number], indices[places, 1], out, places)
            for number, places in _by_node(indices)
        )
        if not out.dtype.isnative:
            out = out.byteswap(inplace=True).view(self.dtype)
        return out

    def _read_node(
        self, node: Array, rows: NDArray[np.int64], out: NDArray[Any], places: NDArray[np.intp]
    ) -> None:
        vouch(self._remote, node.path, node.id, node.version)
        wanted: Any = rows
        if self._axes > 1:
            corners = np.stack(np.unravel_index(rows, node.shape[: self._axes]), axis=1)
            wanted = [tuple(corner) for corner in corners.tolist()]
        node.take(wanted, out, places=places)


def _by_node(indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each node with the places of its samples, by row."""
    order = np.lexsort((indices[:, 1], indices[:, 0]))
    nodes = indices[order, 0]
    cuts = np.flatnonzero(nodes[1:] != nodes[:-1]) + 1
    for places in np.split(order, cuts):
        if places.size:
            yield int(indices[places[0], 0]), places


def _together(node: Array, axes: int) -> int:
    """Return how many consecutive samples lie in one chunk, or in a run of whole ones."""
    rows = 1
    for length, sizes in zip(node.shape[axes - 1 :: -1], node.chunks[axes - 1 :: -1], strict=True):
        chunk = min(length, sizes if isinstance(sizes, int) else max(sizes, default=1))
        rows *= max(1, chunk)
        if chunk < length:
            break
    return rows
