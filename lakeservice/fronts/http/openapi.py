"""The API's documentation as OpenAPI 3.1, made from the operations and their types."""

from __future__ import annotations

import functools
import inspect
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from lakeservice.export.registry import installed_exporters
from lakeservice.fronts.http.documents import JSON, MSGPACK
from lakeservice.fronts.http.operations import Parameter
from lakeservice.fronts.http.shapes import Refusal
from lakeservice.fronts.status import WIRE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakeservice.export.exporter import Exporter
    from lakeservice.fronts.http.operations import Kind, Operation

VERSION = "3.1.0"
REFERENCES = "#/components/schemas/{name}"
FAILURES = tuple(sorted({wire.status for wire in WIRE.values() if wire.status < 500} | {405}))
"""What a client's mistake can be answered with, on any route."""
_TYPES: dict[Kind, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer", "minimum": 0},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "texts": {"type": "array", "items": {"type": "string"}},
}
_KINDS: dict[type, Kind] = {str: "text", int: "integer", float: "number", bool: "flag"}
_BINARY = {"type": "string", "format": "binary"}
_SLOT = re.compile(r"{(\w+)(?::path)?}")


def openapi(operations: Sequence[Operation], *, server: str, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of some operations.

    Parameters
    ----------
    server
        Address of the API, which the paths are below.
    version
        Version of this program.
    """
    types = [kind for one in operations for kind in (one.body, one.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components([*types, Refusal], ref_template=REFERENCES)
    known = dict(zip(map(repr, [*types, Refusal]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        path = _SLOT.sub(r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _operation(one, known)
    return {
        "openapi": VERSION,
        "info": {
            "title": "lakeservice",
            "version": version,
            "description": "One address for a facility's data. Paths of nodes may hold slashes; "
            "the root is the empty path, and then the address ends with a slash. Documents are "
            "sent as JSON or, on `Accept: application/x-msgpack`, as MessagePack.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": server}],
        "security": [{"key": []}, {"key in the address": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Apikey` and the key, with a space between.",
                },
                "key in the address": {"type": "apiKey", "in": "query", "name": "api_key"},
            },
        },
    }


def operation_id(one: Operation) -> str:
    """Return the name of an operation: its method and path in words."""
    words = re.findall(r"[a-z0-9]+", _SLOT.sub("", one.path).lower())
    return "_".join([one.method.lower(), *words]) if words else f"{one.method.lower()}_about"


def _operation(one: Operation, known: dict[str, Any]) -> dict[str, Any]:
    slots = [_path_parameter(name) for name in _SLOT.findall(one.path)]
    documented: dict[str, Any] = {
        "operationId": operation_id(one),
        "summary": one.summary,
        "description": inspect.getdoc(one.work) or "",
        "tags": [one.path.strip("/").split("/")[0] or "about"],
        "parameters": [*slots, *map(_query_parameter, [*one.params, *_options(one)])],
        "responses": {
            str(one.status): {"description": "Done.", "content": _answer(one, known)},
            **_refusals(one, known[repr(Refusal)]),
        },
    }
    if one.method == "POST" and one.path.startswith("/metadata/"):
        documented["responses"][str(one.status)]["links"] = _links_to_created()
    if one.scope is None:
        documented["security"] = []
    else:
        documented["x-scope"] = one.scope
    content: dict[str, Any] = {}
    if one.body is not None:
        content[JSON] = {"schema": known[repr(one.body)]}
    content.update({media_type: {"schema": _BINARY} for media_type in one.uploads})
    if content:
        documented["requestBody"] = {"content": content, "required": one.method != "POST"}
    return documented


def _exporters(one: Operation) -> list[Exporter]:
    """Return what writes the answers of an operation, family after family."""
    families = (one.family,) if isinstance(one.family, str) else one.family or ()
    return [
        exporter
        for family in families
        for exporter in installed_exporters()
        if exporter.family == family
    ]


def _options(one: Operation) -> list[Parameter]:
    """Return the parameters that single forms understand, each once."""
    known = {parameter.name for parameter in one.params}
    found: dict[str, Parameter] = {}
    for exporter in _exporters(one):
        for option in exporter.options:
            if option.name not in known:
                told = f"{option.description} ({exporter.names[0]})" if exporter.names else ""
                parameter = Parameter(option.name, _KINDS[option.kind], told or option.description)
                found.setdefault(option.name, parameter)
    return list(found.values())


def _answer(one: Operation, known: dict[str, Any]) -> dict[str, Any]:
    exporters = _exporters(one)
    if exporters:
        media_types = dict.fromkeys(
            media_type
            for exporter in exporters
            for media_type in (exporter.media_type, exporter.sent_as)
        )
        return {media_type: {} for media_type in media_types}
    if one.answers:
        return {media_type: {} for media_type in one.answers}
    schema = known[repr(one.answer)] if one.answer is not None else {}
    return {JSON: {"schema": schema}, MSGPACK: {}}


def _refusals(one: Operation, refusal: dict[str, Any]) -> dict[str, Any]:
    content = {JSON: {"schema": refusal}}
    refusals: dict[str, Any] = {
        str(status): {"description": _meaning(status), "content": content} for status in FAILURES
    }
    refusals["503"] = {"description": "Busy, or storage is away; try again.", "content": content}
    if one.method == "GET":
        refusals["304"] = {"description": "The client has it already (If-None-Match)."}
    if one.family is not None:
        refusals["206"] = {"description": "The bytes of the Range that was asked for."}
    return refusals


_MEANINGS = {
    400: "It cannot be read, or asks for what is not possible.",
    401: "A key is needed, or this one is not known.",
    403: "The key does not have the scope.",
    404: "No such node, version or asset.",
    405: "Not this method at this address.",
    406: "Nobody writes that form.",
    409: "It contradicts what is there.",
    410: "The data is gone.",
    413: "Too large.",
    416: "No such bytes.",
    422: "The body is not what it should be.",
    429: "Too many requests; wait as long as Retry-After says.",
}


def _meaning(status: int) -> str:
    return _MEANINGS.get(status, HTTPStatus(status).phrase)


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": "Path of the node." if name == "path" else f"The {name}.",
        "schema": {"type": "string"},
    }


def _query_parameter(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": "query",
        "required": one.required,
        "description": one.description,
        "schema": _TYPES[one.kind],
    }


def _links_to_created() -> dict[str, Any]:
    path = {"path": "{$request.path.path}/{$response.body#/id}"}
    follow = {
        "described": "get_metadata",
        "listed": "get_search",
        "changed": "patch_metadata",
        "written": "put_array_full",
        "read": "get_array_full",
        "deleted": "delete_metadata",
    }
    return {
        name: {"operationId": operation, "parameters": path} for name, operation in follow.items()
    }


@functools.cache
def page(title: str = "lakeservice: HTTP API") -> bytes:
    """Return an HTML page that shows the OpenAPI document that lies beside it."""
    return _PAGE.replace("{title}", title).encode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
details{border:1px solid #8886;border-radius:.4rem;margin:.4rem 0;padding:.3rem .7rem}
summary{cursor:pointer}code,pre{font:.9em/1.4 ui-monospace,monospace}
b{display:inline-block;min-width:4.2rem}pre{overflow:auto;white-space:pre-wrap}
table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;vertical-align:top}
</style></head><body><h1>{title}</h1><p id="about"></p><div id="all"></div>
<script>
const add=(to,tag,text)=>{const e=document.createElement(tag);
if(text!==undefined)e.textContent=text;to.append(e);return e};
fetch("openapi.json").then(r=>r.json()).then(api=>{
document.getElementById("about").textContent=api.info.description;
const all=document.getElementById("all");let tag="";
for(const [path,methods] of Object.entries(api.paths))for(const [method,one] of
Object.entries(methods)){
if(one.tags[0]!==tag){tag=one.tags[0];add(all,"h2",tag)}
const d=add(all,"details"),s=add(d,"summary");add(s,"b",method.toUpperCase());
add(s,"code",path);add(s,"span"," "+one.summary);
add(d,"pre",one.description);if(one["x-scope"])add(d,"p","Scope: "+one["x-scope"]);
const t=add(d,"table");for(const p of one.parameters){const r=add(t,"tr");
add(add(r,"td"),"code",p.name+(p.required?" *":""));add(r,"td",p.schema.type);
add(r,"td",p.description)}
if(one.requestBody)add(d,"p","Sent as: "+Object.keys(one.requestBody.content).join(", "));
for(const [status,r] of Object.entries(one.responses))if(r.content&&status<300)
add(d,"p",status+": "+Object.keys(r.content).join(", "))}
});
</script></body></html>
"""
