"""The writes that a container and a transaction both offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from lakeservice.client.metadata import document, spec_list
from schemas.commit import Create, Mutation
from schemas.entry import Node
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.path import clean_path, join_path

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from lakeservice.client.uploads import Upload
    from schemas.entry import Spec
    from schemas.structures import Chunks

    Specs = Iterable[Spec | str | tuple[str, str | None]]

Written = TypeVar("Written")
Entry = str | tuple[str, Mapping[str, Any]] | Mapping[str, Any]
"""A container to create: a key, key and metadata, or ``key``, ``metadata``, ``specs`` by name."""


class Writes(ABC, Generic[Written]):
    """Creates nodes below a path; what happens to them is up to the subclass."""

    @abstractmethod
    def _base(self) -> str:
        """Return the path that keys are relative to."""

    @abstractmethod
    def _change(self, mutation: Mutation, path: str) -> Written:
        """Do, or keep for later, a change without data."""

    @abstractmethod
    def _upload(self, upload: Upload, *, progress: bool) -> Written:
        """Send data."""

    def create_container(
        self,
        key: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        specs: Specs = (),
        parents: bool = True,
    ) -> Written:
        """Create an empty container.

        Parameters
        ----------
        key
            Path relative to here, ``run-7/raw``.
        metadata
            What can be searched: text, numbers, lists and dicts of them.
        specs
            Named promises: names, pairs of name and version, or `Spec`.
        parents
            Create missing containers above it too.

        Raises
        ------
        ConflictError
            ``path-taken``, or ``parent-not-container``.
        """
        path = self._path_of(key)
        node = Node(path=path, id="", metadata=document(metadata), specs=spec_list(specs))
        return self._change(Create(node=node, parents=parents), path)

    def write_array(
        self,
        key: str,
        data: Any,
        *,
        shape: Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
        chunks: Chunks | Sequence[int] | None = None,
        dims: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        specs: Specs = (),
        parents: bool = True,
        progress: bool = False,
    ) -> Written:
        """Write an array.

        Parameters
        ----------
        key
            Path relative to here.
        data
            An array, or an iterable of blocks of rows of the first axis, which is
            sent block by block and never held whole.
        shape, dtype
            Of the whole array; needed where it comes in blocks.
        chunks
            Size of stored chunks per axis; None chooses some MB.
        dims
            Names of the axes, slowest first.
        metadata, specs, parents
            As in `create_container`.
        progress
            Show a progress bar.
        """
        from lakeservice.client import sending  # readers do without

        upload = sending.written_array(
            self._path_of(key),
            data,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            dims=dims,
            metadata=metadata,
            specs=specs,
            parents=parents,
        )
        return self._upload(upload, progress=progress)

    def write_table(
        self,
        key: str,
        rows: Any,
        *,
        metadata: Mapping[str, Any] | None = None,
        specs: Specs = (),
        parents: bool = True,
        progress: bool = False,
    ) -> Written:
        """Write a table.

        Parameters
        ----------
        key
            Path relative to here.
        rows
            Arrow, pandas or Polars; a dict of columns; a structured array; an Arrow
            reader or an iterable of batches, which is never held whole.
        metadata, specs, parents, progress
            As in `write_array`.
        """
        from lakeservice.client import sending  # readers do without

        upload = sending.written_table(
            self._path_of(key), rows, metadata=metadata, specs=specs, parents=parents
        )
        return self._upload(upload, progress=progress)

    def write_sparse(
        self,
        key: str,
        data: Any,
        *,
        coords: Any = None,
        shape: Sequence[int] | None = None,
        dims: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        specs: Specs = (),
        parents: bool = True,
    ) -> Written:
        """Write a sparse array.

        Parameters
        ----------
        key
            Path relative to here.
        data
            A `sparse.COO` or SciPy sparse array; or values, with ``coords`` and ``shape``.
        coords
            Coordinates of the values, shape (axes, values).
        shape, dims, metadata, specs, parents
            As in `write_array`.
        """
        from lakeservice.client import sending  # readers do without

        upload = sending.written_sparse(
            self._path_of(key),
            data,
            coords=coords,
            shape=shape,
            dims=dims,
            metadata=metadata,
            specs=specs,
            parents=parents,
        )
        return self._upload(upload, progress=False)

    def write_awkward(
        self,
        key: str,
        data: Any,
        *,
        metadata: Mapping[str, Any] | None = None,
        specs: Specs = (),
        parents: bool = True,
    ) -> Written:
        """Write nested data of variable length: an `ak.Array`, or lists that become one."""
        from lakeservice.client import sending  # readers do without

        upload = sending.written_awkward(
            self._path_of(key), data, metadata=metadata, specs=specs, parents=parents
        )
        return self._upload(upload, progress=False)

    def write_ragged(
        self,
        key: str,
        data: Any,
        *,
        dims: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        specs: Specs = (),
        parents: bool = True,
    ) -> Written:
        """Write lists of numbers, of any length: an `ak.Array`, or lists that become one.

        Parameters
        ----------
        dims
            Names of the axes.
        """
        from lakeservice.client import sending  # readers do without

        upload = sending.written_ragged(
            self._path_of(key), data, dims=dims, metadata=metadata, specs=specs, parents=parents
        )
        return self._upload(upload, progress=False)

    def _path_of(self, key: str) -> str:
        """Return the whole path of a key.

        Raises
        ------
        InvalidRequestError
            ``bad-path``.
        """
        return join_path(self._base(), clean_path(key))

    def _encoded_creates(self, entries: Iterable[Entry], *, parents: bool) -> Iterator[msgspec.Raw]:
        """Yield mutations that create containers, as JSON already."""
        for entry in entries:
            key, metadata, specs = _entry(entry)
            node = Node(
                path=self._path_of(key),
                id="",
                metadata=document(metadata),
                specs=spec_list(specs) if specs else (),
            )
            yield msgspec.Raw(msgspec.json.encode(Create(node=node, parents=parents)))


_ENTRY_KEYS = frozenset({"key", "path", "metadata", "specs"})


def _entry(entry: Any) -> tuple[str, Any, Any]:
    if isinstance(entry, str):
        return entry, None, ()
    if isinstance(entry, Mapping):
        key = entry.get("key", entry.get("path"))
        if isinstance(key, str) and entry.keys() <= _ENTRY_KEYS:
            return key, entry.get("metadata"), entry.get("specs", ())
    elif isinstance(entry, Sequence) and len(entry) == 2 and isinstance(entry[0], str):
        return entry[0], entry[1], ()
    raise InvalidRequestError(
        ErrorKind.BAD_REQUEST,
        "an entry to create is a pair (key, metadata), or a dict with 'key', 'metadata', 'specs'",
    )
