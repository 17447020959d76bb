"""Labels: a value for each sample, from metadata of its node or from a table."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeservice.client.families import node_at
from lakeservice.client.loader.column import one_array, refuse_missing, taken
from lakeservice.client.loader.pins import Pins
from lakeservice.client.table import Table
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lakeservice.client.remote import Remote

LABEL = "label"
"""Name of a label that was given without one."""
_BESIDE = "./"


class Label(Protocol):
    """One value for each sample."""

    def take(self, indices: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the values of samples, by node and row, and by place in the whole sequence."""


def named_labels(labels: Any, classes: Any) -> dict[str, tuple[Any, Sequence[Any] | None]]:
    """Return what is asked for by name: a metadata key or ``(table, column)``, and classes."""
    if labels is None:
        asked: dict[str, Any] = {}
    elif isinstance(labels, Mapping):
        asked = dict(labels)
    else:
        asked = {LABEL: labels}
    if classes is None or isinstance(classes, Mapping):
        sets = {name: _listed(each) for name, each in (classes or {}).items()}
    else:
        sets = dict.fromkeys(asked, _listed(classes))
    unknown = [name for name in sets if name not in asked]
    if unknown:
        raise _bad(f"classes of {unknown[0]!r}, which is no label; there are {sorted(asked)}")
    return {name: (source, sets.get(name)) for name, source in asked.items()}


def label_of(
    remote: Remote,
    base: str,
    nodes: Sequence[Any],
    lengths: NDArray[np.int64],
    asked: tuple[Any, Sequence[Any] | None],
) -> Label:
    """Return the label that is asked for.

    Parameters
    ----------
    base
        Path that the table's is below.
    nodes, lengths
        Nodes of the samples, and how many each has.
    asked
        Metadata key or ``(table, column)``; the classes that the values are counted by.

    Raises
    ------
    InvalidRequestError
        ``bad-metadata``: a node without that key. ``unknown-column``.
        ``bad-structure``: more or fewer rows than samples.
    """
    source, classes = asked
    if isinstance(source, str):
        return MetadataLabel(source, nodes, classes)
    try:
        path, column = source
    except (TypeError, ValueError):
        path = column = None
    if not (isinstance(path, str) and isinstance(column, str)):
        raise _bad(f"a label {source!r}; it is a metadata key or a pair (table, column)")
    if path.startswith(_BESIDE):
        beside = [f"{node.path}".rpartition("/")[0] for node in nodes]
        paths = ["/".join(filter(None, (at, path.removeprefix(_BESIDE)))) for at in beside]
    else:
        paths = ["/".join(filter(None, (base, path.strip("/"))))]
    return ColumnLabel(remote, paths, column, nodes, lengths, classes)


class MetadataLabel:
    """A metadata key of the nodes; all samples of a node have its value."""

    def __init__(self, key: str, nodes: Sequence[Any], classes: Sequence[Any] | None) -> None:
        found = [_looked_up(node, key) for node in nodes]
        if classes is not None:
            found = [
                _class_of(value, classes, node.path)
                for value, node in zip(found, nodes, strict=True)
            ]
        self._values = _together(found)

    def take(self, indices: NDArray[np.int64], _places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the value of each sample's node; shape (n, …)."""
        return self._values[indices[:, 0]]


class ColumnLabel:
    """A column whose rows are the samples, one after the other; read once, kept as Arrow."""

    def __init__(
        self,
        remote: Remote,
        paths: Sequence[str],
        column: str,
        nodes: Sequence[Any],
        lengths: NDArray[np.int64],
        classes: Sequence[Any] | None,
    ) -> None:
        tables: list[Any] = [node_at(remote, path) for path in paths]
        for table in tables:
            if not isinstance(table, Table):
                raise InvalidRequestError(
                    ErrorKind.WRONG_FAMILY,
                    f"the labels of {table.path!r}: its family is {table.family}, not table",
                )
            if column not in table.columns:
                raise InvalidRequestError(
                    ErrorKind.UNKNOWN_COLUMN,
                    f"{table.path!r} has no column {column!r}; "
                    f"there are {', '.join(table.columns[:20])}",
                )
        one = len(tables) == 1
        wanted = [int(lengths.sum())] if one else lengths.tolist()
        for number, (table, samples) in enumerate(zip(tables, wanted, strict=True)):
            if len(table) != samples:
                told = f"{len(nodes)} nodes" if one and len(nodes) > 1 else repr(nodes[number].path)
                raise InvalidRequestError(
                    ErrorKind.BAD_STRUCTURE,
                    f"{table.path!r} has {len(table)} rows, and {told} {samples} samples; "
                    "labels are paired with samples in order",
                )
        self._tables, self._column, self._classes = tables, column, classes
        self._pins = Pins(remote, tables)
        self._values: pa.Array | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_values": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def take(self, _indices: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the value at each sample's place; shape (n, …)."""
        return taken(self._whole(), places)

    def _whole(self) -> pa.Array:
        with self._lock:
            if self._values is None:
                read = [table.to_arrow((self._column,)).column(0) for table in self._tables]
                self._pins.check()
                told = f"column {self._column!r} of {self._tables[0].path!r}"
                chunks = [one_array(column) for column in read]
                values = one_array(pa.chunked_array(chunks))
                refuse_missing(values, told)
                self._values = values if self._classes is None else self._encoded(values, told)
            return self._values

    def _encoded(self, values: pa.Array, told: str) -> pa.Array:
        try:
            classes = pa.array(self._classes, values.type)
        except (pa.ArrowException, TypeError, OverflowError):
            raise _bad(f"{told} is {values.type}; classes are {self._classes}") from None
        found = pc.index_in(values, classes)
        if found.null_count:
            row = pc.index(pc.is_null(found), True).as_py()
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"{told} holds {values[row].as_py()!r} in row {row}; classes are {self._classes}",
            )
        return found.cast(pa.int64())


def _listed(classes: Any) -> list[Any]:
    """Return classes as Python's values, also those of a NumPy array."""
    return classes.tolist() if isinstance(classes, np.ndarray) else list(classes)


def _looked_up(node: Any, key: str) -> Any:
    value: Any = node.metadata
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None and isinstance(node.metadata.get(key), str | int | float | bool | list):
        value = node.metadata[key]  # a key with dots in its name
    if value is None:
        raise InvalidRequestError(
            ErrorKind.BAD_METADATA,
            f"{node.path!r} has no metadata {key!r}, which is to be its label",
        )
    return value


def _class_of(value: Any, classes: Sequence[Any], path: str) -> int:
    try:
        return list(classes).index(value)
    except ValueError:
        raise _bad(f"the label of {path!r} is {value!r}; classes are {list(classes)}") from None


def _together(values: list[Any]) -> NDArray[Any]:
    """Return values as one array: of numbers, of text, or of objects where they are mixed."""
    kinds = {type(value) for value in values}
    if kinds <= {int, float} or kinds in ({str}, {bool}):
        return np.asarray(values)
    if kinds == {list}:
        vectors = np.array([None], object)
        with contextlib.suppress(ValueError):  # of several lengths
            vectors = np.asarray(values)
        if vectors.dtype.kind in "biuf":
            return vectors
    mixed = np.empty(len(values), object)
    mixed[:] = values
    return mixed


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_REQUEST, message)
