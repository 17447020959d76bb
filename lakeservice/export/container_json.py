"""Containers as JSON: what is below one with its metadata, or the values of its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.export.array_text import write_json as write_array
from lakeservice.export.exporter import Exporter
from lakeservice.export.table_text import write_json as write_table
from lakeservice.export.walking import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.export.exporter import Piece
    from lakeservice.export.sources import ContainerSource

GATHERED = 64 << 10
"""Text that is sent at a time."""


def write_tree(container: ContainerSource) -> Iterator[Piece]:
    """Yield nested objects of ``contents`` and ``metadata``, one for each node; no data."""
    text = bytearray(b'{"metadata":' + _json(container.metadata) + b',"contents":{')
    depth, first = 0, True
    for step in walk(container):
        level = len(step.path) - 1
        if level < depth:
            text += b"}}" * (depth - level)
            first = False
        text += (b"" if first else b",") + _json(step.path[-1])
        text += b':{"metadata":' + _json(step.source.metadata) + b',"contents":{'
        depth, first = level + 1, True
        if len(text) > GATHERED:
            yield bytes(text)
            text.clear()
    yield bytes(text + b"}}" * (depth + 1))


def write_data(container: ContainerSource) -> Iterator[Piece]:
    """Yield one object with the values of every array and every column, by name.

    The names are those of the nodes and columns, in the container's order; where two
    are the same, the first is written.
    """
    seen: set[str] = set()
    yield b"{"
    for step in walk(container):
        source = step.source
        if source.problem is not None or source.name in seen:
            continue
        if source.family == "array":
            yield (b"," if seen else b"") + _json(source.name) + b":"
            yield from write_array(source)
            seen.add(source.name)
        elif source.family == "table":
            with source.read() as reader:
                names = tuple(name for name in reader.schema.names if name not in seen)
            if names:
                yield b"," if seen else b" "
                yield from _inside(write_table(_Columns(source, names)))
                seen.update(names)
    yield b"}"


class _Columns:
    """Some columns of a table."""

    def __init__(self, source: Any, names: tuple[str, ...]) -> None:
        self._source = source
        self._names = names

    def read(self, columns: tuple[str, ...] | None = None) -> Any:
        return self._source.read(self._names if columns is None else columns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def _inside(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield an object without its outer braces, which are pieces of their own."""
    held: Piece | None = None
    next(pieces)
    for piece in pieces:
        if held is not None:
            yield held
        held = piece


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


TREE = Exporter(
    family="container", media_type="application/json", names=("json",), write=write_tree
)
DATA = Exporter(family="container", media_type="application/json", write=write_data)
