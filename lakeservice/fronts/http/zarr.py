"""The tree for Zarr libraries: ``/zarr/v3`` and ``/zarr/v2``, as a store of read-only keys."""

from __future__ import annotations

import html
import re
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.documents import JSON
from lakeservice.fronts.http.etags import entity_tag
from lakeservice.fronts.http.operations import Operation
from lakeservice.service.zarr_view import ZarrView
from schemas.errors import ErrorKind, NotFoundError
from schemas.path import join_path, name_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.fronts.http.call import Call
    from schemas.entry import Node

OCTETS = "application/octet-stream"
PREFIX_V2, PREFIX_V3 = "/zarr/v2", "/zarr/v3"
LINES = 500
"""Links of a listing that are made at a time."""
_CHUNK_V3 = re.compile(r"(?P<path>|.*/)c(?P<position>(/\d{1,18})*)")
_CHUNK_V2 = re.compile(r"(?P<path>|.*/)(?P<position>\d{1,18}(\.\d{1,18})*)")


def store_v3(call: Call) -> Reply:
    """Return a key of the tree as a Zarr version 3 store: ``zarr.json``, chunks, listings."""
    view = ZarrView(call.service, 3)
    if name_of(call.path) == "zarr.json":
        return _zarr_json(call, view, call.service.describe(parent_of(call.path)))
    found = _CHUNK_V3.fullmatch(call.path)
    if found is not None:
        node = _array_at(call, found["path"])
        if node is not None:
            position = tuple(map(int, found["position"].split("/")[1:]))
            return _chunk(call, view, node, position)
    node = call.service.describe(call.path)
    if view.is_array(node):
        return _zarr_json(call, view, node)
    return _listing(call, view, node, PREFIX_V3)


def store_v2(call: Call) -> Reply:
    """Return a key of the tree as a Zarr version 2 store: ``.zarray``, chunks, listings."""
    view = ZarrView(call.service, 2)
    name = name_of(call.path)
    if name in (".zarray", ".zgroup", ".zattrs", ".zmetadata"):
        return _document_v2(call, view, call.service.describe(parent_of(call.path)), name)
    found = _CHUNK_V2.fullmatch(call.path)
    if found is not None:
        node = _array_at(call, found["path"])
        if node is not None:
            position = tuple(map(int, found["position"].split(".")))
            scalar = not call.service.reader.structure(node).shape and position == (0,)
            return _chunk(call, view, node, () if scalar else position)
    node = call.service.describe(call.path)
    if view.is_array(node):
        return _document_v2(call, view, node, ".zarray")
    return _listing(call, view, node, PREFIX_V2)


def _array_at(call: Call, path: str) -> Node | None:
    """Return the array whose chunk a key may name; None where there is none."""
    try:
        node = call.service.describe(path.rstrip("/"))
    except NotFoundError:
        return None
    return node if node.family == "array" else None


def _zarr_json(call: Call, view: ZarrView, node: Node) -> Reply:
    if view.is_array(node):
        return _document(call, node, "zarr.json", view.array_document(node))
    document = _group_v3(view, node)
    below = view.below(node)
    if below is not None:
        document["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": {
                path: view.array_document(one) if view.is_array(one) else _group_v3(view, one)
                for path, one in below
            },
        }
    return _json(document)


def _group_v3(view: ZarrView, node: Node) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": view.attributes(node)}


def _document_v2(call: Call, view: ZarrView, node: Node, name: str) -> Reply:
    is_array = view.is_array(node)
    if name == ".zattrs":
        return _document(call, node, name, view.attributes(node))
    if name == ".zarray" and is_array:
        return _document(call, node, name, view.array_document(node))
    if name == ".zgroup" and not is_array:
        return _json({"zarr_format": 2})
    below = view.below(node) if name == ".zmetadata" and not is_array else None
    if below is None:
        raise NotFoundError(
            ErrorKind.NODE_NOT_FOUND, f"{node.path!r} has no {name}; it is a {node.family}"
        )
    metadata: dict[str, Any] = {}
    for path, one in [("", node), *below]:
        array = view.is_array(one)
        kind = ".zarray" if array else ".zgroup"
        metadata[join_path(path, kind)] = view.array_document(one) if array else {"zarr_format": 2}
        metadata[join_path(path, ".zattrs")] = view.attributes(one)
    return _json({"zarr_consolidated_format": 1, "metadata": metadata})


def _chunk(call: Call, view: ZarrView, node: Node, position: tuple[int, ...]) -> Reply:
    tag = entity_tag(node.id, node.revision, node.version, "zarr", view.version, position)
    call.unless_known(tag)
    chunk = view.chunk(node, position)
    if chunk is None:
        raise NotFoundError(
            ErrorKind.NODE_NOT_FOUND, f"chunk {position} of {node.path!r} is not stored: all fill"
        )
    return Reply(chunk, OCTETS).tagged(tag)


def _listing(call: Call, view: ZarrView, group: Node, prefix: str) -> Reply:
    """Return links to what a group holds, as web servers show folders."""
    here = html.escape(call.base.removesuffix("/api/v1") + prefix)

    def lines() -> Iterator[bytes]:
        yield f"<!doctype html><title>{html.escape(group.path or '/')}</title><ul>\n".encode()
        members = view.members(group)
        while some := list(islice(members, LINES)):
            yield "".join(
                f'<li><a href="{here}/{quote(node.path)}">{html.escape(node.name)}</a></li>\n'
                for node in some
            ).encode()
        yield b"</ul>"

    return Reply(lines(), "text/html; charset=utf-8")


def _document(call: Call, node: Node, name: str, content: Any) -> Reply:
    tag = entity_tag(node.id, node.revision, node.version, name)
    call.unless_known(tag)
    return _json(content).tagged(tag)


def _json(content: Any) -> Reply:
    return Reply(msgspec.json.encode(content), JSON)


OPERATIONS = tuple(
    Operation(method="GET", path=path, work=work, scope="read:data", answers=(JSON, OCTETS))
    for prefix, work in ((PREFIX_V2, store_v2), (PREFIX_V3, store_v3))
    for path in (prefix, prefix + "/{path:path}")
)
"""Their paths begin at the server's root, not below ``/api/v1``."""
