"""The tree as Zarr groups and arrays, chunks as stored wherever Zarr libraries can read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakeservice.codecs.chain import Chain
from lakeservice.codecs.engine import naming
from lakeservice.storage.zarr_forms import ZarrForm, array_document_v2, zarr_form
from lakeservice.storage.zarr_metadata import array_document
from schemas.chunks import ArrayStorage
from schemas.errors import ErrorKind, InvalidRequestError, NotFoundError
from schemas.path import join_path
from schemas.query import Page
from schemas.selection import Axis, Selection
from schemas.structures import ArrayStructure, ContainerStructure, TableStructure
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.codecs.steps import Buffer
    from lakeservice.service.service import Service
    from lakeservice.storage.arrays import EncodedChunk, StoredArray
    from lakeservice.storage.zarr_forms import Version
    from schemas.entry import Node

CHILDREN = 500
"""Children of a container that are looked up at a time."""
CONSOLIDATED = 256
"""Groups with at most so many nodes below them tell of all of them in one document."""


class ZarrView:
    """Nodes as a Zarr hierarchy of one version of the format.

    Containers and tables are groups, arrays and columns are arrays; metadata are
    attributes. Other families have no Zarr form and are left out.
    """

    def __init__(self, service: Service, version: Version) -> None:
        self._service = service
        self.version: Version = version

    def is_array(self, node: Node) -> bool:
        """Tell whether a node is an array; a group otherwise.

        Raises
        ------
        InvalidRequestError
            ``wrong-family``: it is neither.
        """
        if isinstance(node.structure, ArrayStructure):
            return True
        if not isinstance(node.structure, ContainerStructure | TableStructure):
            raise InvalidRequestError(
                ErrorKind.WRONG_FAMILY, f"{node.path!r} is {node.family} data, which Zarr has not"
            )
        return False

    def members(self, group: Node) -> Iterator[Node]:
        """Yield what lies directly in a group, in its order."""
        if isinstance(group.structure, TableStructure):
            for name in group.structure.columns:
                try:
                    yield self._service.nodes.describe(join_path(group.path, name))
                except NotFoundError:
                    continue  # a column of lists or of text has no dtype
            return
        page = Page(limit=CHILDREN)
        while True:
            found = self._service.search(Search(under=group.path, page=page))
            for node in found.nodes:
                if isinstance(node.structure, ArrayStructure | ContainerStructure | TableStructure):
                    yield node
            if found.cursor is None:
                return
            page = Page(limit=CHILDREN, cursor=found.cursor)

    def below(self, group: Node) -> list[tuple[str, Node]] | None:
        """Return every node below a group with its path from there; None where they are many."""
        found: list[tuple[str, Node]] = []
        waiting = [("", group)]
        while waiting:
            prefix, above = waiting.pop(0)
            for node in self.members(above):
                if len(found) == CONSOLIDATED:
                    return None
                path = join_path(prefix, node.name)
                found.append((path, node))
                if not self.is_array(node):
                    waiting.append((path, node))
        return found

    def form(self, node: Node) -> ZarrForm:
        """Return what a reader is told of an array."""
        source = node.data_sources[0] if node.data_sources else None
        storage = source.storage if source is not None else None
        chunks = storage if isinstance(storage, ArrayStorage) else None
        return zarr_form(self._service.reader.structure(node), chunks, self.version)

    def attributes(self, node: Node) -> dict[str, Any]:
        """Return the metadata of a node, as attributes of an array or group."""
        attributes = dict(node.metadata)
        if self.version == 2 and isinstance(node.structure, ArrayStructure):
            attributes.setdefault("_ARRAY_DIMENSIONS", list(dims_of(node, node.structure)))
        return attributes

    def array_document(self, node: Node) -> dict[str, Any]:
        """Return the metadata document of an array: ``zarr.json`` or ``.zarray``."""
        form = self.form(node)
        if self.version == 2:
            return array_document_v2(form)
        structure = self._service.reader.structure(node)
        dims, attributes = dims_of(node, structure), self.attributes(node)
        return array_document(form.shape, form.layout, dims, attributes)

    def chunk(self, node: Node, position: tuple[int, ...]) -> bytes | None:
        """Return a chunk as a Zarr reader expects it; None where it has only the fill value.

        Raises
        ------
        NotFoundError
            ``node-not-found``: no such chunk.
        CorruptError
            ``corrupt-chunk``, ``asset-missing``, ``asset-changed``.
        """
        form = self.form(node)
        counts = form.counts
        if len(position) != len(counts) or not all(
            0 <= index < count for index, count in zip(position, counts, strict=True)
        ):
            raise NotFoundError(
                ErrorKind.NODE_NOT_FOUND,
                f"{node.path!r} has no chunk {position}; its grid is of {counts} chunks",
            )
        axes = [
            Axis(index * size, min(size, length - index * size))
            for index, size, length in zip(
                position, form.layout.chunk_shape, form.shape, strict=True
            )
        ]
        selection = Selection(tuple(axes))
        if form.same_grid:
            return self._stored(node, form, selection)
        elements = self._service.read_array_whole(node, selection)
        return Chain.of(form.layout).encode(elements)

    def _stored(self, node: Node, form: ZarrForm, selection: Selection) -> bytes | None:
        array = self._service.reader.array(node)
        for chunk in array.encoded(selection):
            if chunk.encoded is None:
                if not any(form.layout.fill_value):
                    return None
                continue
            with naming(chunk.position, node.path):
                found = _as_shown(array, form, chunk)
            if found is not None:
                return bytes(found)
        return Chain.of(form.layout).encode(array.read(selection))


def _as_shown(array: StoredArray, form: ZarrForm, chunk: EncodedChunk) -> Buffer | None:
    """Return a stored chunk as a reader expects it; None where it has to be made anew."""
    if chunk.encoded is None:
        return None
    if form.same_bytes and not chunk.filter_mask:
        cut = len(form.layout.codecs) < len(array.storage.layout.codecs)
        return array.chain.unsealed(chunk.encoded) if cut else chunk.encoded
    if array.chain.dtype != array.dtype or chunk.shape != form.layout.chunk_shape:
        return None
    return array.chain.as_blosc(chunk.encoded, chunk.shape, filter_mask=chunk.filter_mask)


def dims_of(node: Node, structure: ArrayStructure) -> tuple[str, ...]:
    """Return the names of an array's axes; where it has none, names that no other array has.

    xarray reads no array without them, and takes axes of one name for the same axis.
    """
    if structure.dims is not None:
        return structure.dims
    if node.data_sources and "column" in node.data_sources[0].parameters:
        return ("row",)
    return tuple(f"{node.name or 'array'}_{number}" for number in range(len(structure.shape)))
