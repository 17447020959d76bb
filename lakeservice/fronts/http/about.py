"""What this server is and can do, in the form that clients ask for first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.fronts.http.array_forms import ARRAY_FORMS
from lakeservice.fronts.http.documents import document
from lakeservice.fronts.http.filters import FILTERS
from lakeservice.fronts.http.negotiation import aliases
from lakeservice.fronts.http.table_forms import TABLE_FORMS
from schemas.structures import FAMILIES

if TYPE_CHECKING:
    from lakeservice.fronts.http.call import Call, Reply

TILED_VERSION = "0.2.20"
"""Version of Tiled whose API this is; its clients decide by it what they may send."""
_FORMS = {"array": ARRAY_FORMS, "table": TABLE_FORMS}


def about(call: Call) -> Reply:
    """Return what the server offers; asked without a key."""
    content = {
        "api_version": 0,
        "library_version": TILED_VERSION,
        "formats": {
            family: [form.media_type for form in _FORMS.get(family, ())] for family in FAMILIES
        },
        "aliases": {family: aliases(forms) for family, forms in _FORMS.items()},
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
