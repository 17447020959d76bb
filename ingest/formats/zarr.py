"""Zarr folders, version 2 and 3: groups and arrays, chunks where they lie."""

from __future__ import annotations

import dataclasses
import os
import warnings
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ingest.formats.zarr_arrays import ZarrArray, array_v2, array_v3
from ingest.formats.zarr_chunks import ChunkFiles
from ingest.found import Found, Item
from ingest.metadata import json_object
from ingest.rows import row_blocks
from ingest.source import unreadable
from schemas.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.source import Source

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
_MOST_DEPTH = 32
_MOST_TEXT = 1 << 24
_MOST_METADATA_BYTES = 64 << 20


class ZarrFormat:
    """A folder that is one array or one tree of groups and arrays.

    Parameters
    ----------
    roots
        Folders, links resolved, that its metadata must lie in; None allows all.
    """

    media_type = "application/x-zarr"
    suffixes = (".zarr", ".zr")

    def __init__(self, roots: Sequence[Path] | None = None) -> None:
        self._roots = roots

    def sniff(self, source: Source) -> bool:
        """Tell whether a folder holds Zarr metadata."""
        return source.is_directory and any((source.path / mark).is_file() for mark in _MARKS)

    def open(self, source: Source) -> Found:
        """Describe every group and array, and find every chunk file."""
        store = _Store(source.path, self._roots)
        found = Found([], assets=[source.asset()])
        files = ChunkFiles(found.assets)
        for path, node in store.walk():
            found.items.append(_item(source.path, path, node, files))
        if not found.items:
            raise unreadable(source.name, "there is neither a group nor an array in it")
        root = found.items[0]
        found.metadata = root.metadata
        if store.root_kind == "group":
            found.items = found.items[1:]
        else:
            root.metadata = {}
        found.problems += [f"{name} lies outside its array" for name in files.strays[:100]]
        return found


@dataclasses.dataclass(frozen=True)
class _Node:
    """The metadata documents of one node."""

    is_array: bool
    version: int
    metadata: dict[str, Any]
    attributes: dict[str, Any]
    problem: str | None = None


