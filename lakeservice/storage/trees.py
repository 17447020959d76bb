"""Inner trees: what lies inside a registered file, as one object beside its entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import zstandard

from schemas.entry import InnerTree
from schemas.errors import CorruptError, ErrorKind, NotFoundError

if TYPE_CHECKING:
    from lakeservice.storage.objects import Objects

_LEVEL = 3


def write_tree(objects: Objects, name: str, tree: InnerTree) -> None:
    """Write a tree as zstd-compressed MessagePack under an object name: ``data/<id>/tree``."""
    packed = msgspec.msgpack.encode(tree)
    objects.put(name, zstandard.ZstdCompressor(_LEVEL).compress(packed))


def read_tree(objects: Objects, name: str) -> InnerTree:
    """Read a tree.

    Raises
    ------
    NotFoundError
        ``asset-not-found``: no such object.
    CorruptError
        ``corrupt-object``: it is not a tree.
    """
    stored = objects.get(name)
    if stored is None:
        raise NotFoundError(
            ErrorKind.ASSET_NOT_FOUND, f"the lake has no object {name!r}; run a check"
        )
    try:
        packed = zstandard.ZstdDecompressor().decompress(stored)
        return msgspec.msgpack.decode(packed, type=InnerTree)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise CorruptError(
            ErrorKind.CORRUPT_OBJECT, f"the file tree {name!r} cannot be read; ingest it again"
        ) from error
