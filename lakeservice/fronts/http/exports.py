"""Data of a node in the form that a request asks for."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING
from urllib.parse import quote

from lakeservice.export.registry import exporters_of
from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.etags import entity_tag
from lakeservice.fronts.http.links import HIDDEN
from lakeservice.fronts.http.negotiation import chosen
from lakeservice.fronts.http.stored import as_stored
from lakeservice.fronts.http.stored_tables import as_stored_table
from schemas.errors import ErrorKind, NotFoundError

if TYPE_CHECKING:
    from lakeservice.export.exporter import Exporter
    from lakeservice.fronts.http.call import Call
    from lakeservice.service.node_source import NodeSource
    from schemas.entry import Node

_NOT_ASKED = HIDDEN | {"filename", "format"}
"""Query parameters on which no byte of an answer depends."""


def described(call: Call) -> Node:
    """Return the node that a request names, perhaps with the suffix of a format behind it.

    ``eiger.tif`` is the node of that name, and where there is none, the node
    ``eiger`` as a TIFF file: for programs that look at the end of an address.

    Raises
    ------
    NotFoundError
        ``node-not-found``, ``version-not-found``.
    """
    try:
        return call.service.describe(call.path, as_of=call.as_of)
    except NotFoundError as missing:
        stem, _, suffix = call.path.rpartition(".")
        if missing.kind is not ErrorKind.NODE_NOT_FOUND or not stem or "/" in suffix:
            raise
        with contextlib.suppress(NotFoundError):
            node = call.service.describe(stem, as_of=call.as_of)
            if _by_suffix(node, suffix) is not None:
                return node
        raise


def exporter_for(call: Call, node: Node) -> Exporter:
    """Return what writes the answer.

    ``?format=`` says it first, then the suffix of the path, then Accept; else it is
    the usual form.
    """
    stem, _, suffix = call.path.rpartition(".")
    if stem == node.path and not call.params.get("format"):
        named = _by_suffix(node, suffix)
        if named is not None:
            return named
    return chosen(_forms(node), call.params, call.headers)


def _forms(node: Node) -> tuple[Exporter, ...]:
    return exporters_of(node.family, [spec.name for spec in node.specs])


def _by_suffix(node: Node, suffix: str) -> Exporter | None:
    return next((form for form in _forms(node) if suffix.lower() in form.names), None)


def exported(call: Call, source: NodeSource, exporter: Exporter | None = None) -> Reply:
    """Return a source in the form that is asked for, or 304 where the client has it."""
    form = exporter or exporter_for(call, source.node)
    form.check(source)
    parameters = (call.params.get("format") or "").partition(";")[2]
    tag = entity_tag(*source.identity, form.media_type, _options(call, source, form), parameters)
    call.unless_known(tag)
    reply = as_stored(call, source, form) or as_stored_table(call, source, form)
    reply = reply or _prepared(call, source, form, tag)
    if reply is None:
        reply = Reply(form.write(source), form.sent_as, length=form.size(source))
    if form.part is not None and reply.length is not None:
        reply.part = functools.partial(form.part, source)
    name = call.params.get("filename")
    if name:
        reply.headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(name[:255])}"
    return reply.tagged(tag)


def _options(call: Call, source: NodeSource, form: Exporter) -> list[tuple[str, str | None]]:
    """Return what a request asks of a form; the forms inside of a container see all of it."""
    if source.family == "container":
        return sorted((name, text) for name, text in call.params.items() if name not in _NOT_ASKED)
    return [(option.name, call.params.get(option.name)) for option in form.options]


def _prepared(call: Call, source: NodeSource, form: Exporter, tag: str) -> Reply | None:
    """Return an answer from its file; None where it is made piece by piece.

    What takes time to write is written out only for who asks for a part of it, or for
    its length.
    """
    if form.prepare is None:
        return None
    kept = call.service.kept
    asked = call.method == "HEAD" or "range" in call.headers
    if not (form.quick or asked or kept.holds(tag)):
        return None
    file = kept.get(tag, functools.partial(form.prepare, source))
    return Reply(file.pieces(), form.sent_as, length=file.size, part=file.pieces)
