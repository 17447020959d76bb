"""What a route is: method, path, scope, and the types that its documentation is made from."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakeservice.fronts.http.call import Call, Reply
    from schemas.structures import StructureFamily

Kind = Literal["text", "integer", "number", "flag", "texts"]
"""Type of a query parameter; ``texts`` may be repeated."""


@dataclass(frozen=True)
class Parameter:
    """A query parameter as the documentation shows it."""

    name: str
    kind: Kind
    description: str
    required: bool = False


AS_OF = Parameter("as_of", "integer", "Log version to look at, for the past.")
FILE_NAME = Parameter("filename", "text", "Name under which a browser keeps the answer.")
FORMAT = Parameter("format", "text", "Media type, or short name, of the answer.")
PERSIST = Parameter("persist", "flag", "Keep the data; false only sends it to subscribers.")
FLAG_LINKS = Parameter("omit_links", "flag", "Leave the links out.")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method on one path below ``/api/v1``.

    Its summary and description in the documentation are the docstring of `work`.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    """With ``{path:path}`` for the node."""
    work: Callable[[Call], Reply]
    scope: str | None
    """What a principal must hold; None where everybody may ask."""
    params: tuple[Parameter, ...] = ()
    body: Any = None
    """Type of the JSON document that is sent; None for none."""
    uploads: tuple[str, ...] = ()
    """Media types of the data that is sent, where it is no JSON document."""
    answer: Any = None
    """Type of the document that is answered; None for ``null`` or data."""
    answers: tuple[str, ...] = ()
    """Media types that it is answered in, where it is no document and no exporter writes it."""
    family: StructureFamily | tuple[StructureFamily, ...] | None = None
    """The exporters of this family, or of these, write the answer."""
    status: int = 200

    @property
    def summary(self) -> str:
        """One sentence that tells what it does."""
        return (inspect.getdoc(self.work) or "").partition("\n")[0]
