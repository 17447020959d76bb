"""What this server is and can do, in the form that clients ask for first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.export.registry import exporters_of, installed_exporters
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.filters import FILTERS
from lakeservice.fronts.http.negotiation import aliases
from lakeservice.fronts.http.operations import Operation
from lakeservice.fronts.http.shapes import AboutAnswer
from schemas.structures import FAMILIES

if TYPE_CHECKING:
    from lakeservice.export.exporter import Exporter
    from lakeservice.fronts.http.call import Call, Reply

TILED_VERSION = "0.2.20"
"""Version of Tiled whose API this is; its clients decide by it what they may send."""


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
        "authentication": {"required": call.required, "providers": [], "links": None},
        "links": {"self": call.base, "documentation": f"{call.base}/"},
        "meta": {"root_path": "", "lakeservice": dict(call.about)},
    }
    return document(call, content)


def whoami(call: Call) -> Reply:
    """Return who the server takes the client for."""
    name = call.principal.name
    content = {
        "uuid": None,
        "type": "user",
        "identities": [{"id": name, "provider": "lakeservice"}],
        "roles": [],
        "scopes": sorted(call.principal.scopes),
    }
    return document(call, content)


OPERATIONS = (
    Operation(method="GET", path="/", work=about, scope=None, answer=AboutAnswer),
    Operation(method="GET", path="/auth/whoami", work=whoami, scope="read:metadata"),
)
