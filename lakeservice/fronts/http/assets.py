"""Routes of the files behind a node: their bytes, what is in a folder, removal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.operations import Operation, Parameter
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call

_ANY = "application/octet-stream"
_IN_HEADERS = re.compile("[ -~]{1,200}")
_UNSAFE = re.compile(r'[^ -~]|["\\]')


class ManifestAnswer(msgspec.Struct):
    """Files of a folder, by their paths in it."""

    manifest: list[str]


class RemovedAnswer(msgspec.Struct):
    """What became of a file and its data."""

    asset_deleted: bool
    data_deleted: bool


def asset_bytes(call: Call) -> Reply:
    """Return a file behind a node as it is; of a folder, one of the files in it."""
    node = call.service.describe(call.path)
    number = _number(call)
    found = call.service.assets.bytes_of(node, number, call.params.get("relative_path"))
    source = node.data_sources[0]
    is_told = len(source.assets) == 1 and source.declared is not None
    reply = Reply(
        found.read(0, found.length),
        source.mimetype if is_told and _IN_HEADERS.fullmatch(source.mimetype) else _ANY,
        length=found.length,
        part=found.read,
    )
    plain = _UNSAFE.sub("_", found.file_name)
    told = f'attachment; filename="{plain}"'
    if plain != found.file_name:
        told += f"; filename*=utf-8''{quote(found.file_name, errors='replace')}"
    reply.headers["Content-Disposition"] = told
    return reply


def asset_manifest(call: Call) -> Reply:
    """Return the files of a folder behind a node, by their paths in it."""
    node = call.service.describe(call.path)
    return document(call, {"manifest": call.service.assets.manifest(node, _number(call))})


def delete_asset(call: Call) -> Reply:
    """Take a file from a node; data that this server keeps goes too where it is asked for.

    Registered files themselves stay where they are.
    """
    node = call.service.describe(call.path)
    number = _number(call)
    if "/" in node.id:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"{node.path!r} lies inside another entry; change that entry"
        )
    assets = call.service.assets
    update, data = assets.removal(node, number, external_only=call.flag("external_only", True))
    call.commit(update, trusted=True)
    if data:
        assets.remove(node, number)
    return document(call, {"asset_deleted": True, "data_deleted": data})


def _number(call: Call) -> int:
    number = call.integer("id")
    if number is None:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, "say which asset: id=, as the data sources of the node have it"
        )
    return number


ID = Parameter("id", "integer", "Number of the asset, as the data sources tell it.", required=True)

OPERATIONS = (
    Operation(
        method="GET",
        path="/asset/bytes/{path:path}",
        work=asset_bytes,
        scope="read:data",
        params=(ID, Parameter("relative_path", "text", "File in a folder, from its manifest.")),
        answers=(_ANY,),
    ),
    Operation(
        method="GET",
        path="/asset/manifest/{path:path}",
        work=asset_manifest,
        scope="read:data",
        params=(ID,),
        answer=ManifestAnswer,
    ),
    Operation(
        method="DELETE",
        path="/asset/{path:path}",
        work=delete_asset,
        scope="delete:node",
        params=(
            ID,
            Parameter("external_only", "flag", "Refuse where data kept in this lake would go."),
        ),
        answer=RemovedAnswer,
    ),
)
