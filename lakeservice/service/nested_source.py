"""Awkward and ragged data as sources for exporters."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakeservice.service.node_source import NodeSource
from lakeservice.storage.forms import numbered_form, ragged_form
from lakeservice.storage.nested import StoredNested, arrow_of, batches_of
from schemas.chunks import TableStorage
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import AwkwardStructure, RaggedStructure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa

    from lakeservice.service.service import Service
    from lakeservice.storage.archives import Member
    from schemas.entry import Node


def declared_form(node: Node) -> dict[str, Any]:
    """Return the form in which a node's data are sent, every node of it with a key.

    Raises
    ------
    InvalidRequestError
        ``wrong-family``: it is neither awkward nor ragged.
    """
    if isinstance(node.structure, AwkwardStructure):
        return numbered_form(node.structure.form)
    if isinstance(node.structure, RaggedStructure):
        return ragged_form(node.structure)
    raise InvalidRequestError(
        ErrorKind.WRONG_FAMILY, f"{node.path!r} is a {node.family}, neither awkward nor ragged"
    )


def stored_nested(service: Service, node: Node) -> StoredNested:
    """Return the stored data of an awkward or ragged node.

    Raises
    ------
    InvalidRequestError
        ``wrong-family``.
    NotFoundError
        ``asset-not-found``: not all of it was written yet.
    """
    document = declared_form(node)
    structure: Any = node.structure
    length = structure.length if isinstance(structure, AwkwardStructure) else structure.shape[0]
    storage = node.data_sources[0].storage if node.data_sources else None

    def batches(start: int, stop: int) -> Iterable[pa.RecordBatch]:
        reader: Iterable[pa.RecordBatch] = service.reader.table(node).batches(rows=(start, stop))
        return reader

    return StoredNested(
        service.lake.objects,
        storage if isinstance(storage, TableStorage) else TableStorage(),
        document,
        length or 0,
        batches,
    )


@dataclass(frozen=True, kw_only=True)
class NestedRows(NodeSource):
    """Awkward or ragged data, or the part that was asked for, as a `NestedSource`."""

    keys: tuple[str, ...] | None = None
    """Keys of the form's nodes whose buffers are wanted; None for all."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What the bytes depend on."""
        return (*super().identity, self.keys)

    @cached_property
    def _stored(self) -> StoredNested:
        return stored_nested(self.service, self.node)

    @property
    def form(self) -> Mapping[str, Any]:
        """Awkward's form of what is sent."""
        return self._stored.document

    @property
    def length(self) -> int:
        """Rows of what is sent."""
        return self._stored.length

    @property
    def is_stored(self) -> bool:
        """Whether its buffers lie in the lake as they are to be sent."""
        return self._stored.is_one_archive

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single number."""
        return False

    def scalar(self) -> Any:
        """Return that number."""
        raise InvalidRequestError(ErrorKind.BAD_SLICE, f"{self.node.path!r} has rows")

    def arrays(self) -> Iterator[Any]:
        """Yield the rows as `ak.Array` of bounded size, one at least."""
        return self._stored.arrays()

    @contextmanager
    def members(self) -> Iterator[list[Member]]:
        """Give the buffers as files for an archive; they are read within the context."""
        with self._stored.members(self._buffers()) as members:
            yield members

    def read(self, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Return a fresh reader of the rows as Arrow lists."""
        return batches_of((arrow_of(array, plain=True) for array in self.arrays()), columns)

    def _buffers(self) -> set[str] | None:
        if self.keys is None:
            return None
        nodes = {node.key: node for node in self._stored.form.nodes()}
        unknown = [key for key in self.keys if key not in nodes]
        if unknown:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"no node of the form has the form_key {unknown[0][:80]!r}; "
                f"there are {', '.join(list(nodes)[:12])}",
            )
        return {name for key in self.keys for name in nodes[key].buffers}
