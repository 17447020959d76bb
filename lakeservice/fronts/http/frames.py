"""Events in the form in which Tiled's subscribers read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pyarrow as pa

from lakeservice.export.arrow import ARROW_FILE
from lakeservice.fronts.http.documents import packed
from lakeservice.fronts.http.envelope import source_documents, spec_documents
from lakeservice.fronts.http.links import node_links
from lakeservice.fronts.http.payloads import json_values
from lakeservice.fronts.http.regions import Region, in_parts, of_parts, region_of
from lakeservice.fronts.http.structures import data_type_document
from lakeservice.service.events import PAYLOAD_BYTES
from schemas.structures import ArrayStructure, RaggedStructure, SparseStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.service.events import Delivery, Event
    from lakeservice.service.service import Service
    from schemas.entry import Node

FRAME_BYTES = 990_000
"""No frame is larger: Tiled's client leaves for good at one above 1 000 000 bytes."""
JSON_ELEMENT_BYTES = 50
"""An element of an array needs about so many bytes in JSON at most."""
ENVELOPES = ("json", "msgpack")
Frame = str | bytes


class Frames:
    """Makes the frames of one subscription; its methods read data and may take a while.

    Parameters
    ----------
    path
        The node that is subscribed to.
    base
        Address of the API as the subscriber sees it.
    envelope
        ``json`` or ``msgpack``.
    """

    def __init__(
        self, service: Service, path: str, base: str, envelope: Literal["json", "msgpack"]
    ) -> None:
        self._service = service
        self._path = path
        self._base = base
        self._json = envelope == "json"

    def schema(self, node: Node, window: tuple[int, int]) -> Frame:
        """Return the first frame: what the updates are of, and which of them are kept."""
        content: dict[str, Any] = {"type": f"{_kind(node)}-schema", "version": 1}
        structure = node.structure
        if isinstance(structure, ArrayStructure | SparseStructure | RaggedStructure):
            content["data_type"] = data_type_document(structure.data_type)
        elif isinstance(structure, TableStructure):
            content["arrow_schema"] = structure.arrow_schema
        content["kept"] = {"first": window[0], "last": window[1]}
        return self._frame(content)

    def of(self, event: Event) -> Iterator[Frame]:
        """Yield the frames that tell of an event.

        Raises
        ------
        NotFoundError
            ``node-not-found``: the node is gone, and its data had to be looked up.
        """
        if event.node is not None:
            yield self._child(event, event.node)
            return
        delivery = event.delivery
        if delivery is not None and delivery.payload is not None:
            frame = self._data(event, delivery, delivery.payload)
            if frame is not None:
                yield frame
                return
            if event.revision == 0:  # it is nowhere else
                yield from self._parts(event, delivery)
                return
        yield from self._looked_up(event)

    def present(self, node: Node, sequence: int) -> Iterator[Frame]:
        """Yield the frames that bring a subscriber up to date who missed some updates."""
        head = {"sequence": sequence, "timestamp": _text(node.updated_ns)}
        if isinstance(node.structure, TableStructure):
            yield from self._rows(node, head, partition=None, append=False)
        elif node.family != "container":
            yield self._reference(node, head, None)

    def _child(self, event: Event, node: Node) -> Frame:
        content = {
            "type": "container-child-created",
            **_head(event),
            "key": node.name,
            "structure_family": node.family,
            "specs": spec_documents(node.specs),
            "metadata": node.metadata,
            "data_sources": self._sources(node),
            "access_tags": list(node.access_tags),
        }
        if event.kind == "described":
            content["type"] = "container-child-metadata-updated"
            del content["structure_family"], content["data_sources"], content["access_tags"]
            content["revision_number"] = len(node.history)
        frame = self._frame(content)
        if len(frame) > FRAME_BYTES:
            links = node_links(self._base, node)
            content |= {"metadata": {}, "data_sources": [], "uri": links["self"]}
            frame = self._frame(content)
        return frame

    def _data(self, event: Event, delivery: Delivery, payload: bytes) -> Frame | None:
        """Return a frame that holds the data itself; None where it cannot."""
        node = self._service.describe(self._path)
        shape = delivery.shape
        if shape is None:
            shape = getattr(node.structure, "shape", ())
        content: dict[str, Any] = {
            "type": f"{_kind(node)}-data",
            **_head(event),
            "mimetype": delivery.media_type,
        }
        if node.family == "table":
            content |= {"partition": delivery.partition, "append": delivery.append}
        else:
            content |= {"shape": shape, "offset": delivery.offset, "block": delivery.block}
        if self._json:
            values = json_values(node, delivery.media_type, payload, shape)
            if values is None:
                return None
            content |= {"content-type": "application/json", "payload": values}
        else:
            content["payload"] = payload
        frame = self._frame(content)
        return frame if len(frame) <= FRAME_BYTES else None

    def _parts(self, event: Event, delivery: Delivery) -> Iterator[Frame]:
        """Yield elements of an array that are too many for one frame of JSON."""
        if delivery.shape is not None and delivery.partition is None:
            for part in in_parts(delivery, FRAME_BYTES // JSON_ELEMENT_BYTES):
                frame = self._data(event, part, part.payload or b"")
                if frame is not None:
                    yield frame

    def _looked_up(self, event: Event) -> Iterator[Frame]:
        """Yield frames about data that is in the lake, by its address or read from there."""
        node = self._service.describe(self._path)
        delivery = event.delivery
        if isinstance(node.structure, TableStructure):
            parts = event.parts or (delivery.parts if delivery else ())
            append = bool(parts) and (delivery.append if delivery else True)
            if parts:
                node = of_parts(node, parts)
            partition = delivery.partition if delivery and parts else None
            yield from self._rows(node, _head(event), partition=partition, append=append)
        else:
            yield self._reference(node, _head(event), region_of(node, event))

    def _reference(self, node: Node, head: dict[str, Any], region: Region | None) -> Frame:
        links = node_links(self._base, node)
        uri, patch = links.get("full", links["self"]), None
        if region is not None:
            offset, shape = region
            patch = {"offset": offset, "shape": shape}
            ends = (start + length for start, length in zip(offset, shape, strict=True))
            text = ",".join(f"{start}:{end}" for start, end in zip(offset, ends, strict=True))
            uri += f"?slice={text}" if text else ""
        content = {
            "type": f"{_kind(node)}-ref",
            **head,
            "data_source": next(iter(self._sources(node)), None),
            "patch": patch,
            "shape": getattr(node.structure, "shape", ()),
            "uri": uri,
        }
        return self._frame(content)

    def _rows(
        self, node: Node, head: dict[str, Any], *, partition: int | None, append: bool
    ) -> Iterator[Frame]:
        """Yield the rows of a table in as many frames as they need: the first, then more."""
        content = {
            "type": "table-data",
            **head,
            "mimetype": ARROW_FILE,
            "partition": partition,
            "append": append,
        }
        reader = self._service.read_table(node)
        told = False
        for batch in reader:
            for frame in self._batches(batch, content):
                told = True
                yield frame
                content["append"] = True
        if not told and not append:
            yield self._table(pa.Table.from_batches([], reader.schema), content)

    def _batches(self, batch: pa.RecordBatch, content: dict[str, Any]) -> Iterator[Frame]:
        rows = max(1, batch.num_rows * PAYLOAD_BYTES // max(1, 2 * batch.nbytes))
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows)
            frame = self._table(pa.Table.from_batches([part]), content)
            if len(frame) <= FRAME_BYTES:
                yield frame
            elif part.num_rows > 1:
                half = part.num_rows // 2
                yield from self._batches(part.slice(0, half), content)
                yield from self._batches(part.slice(half), content)
            else:
                # One row that is larger than a frame: only its place can be told.
                yield self._frame({**content, "type": "table-ref", "uri": self._address()})

    def _table(self, table: pa.Table, content: dict[str, Any]) -> Frame:
        if self._json:
            columns = {name: table.column(name).to_pylist() for name in table.column_names}
            return self._frame({**content, "content-type": "application/json", "payload": columns})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return self._frame({**content, "payload": sink.getvalue().to_pybytes()})

    def _address(self) -> str:
        return node_links(self._base, self._service.describe(self._path))["full"]

    def _sources(self, node: Node) -> list[dict[str, Any]]:
        documents = source_documents(node, self._service.assets)
        for document in documents:
            for asset in document["assets"]:
                # Subscribers refuse an asset whose parameter is null.
                asset["parameter"] = asset["parameter"] or ""
        return documents

    def _frame(self, content: dict[str, Any]) -> Frame:
        if self._json:
            return msgspec.json.encode(content, enc_hook=str).decode()
        return packed(content)


def _kind(node: Node) -> str:
    """Return the family as frames name it: a sparse array is told of as an array."""
    return "array" if node.family == "sparse" else node.family


def _head(event: Event) -> dict[str, Any]:
    return {"sequence": event.sequence, "timestamp": _text(event.time_ns)}


def _text(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat()
