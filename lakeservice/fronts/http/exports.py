"""Data of a node in the form that a request asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from lakeservice.export.registry import exporters_of
from lakeservice.fronts.http.call import Reply
from lakeservice.fronts.http.etags import entity_tag
from lakeservice.fronts.http.negotiation import chosen

if TYPE_CHECKING:
    from lakeservice.export.exporter import Exporter
    from lakeservice.fronts.http.call import Call
    from lakeservice.service.sources import NodeSource
    from schemas.entry import Node


def exporter_for(call: Call, node: Node) -> Exporter:
    """Return what writes the answer: ``?format=`` first, then Accept, then the usual form."""
    exporters = exporters_of(node.family, [spec.name for spec in node.specs])
    return chosen(exporters, call.params, call.headers)


def exported(call: Call, source: NodeSource, exporter: Exporter | None = None) -> Reply:
    """Return a source in the form that is asked for, or 304 where the client has it."""
    form = exporter or exporter_for(call, source.node)
    form.check(source)
    options = [(option.name, call.params.get(option.name)) for option in form.options]
    tag = entity_tag(*source.identity, form.media_type, options)
    call.unless_known(tag)
    reply = Reply(form.write(source), form.sent_as, length=form.size(source))
    name = call.params.get("filename")
    if name:
        reply.headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(name[:255])}"
    return reply.tagged(tag)
