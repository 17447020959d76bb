"""Chunks that were written again: new objects beside the old, and an index that names them."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np

from schemas.errors import CorruptError, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakeservice.storage.objects import Objects

_FOLDER = "rewritten"
_TAG_BYTES = 6
_CACHE_BYTES = 64 << 20
_ENTRY_BYTES = 150  # a position and a tag in memory, about

Position = tuple[int, ...]
"""Position of a chunk in the array's grid."""


class _Stored(msgspec.Struct, array_like=True):
    """The index as it is stored: rows of positions, and as many tags."""

    axes: int
    positions: bytes
    tags: bytes


class Rewritten:
    """Which chunks of one array were written again, and where they lie; never changed.

    Parameters
    ----------
    home
        Prefix of the part that the chunks lie beside.
    tags
        By position: what tells this writing of a chunk from others.
    """

    def __init__(self, home: str, tags: Mapping[Position, bytes] | None = None) -> None:
        self._home = home
        self._tags = dict(tags or {})

    def __len__(self) -> int:
        return len(self._tags)

    @property
    def size_bytes(self) -> int:
        """Memory that it takes, about."""
        return _ENTRY_BYTES * (1 + len(self._tags))

    @classmethod
    def of(cls, objects: Objects, index: str | None, home: str = "") -> Rewritten:
        """Return the index under an object name, from memory where it was read before.

        Raises
        ------
        CorruptError
            ``corrupt-object``: it is missing, or is not an index.
        """
        if index is None:
            return cls(home)
        found = _CACHE.get(objects, index)
        if found is None:
            found = cls._read(objects, index)
            _CACHE.keep(objects, index, found)
        return found

    @classmethod
    def _read(cls, objects: Objects, index: str) -> Self:
        stored = objects.get(index)
        try:
            packed = msgspec.msgpack.decode(stored or b"", type=_Stored)
            rows = len(packed.tags) // _TAG_BYTES
            positions = np.frombuffer(packed.positions, "<i8").reshape(rows, packed.axes)
        except (msgspec.MsgspecError, ValueError) as error:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT, f"the index of rewritten chunks {index!r} is damaged"
            ) from error
        tags = (
            packed.tags[start : start + _TAG_BYTES]
            for start in range(0, len(packed.tags), _TAG_BYTES)
        )
        home = index.rpartition(f"/{_FOLDER}/")[0]
        return cls(home, dict(zip(map(tuple, positions.tolist()), tags, strict=True)))

    def name_of(self, position: Position) -> str | None:
        """Return the object of a chunk; None where it was not written again."""
        tag = self._tags.get(position)
        return None if tag is None else self.name_for(position, tag)

    def name_for(self, position: Position, tag: bytes) -> str:
        """Return the object name of a chunk with this tag."""
        return f"{self._home}/{_FOLDER}/{'.'.join(map(str, position))}-{tag.hex()}"

    def added(self, tags: Mapping[Position, bytes]) -> Rewritten:
        """Return an index that has these chunks too."""
        return Rewritten(self._home, {**self._tags, **tags})

    def write(self, objects: Objects) -> str:
        """Write the index, durably, and return its object name."""
        axes = len(next(iter(self._tags), ()))
        positions = np.array(list(self._tags), "<i8").tobytes()
        packed = _Stored(axes, positions, b"".join(self._tags.values()))
        name = f"{self._home}/{_FOLDER}/index-{new_tag().hex()}"
        objects.put(name, msgspec.msgpack.encode(packed))
        _CACHE.keep(objects, name, self)
        return name


def new_tag() -> bytes:
    """Return what no other writing of a chunk has."""
    return secrets.token_bytes(_TAG_BYTES)


class _Cache:
    """Indexes used lately, up to a number of bytes; their objects never change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = 0
        self._kept: OrderedDict[tuple[int, str], tuple[Objects, Rewritten]] = OrderedDict()

    def get(self, objects: Objects, name: str) -> Rewritten | None:
        key = (id(objects), name)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return None if found is None else found[1]

    def keep(self, objects: Objects, name: str, found: Rewritten) -> None:
        # The store is kept beside its index, so that its id() stays its own.
        key = (id(objects), name)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (objects, found)
                self._held += found.size_bytes
            while self._held > _CACHE_BYTES and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1][1].size_bytes


_CACHE = _Cache()
