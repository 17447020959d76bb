"""What this server is and can do, in the form that clients ask for first."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from lakeservice.export.registry import exporters_of, installed_exporters
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.filters import FILTERS
from lakeservice.fronts.http.keys import links
from lakeservice.fronts.http.negotiation import aliases
from lakeservice.fronts.http.operations import Operation
from lakeservice.fronts.http.shapes import AboutAnswer
from schemas.structures import FAMILIES

if TYPE_CHECKING:
    from lakeservice.export.exporter import Exporter
    from lakeservice.fronts.http.call import Call, Reply

TILED_VERSION = "0.2.20"
"""Version of Tiled whose API this is; its clients decide by it what they may send."""


CSRF = "tiled_csrf"
"""A cookie that Tiled's clients send back when they revoke a key; no cookie is asked for here."""


def about(call: Call) -> Reply:
    """Return what the server offers; asked without a key."""
    by_name: dict[str, list[Exporter]] = {family: [*exporters_of(family)] for family in FAMILIES}
    for exporter in installed_exporters():
        if exporter.spec is not None:
            by_name.setdefault(exporter.spec, []).append(exporter)
    content = {
        "api_version": 0,
        "library_version": TILED_VERSION,
        "formats": {
            name: list(dict.fromkeys(one.media_type for one in forms))
            for name, forms in by_name.items()
        },
        "aliases": {name: aliases(forms) for name, forms in by_name.items()},
        "queries": list(FILTERS),
        "authentication": {"required": call.required, "providers": [], "links": links(call.base)},
        "links": {"self": call.base, "documentation": f"{call.base}/"},
        "meta": {"root_path": "", "lakeservice": dict(call.about)},
    }
    reply = document(call, content)
    if CSRF not in call.headers.get("cookie", ""):
        reply.headers["Set-Cookie"] = f"{CSRF}={secrets.token_hex(16)}; Path=/; SameSite=Lax"
    return reply


OPERATIONS = (Operation(method="GET", path="/", work=about, scope=None, answer=AboutAnswer),)