class _Store:
    """Reads metadata from the files, or from the consolidated copy where a file is missing."""

    def __init__(self, folder: Path, roots: Sequence[Path] | None = None) -> None:
        self._folder = folder
        self._roots = roots
        self._consolidated: dict[str, Any] = {}
        self.root_kind = ""
        v2 = self._json(folder / ".zmetadata")
        if isinstance(v2.get("metadata"), dict):
            self._consolidated |= v2["metadata"]
        v3 = self._json(folder / "zarr.json").get("consolidated_metadata") or {}
        for path, document in (v3.get("metadata") or {}).items():
            self._consolidated[f"{path}/zarr.json"] = document

    def walk(self) -> Iterator[tuple[str, _Node]]:
        """Yield every node below the root, and the root first; parents before children."""
        pending: list[tuple[str, int]] = [("", 0)]
        while pending:
            path, depth = pending.pop(0)
            node = self._node(path)
            if node is None:
                if path and not self._has_nodes(path, depth):
                    continue
                node = _Node(False, 2, {}, {})
            if not path:
                self.root_kind = "array" if node.is_array else "group"
            yield path, node
            if not node.is_array and depth < _MOST_DEPTH:
                below = [f"{path}/{name}" if path else name for name in self._folders(path)]
                pending[:0] = [(child, depth + 1) for child in below]

    def _folders(self, path: str) -> list[str]:
        names: set[str] = set()
        try:
            with os.scandir(self._folder / path) as listing:
                names = {
                    one.name
                    for one in listing
                    if not one.name.startswith(".") and one.is_dir(follow_symlinks=False)
                }
        except OSError:
            pass
        prefix = f"{path}/" if path else ""
        for key in self._consolidated:
            if key.startswith(prefix) and key.count("/") > prefix.count("/"):
                names.add(key[len(prefix) :].split("/", 1)[0])
        return sorted(names - {"", ".", ".."})

    def _has_nodes(self, path: str, depth: int) -> bool:
        """Tell whether a folder without metadata of its own holds nodes."""
        if depth > _MOST_DEPTH:
            return False
        return any(
            self._node(f"{path}/{name}") is not None or self._has_nodes(f"{path}/{name}", depth + 1)
            for name in self._folders(path)
        )

    def _json(self, path: Path) -> dict[str, Any]:
        if self._roots is not None and not any(map(path.resolve().is_relative_to, self._roots)):
            raise ValueError(f"{path.name} lies outside the folders that may be read")
        return _json(path)

    def _document(self, path: str, name: str) -> dict[str, Any]:
        key = f"{path}/{name}" if path else name
        try:
            found = self._json(self._folder / key)
        except OSError:
            found = {}
        return found or self._consolidated.get(key) or {}

    def _node(self, path: str) -> _Node | None:
        try:
            v3 = self._document(path, "zarr.json")
            if v3:
                kind = v3.get("node_type")
                return _Node(kind == "array", 3, v3, _attributes(v3.get("attributes")))
            attributes = self._document(path, ".zattrs")
            if array := self._document(path, ".zarray"):
                return _Node(True, 2, array, _attributes(attributes))
            if group := self._document(path, ".zgroup"):
                return _Node(False, 2, group, _attributes(attributes))
        except ValueError as error:
            return _Node(True, 0, {}, {}, problem=str(error))
        return None


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object in a file; empty if there is no file.

    Raises
    ------
    ValueError
        Not a JSON object.
    """
    try:
        if path.stat().st_size > _MOST_METADATA_BYTES:
            raise ValueError(f"{path.name} is too large to be metadata")
        payload = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for word in (b"NaN", b"Infinity"):
        if word in payload:  # Zarr 2 writes numbers that JSON does not have
            return _lenient(payload, path.name)
    try:
        found = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError(f"{path.name} is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return found


def _lenient(payload: bytes, name: str) -> dict[str, Any]:
    import json  # the only parser that takes bare NaN; rarely needed

    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not JSON") from None
    return found if isinstance(found, dict) else {}


def _attributes(attributes: Any) -> dict[str, Any]:
    return json_object(attributes) if isinstance(attributes, dict) else {}


def _item(root: Path, path: str, node: _Node, files: ChunkFiles) -> Item:
    metadata = {key: value for key, value in node.attributes.items() if key != "_ARRAY_DIMENSIONS"}
    if node.problem is not None:
        return Item(path, problem=node.problem)
    if not node.is_array:
        return Item(path, metadata=metadata)
    try:
        read_metadata = array_v3 if node.version == 3 else array_v2
        array = read_metadata(node.metadata, node.attributes)
    except (KeyError, TypeError, AttributeError) as error:
        return Item(path, metadata=metadata, problem=f"damaged metadata ({error!r})")
    except (ValueError, LakeError) as error:
        return Item(path, metadata=metadata, problem=str(error))
    folder = root / path if path else root
    if array.is_text:
        return _text(folder, path, array, metadata)
    dtype = array.structure.dtype
    if array.unsupported is not None:
        return Item(path, array.structure, metadata, read=lambda: _rows(folder, dtype))
    try:
        rows = files.rows(folder, array)
    except (LakeError, OSError) as error:
        return Item(path, array.structure, metadata, problem=str(error))
    return Item(
        path,
        array.structure,
        metadata,
        layout=array.layout,
        location=rows,
        read=lambda: _rows(folder, dtype),
    )


def _rows(folder: Path, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the rows of an array as zarr-python reads them."""
    import zarr  # 0.3 s; only conversion needs it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about codecs outside the specification
        array: Any = zarr.open_array(str(folder), mode="r")
        if not array.shape:
            yield np.asarray(array[()]).astype(dtype)
            return
    if 0 in array.shape:
        yield np.zeros(array.shape, dtype)
        return
    stored = getattr(array, "shards", None) or array.chunks
    for rows in row_blocks(array.shape, dtype.itemsize, multiple=stored[0]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            block = np.asarray(array[rows])
        yield block.astype(dtype, copy=False)


def _text(folder: Path, path: str, array: ZarrArray, metadata: dict[str, Any]) -> Item:
    """Return an array of text: its longest element, found by reading, gives the dtype."""
    shape = array.structure.shape
    if int(np.prod(shape, dtype=np.float64)) > _MOST_TEXT:
        return Item(
            path,
            array.structure,
            metadata,
            problem=f"text of any length in {shape}: too much of it",
        )
    try:
        longest = max(
            (int(np.strings.str_len(rows).max()) for rows in _texts(folder) if rows.size), default=0
        )
    except Exception as error:  # zarr-python raises what its codecs raise
        return Item(path, array.structure, metadata, problem=f"cannot read its text: {error}")
    dtype = np.dtype(f"U{max(1, longest)}")
    structure = msgspec.structs.replace(
        array.structure, data_type=type(array.structure.data_type).from_numpy(dtype)
    )
    return Item(
        path, structure, metadata, read=lambda: (rows.astype(dtype) for rows in _texts(folder))
    )


def _texts(folder: Path) -> Iterator[NDArray[Any]]:
    return _rows(folder, np.dtypes.StringDType())
