"""Routes of a node itself: describe it, create, change its metadata, delete."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.fronts.http.declared_tables import table_media_type
from lakeservice.fronts.http.documents import document, document_type
from lakeservice.fronts.http.envelope import envelope, source_documents, spec_documents
from lakeservice.fronts.http.etags import entity_tag
from lakeservice.fronts.http.items import SHOWN, Items, read_shown
from lakeservice.fronts.http.links import node_links
from lakeservice.fronts.http.operations import AS_OF, Operation, Parameter
from lakeservice.fronts.http.patches import JSON_PATCH, MERGE_PATCH, json_patched, merge_patched
from lakeservice.fronts.http.shapes import ChangedAnswer, CreatedAnswer, NodeAnswer
from lakeservice.fronts.http.structures import read_structure
from lakeservice.service.writing import Draft
from schemas.commit import Delete, Update
from schemas.entry import DataSource, Spec
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError
from schemas.path import clean_path, join_path, name_of
from schemas.query import Page
from schemas.structures import ContainerStructure, StructureFamily
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.fronts.http.call import Call, Reply
    from schemas.entry import Node

ATTEMPTS = 20
"""How often a patch is applied again when somebody else changed the node in between."""
MAX_SPECS = 20
"""Most specs of one node, as with Tiled."""
MAX_SPEC_CHARACTERS = 255
SWEEP = 1000
"""Nodes looked at in one go before a tree is deleted."""


class _Source(msgspec.Struct):
    structure: Any = None
    structure_family: str | None = None
    mimetype: str | None = None
    parameters: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    assets: list[Any] = []
    management: str = "writable"


class _Create(msgspec.Struct):
    structure_family: StructureFamily
    metadata: dict[str, Any] = {}
    specs: list[Spec | str] = []
    data_sources: list[_Source] = []
    structure: Any = None
    access_tags: list[str] | None = None
    id: str | None = None


class _Change(msgspec.Struct):
    content_type: str = msgspec.field(default="", name="content-type")
    metadata: Any = None
    specs: Any = None
    access_tags: Any = None


def describe(call: Call) -> Reply:
    """Return one node."""
    node = call.service.describe(call.path, as_of=call.as_of)
    shown = read_shown(call)
    # The number of children changes without the node itself.
    state = call.service.nodes.version if node.family == "container" else node.version
    media_type = document_type(call.headers.get("accept"))
    how = (sorted(shown.fields), shown.select, shown.links, shown.max_depth)
    tag = entity_tag(node.id, node.revision, state, call.base, call.path, media_type, how)
    call.unless_known(tag)
    (item,) = Items(call, shown).of([node])
    return document(call, envelope(item)).tagged(tag)


def create(call: Call) -> Reply:
    """Create a node below a container; its data comes with later requests."""
    asked = _read(call, _Create)
    parents = call.flag("parents", False)
    draft = _draft(call.path, asked, parents=parents)
    applied = call.repeated(draft.path)
    if applied is None:
        if not parents:
            call.service.describe(call.path)
        source = _external(asked)
        who = {"key": call.idempotency_key, "principal": call.principal.name}
        if source is None:
            applied = call.service.create_empty(draft, **who)
        else:
            applied = call.service.register(draft, source, **who)
    node = applied.node or call.service.describe(applied.path)
    content = {
        "id": node.name,
        "links": node_links(call.base, node),
        "data_sources": source_documents(node, call.service.assets),
        "access_tags": list(node.access_tags),
    }
    return document(call, content)


def _draft(under: str, asked: _Create, *, parents: bool) -> Draft:
    key = uuid.uuid4().hex if asked.id is None else asked.id
    if "/" in key or not key:
        raise InvalidRequestError(
            ErrorKind.BAD_PATH,
            f"id {key[:80]!r} must be one segment; send the request to the container above it",
        )
    if any(source.assets for source in asked.data_sources):
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            "files are registered with POST register/, not by creating a node",
        )
    if len(asked.data_sources) > 1:
        raise InvalidRequestError(
            ErrorKind.BAD_STRUCTURE, "a node has one data source at most; create one node for each"
        )
    described = asked.data_sources[0].structure if asked.data_sources else asked.structure
    structure = read_structure(asked.structure_family, described)
    return Draft(
        path=clean_path(join_path(under, key)),
        structure=structure,
        metadata=asked.metadata,
        specs=_listed(asked.specs),
        access_tags=tuple(asked.access_tags or ()),
        parents=parents,
        mimetype=_media_type(asked),
    )


def _media_type(asked: _Create) -> str | None:
    if asked.structure_family != "table" or not asked.data_sources:
        return None
    source = asked.data_sources[0]
    return table_media_type(source.mimetype, source.parameters or {})


def _external(asked: _Create) -> DataSource | None:
    """Return the source of a node whose files are registered later; None for data kept here."""
    if not asked.data_sources or asked.data_sources[0].management != "external":
        return None
    source = asked.data_sources[0]
    return DataSource(
        mimetype=source.mimetype or "application/octet-stream",
        management="external",
        parameters=source.parameters or {},
        properties=source.properties or {},
    )


def replace(call: Call) -> Reply:
    """Replace metadata, specs or access tags; what is null or left out stays."""
    asked = _read(call, _Change)
    node = _changeable(call)
    update = Update(
        path=call.path,
        id=_guard(node),
        metadata=_object(asked.metadata),
        specs=_specs(asked.specs),
        access_tags=_tags(asked.access_tags),
        drop_revision=call.flag("drop_revision", False),
    )
    call.commit(update)
    return document(call, {"id": node.name})


def patch(call: Call) -> Reply:
    """Change parts of metadata, specs or access tags by a merge patch or a JSON Patch."""
    asked = _read(call, _Change)
    if asked.content_type not in (MERGE_PATCH, JSON_PATCH):
        raise InvalidRequestError(
            ErrorKind.BAD_METADATA,
            f"content-type {asked.content_type[:80]!r} in the body; "
            f"write {MERGE_PATCH!r} or {JSON_PATCH!r}",
        )
    if call.repeated(call.path) is not None:
        return document(call, {"id": name_of(call.path)})
    drop = call.flag("drop_revision", False)
    for attempt in range(ATTEMPTS):
        node = _changeable(call)
        try:
            call.commit(_patched(node, asked, drop_revision=drop))
        except ConflictError as error:
            if error.kind is not ErrorKind.REVISION_CONFLICT or attempt == ATTEMPTS - 1:
                raise
        else:
            break
    return document(call, {"id": node.name})


def _patched(node: Node, asked: _Change, *, drop_revision: bool) -> Update:
    apply = merge_patched if asked.content_type == MERGE_PATCH else json_patched
    metadata = specs = tags = None
    if asked.metadata is not None:
        metadata = _object(apply(node.metadata, asked.metadata))
    if asked.specs is not None:
        specs = _specs(apply(spec_documents(node.specs), asked.specs))
    if asked.access_tags is not None:
        tags = _tags(apply(list(node.access_tags), asked.access_tags))
    return Update(
        path=node.path,
        id=_guard(node),
        expected_revision=node.revision,
        metadata=metadata,
        specs=specs,
        access_tags=tags,
        drop_revision=drop_revision,
    )


def delete(call: Call) -> Reply:
    """Delete a node, and with ``recursive`` all below it.

    Data that this server holds goes only where ``external_only=false`` says so.
    """
    if call.repeated(call.path) is not None:
        return document(call, None)
    recursive = call.flag("recursive", False)
    external_only = call.flag("external_only", True)
    node = _changeable(call)
    if external_only and _holds_data(call, node, recursive=recursive):
        raise ConflictError(
            ErrorKind.NOT_EMPTY,
            f"{node.path!r} has data that is kept in this lake and would be gone; "
            "say external_only=false to delete it too",
        )
    call.commit(Delete(path=call.path, id=_guard(node), recursive=recursive))
    return document(call, None)


def _holds_data(call: Call, node: Node, *, recursive: bool) -> bool:
    if any(source.management != "external" for source in node.data_sources):
        return True
    if not recursive or node.data_sources or not isinstance(node.structure, ContainerStructure):
        return False
    page = Page(limit=SWEEP)
    while True:
        found = call.service.search(Search(under=node.path, deep=True, page=page))
        if any(
            source.management != "external"
            for below in found.nodes
            for source in below.data_sources
        ):
            return True
        if found.cursor is None:
            return False
        page = Page(limit=SWEEP, cursor=found.cursor)


def _changeable(call: Call) -> Node:
    node = call.service.describe(call.path)
    if "/" in node.id:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST,
            f"{node.path!r} lies inside another entry, a file or a table; change that entry",
        )
    return node


def _guard(node: Node) -> str | None:
    """Return the id that the node must still have; the root needs none."""
    return node.id if node.path else None


def _read(call: Call, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(call.document(), kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(ErrorKind.BAD_BODY, f"the body: {error}") from None


def _object(metadata: Any) -> dict[str, Any] | None:
    if metadata is None or isinstance(metadata, dict):
        return metadata
    raise InvalidRequestError(
        ErrorKind.BAD_METADATA, f"metadata is an object, not a {type(metadata).__name__}"
    )


def _specs(specs: Any) -> tuple[Spec, ...] | None:
    if specs is None:
        return None
    try:
        listed = msgspec.convert(specs, list[Spec | str])
    except msgspec.ValidationError as error:
        raise InvalidRequestError(ErrorKind.BAD_METADATA, f"specs: {error}") from None
    return _listed(listed)


def _listed(given: Sequence[Spec | str]) -> tuple[Spec, ...]:
    specs = tuple(Spec(spec) if isinstance(spec, str) else spec for spec in given)
    names = [spec.name for spec in specs]
    if len(names) > MAX_SPECS:
        told = f"{len(names)} specs; at most {MAX_SPECS} are possible"
    elif len(set(names)) < len(names):
        told = f"one spec twice: {', '.join(names)[:200]}"
    elif any(len(name) > MAX_SPEC_CHARACTERS for name in names):
        told = f"a spec's name is at most {MAX_SPEC_CHARACTERS} characters long"
    else:
        return specs
    raise InvalidRequestError(ErrorKind.BAD_METADATA, told)


def _tags(tags: Any) -> tuple[str, ...] | None:
    if tags is None:
        return None
    try:
        return tuple(msgspec.convert(tags, list[str]))
    except msgspec.ValidationError as error:
        raise InvalidRequestError(ErrorKind.BAD_METADATA, f"access_tags: {error}") from None


DROP = Parameter("drop_revision", "flag", "Do not keep what is replaced as a revision.")

OPERATIONS = (
    Operation(
        method="GET",
        path="/metadata/{path:path}",
        work=describe,
        scope="read:metadata",
        answer=NodeAnswer,
        params=(*SHOWN, AS_OF),
    ),
    Operation(
        method="POST",
        path="/metadata/{path:path}",
        work=create,
        scope="create:node",
        params=(Parameter("parents", "flag", "Create missing containers above it too."),),
        body=_Create,
        answer=CreatedAnswer,
    ),
    Operation(
        method="PUT",
        path="/metadata/{path:path}",
        work=replace,
        scope="write:metadata",
        params=(DROP,),
        body=_Change,
        answer=ChangedAnswer,
    ),
    Operation(
        method="PATCH",
        path="/metadata/{path:path}",
        work=patch,
        scope="write:metadata",
        params=(DROP,),
        body=_Change,
        answer=ChangedAnswer,
    ),
    Operation(
        method="DELETE",
        path="/metadata/{path:path}",
        work=delete,
        scope="delete:node",
        params=(
            Parameter("recursive", "flag", "Delete all that is below it too."),
            Parameter("external_only", "flag", "Refuse where data kept in this lake would go."),
        ),
    ),
)
