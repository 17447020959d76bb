"""Which form the data of an answer takes: media types, short names, the Accept header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.export.registry import DEFAULTS
from lakeservice.fronts.http.call import media_type_of
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import Headers, QueryParams

    from lakeservice.export.exporter import Exporter


def chosen(forms: Sequence[Exporter], params: QueryParams, headers: Headers) -> Exporter:
    """Return the form that a request asks for: ``?format=`` first, then Accept.

    Who does not care gets the usual form of the family, as the node's specs have it.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``: none of what is asked for can be written.
    """
    known: dict[str, Exporter] = {}
    for form in forms:
        for name in (form.media_type, *form.names):
            known.setdefault(name, form)
    if params.get("format"):
        wanted = [part.strip().lower().lstrip(".") for part in params["format"].split(",")]
    else:
        wanted = _accepted(headers.get("accept"))
    for name in wanted:
        found = known.get(name) or known.get(media_type_of(name))
        if found is not None:
            return found
        if name == "*/*":
            return _usual(forms)
        if name.endswith("/*"):
            group = [form for form in forms if form.media_type.startswith(name[:-1])]
            if group:
                return group[0]
    raise InvalidRequestError(
        ErrorKind.UNKNOWN_FORMAT,
        f"cannot write {', '.join(wanted)[:200]!r}; known here are "
        + ", ".join(form.media_type for form in forms),
    )


def _usual(forms: Sequence[Exporter]) -> Exporter:
    for form in forms:
        if form.media_type == DEFAULTS.get(form.family):
            return form
    return forms[0]


def aliases(forms: Sequence[Exporter]) -> Mapping[str, list[str]]:
    """Return the short names of each media type, for clients that look them up."""
    known: dict[str, list[str]] = {}
    for form in forms:
        if form.names:
            known.setdefault(form.media_type, []).extend(form.names)
    return known


def _accepted(accept: str | None) -> list[str]:
    """Return media types of an Accept header, the most wanted first."""
    if not accept:
        return ["*/*"]
    weighted = []
    for number, part in enumerate(accept.split(",")):
        media_type, *parameters = part.split(";")
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                weight = _weight(value)
        if media_type.strip() and weight > 0:
            weighted.append((-weight, number, media_type.strip().lower()))
    return [media_type for _, _, media_type in sorted(weighted)]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
