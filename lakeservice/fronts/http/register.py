"""Routes that register files: a node made of files that stay where they are."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.envelope import source_documents
from lakeservice.fronts.http.links import node_links
from lakeservice.fronts.http.operations import Operation, Parameter
from lakeservice.fronts.http.shapes import CreatedAnswer
from lakeservice.fronts.http.structures import read_structure
from lakeservice.service.events import Delivery
from lakeservice.service.registering import described_as
from lakeservice.service.writing import Draft
from schemas.entry import Asset, DataSource, Spec
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.path import clean_path, join_path
from schemas.structures import StructureFamily

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply
    from schemas.structures import Structure

MOST_ASSETS = 1_000_000
"""Files of one node."""


class AssetShape(msgspec.Struct):
    """One file or folder."""

    data_uri: str
    """``file://localhost/`` and its path, or its address from an answer of this server."""
    is_directory: bool = False
    parameter: str | None = None
    num: int | None = None
    """Its place among the files; as they are listed where it is left out."""
    size: int | None = None


class SourceShape(msgspec.Struct):
    """Files that are one node together."""

    mimetype: str | None = None
    structure_family: StructureFamily | None = None
    structure: Any = None
    parameters: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    assets: list[AssetShape] = []
    management: str = "external"


class RegisterBody(msgspec.Struct):
    """A node to be made of files."""

    structure_family: StructureFamily
    data_sources: list[SourceShape]
    metadata: dict[str, Any] = {}
    specs: list[Spec | str] = []
    access_tags: list[str] | None = None
    id: str | None = None


class ReplaceBody(msgspec.Struct):
    """The files that a node is made of from now on."""

    data_source: SourceShape


def register(call: Call) -> Reply:
    """Make a node of files that stay where they are.

    What is told of their structure is believed as far as the files agree. Files that are
    not there yet are looked into when they are.
    """
    asked = _read(call, RegisterBody)
    if len(asked.data_sources) != 1:
        raise InvalidRequestError(
            ErrorKind.BAD_STRUCTURE,
            f"{len(asked.data_sources)} data sources; a node has one, register a node for each",
        )
    key = uuid.uuid4().hex if asked.id is None else asked.id
    if "/" in key or not key:
        raise InvalidRequestError(
            ErrorKind.BAD_PATH,
            f"id {key[:80]!r} must be one segment; send the request to the container above it",
        )
    parents = call.flag("parents", False)
    declared, source = _source(asked.data_sources[0], asked.structure_family)
    draft = Draft(
        path=clean_path(join_path(call.path, key)),
        structure=declared,
        metadata=asked.metadata,
        specs=tuple(Spec(spec) if isinstance(spec, str) else spec for spec in asked.specs),
        access_tags=tuple(asked.access_tags or ()),
        parents=parents,
    )
    applied = call.repeated(draft.path)
    if applied is None:
        if not parents:
            call.service.describe(call.path)
        applied = call.service.register(
            draft, source, key=call.idempotency_key, principal=call.principal.name
        )
    node = applied.node or call.service.describe(applied.path)
    content = {
        "id": node.name,
        "links": node_links(call.base, node),
        "data_sources": source_documents(node, call.service.assets),
        "access_tags": list(node.access_tags),
    }
    return document(call, content)


def replace_source(call: Call) -> Reply:
    """Give a node other files, or tell that its files have more in them now."""
    asked = _read(call, ReplaceBody)
    _patch(call)
    node = call.service.describe(call.path)
    if "/" in node.id:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"{node.path!r} lies inside another entry, a file or a table; change that entry",
        )
    family = asked.data_source.structure_family or node.family
    declared, source = _source(asked.data_source, family)
    if asked.data_source.mimetype is None and node.data_sources:
        source = msgspec.structs.replace(source, mimetype=node.data_sources[0].mimetype)
    if asked.data_source.properties is None and node.data_sources:
        source = msgspec.structs.replace(source, properties=node.data_sources[0].properties)
    replaced = call.service.registrar.replace(node, declared, source)
    call.commit(replaced, trusted=True, note=_patch(call))
    return document(call, None)


def _patch(call: Call) -> Delivery | None:
    """Return which part of the array is new, for subscribers; None where it is not told."""
    texts = [call.params.get(name) for name in ("patch_offset", "patch_shape")]
    if texts == [None, None]:
        return None
    numbers = [[part.strip() for part in (text or "").split(",")] for text in texts]
    if not all(re.fullmatch(r"[0-9]{1,18}", part) for part in (*numbers[0], *numbers[1])):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "patch_shape and patch_offset come together, as numbers with commas between",
        )
    offset, shape = (tuple(map(int, parts)) for parts in numbers)
    return Delivery(offset=offset, shape=shape)


def _source(asked: SourceShape, family: StructureFamily) -> tuple[Structure, DataSource]:
    structure = None
    if asked.structure is not None:
        structure = read_structure(family, asked.structure)
    if len(asked.assets) > MOST_ASSETS:
        raise InvalidRequestError(
            ErrorKind.BAD_BODY, f"{len(asked.assets)} assets; at most {MOST_ASSETS} are possible"
        )
    assets = tuple(
        Asset(
            data_uri=asset.data_uri,
            num=number if asset.num is None else asset.num,
            is_directory=asset.is_directory,
            parameter=asset.parameter,
            size_bytes=asset.size,
        )
        for number, asset in enumerate(asked.assets)
    )
    source = DataSource(
        mimetype=asked.mimetype or "application/octet-stream",
        management="external",
        parameters=asked.parameters or {},
        properties=asked.properties or {},
        assets=assets,
    )
    return described_as(family, structure), source


def _read(call: Call, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(call.document(), kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(ErrorKind.BAD_BODY, f"the body: {error}") from None


OPERATIONS = (
    Operation(
        method="POST",
        path="/register/{path:path}",
        work=register,
        scope="register",
        params=(Parameter("parents", "flag", "Create missing containers above it too."),),
        body=RegisterBody,
        answer=CreatedAnswer,
    ),
    Operation(
        method="PUT",
        path="/data_source/{path:path}",
        work=replace_source,
        scope="register",
        params=(
            Parameter("patch_offset", "text", "First element of what is new: ``2,0,0``."),
            Parameter("patch_shape", "text", "Shape of what is new: ``1,512,512``."),
        ),
        body=ReplaceBody,
    ),
)
