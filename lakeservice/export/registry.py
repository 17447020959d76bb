"""The exporters that are installed, by structure family and by what a request calls them."""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from lakeservice.export.exporter import Exporter
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.structures import StructureFamily

GROUP = "lakeservice.exporters"
"""Entry points of this group name an `Exporter`, or a tuple of several."""
DEFAULTS: Mapping[StructureFamily, str] = {
    "array": "application/octet-stream",
    "table": "application/vnd.apache.arrow.file",
    "container": "application/x-hdf5",
    "sparse": "application/vnd.apache.arrow.file",
    "awkward": "application/zip",
    "ragged": "application/json",
}
"""What is sent to who does not ask; the order of all other forms is that of their media types."""


@functools.cache
def installed_exporters() -> tuple[Exporter, ...]:
    """Return every exporter that is installed, those for a spec first.

    Raises
    ------
    InvalidRequestError
        ``bad-setting``: two exporters claim one media type or name of one family
        and spec, or an entry point is not an exporter.
    """
    found: list[Exporter] = []
    for point in entry_points(group=GROUP):
        loaded = point.load()
        for exporter in loaded if isinstance(loaded, tuple) else (loaded,):
            if not isinstance(exporter, Exporter):
                raise _bad(f"the exporter {point.name!r} is a {type(exporter).__name__}")
            found.append(exporter)
    return checked(found)


def checked(exporters: Iterable[Exporter]) -> tuple[Exporter, ...]:
    """Return exporters in the order of choice; see `installed_exporters` for what is refused."""
    ordered = sorted(exporters, key=_rank)
    claimed: dict[tuple[str, str | None, str], Exporter] = {}
    for exporter in ordered:
        for name in (exporter.media_type, *exporter.names):
            key = (exporter.family, exporter.spec, name)
            if key in claimed:
                raise _bad(
                    f"two exporters of {exporter.family} data claim {name!r}: "
                    f"{claimed[key].media_type} and {exporter.media_type}; remove one"
                )
            claimed[key] = exporter
    return tuple(ordered)


def exporters_of(family: StructureFamily, specs: Sequence[str] = ()) -> tuple[Exporter, ...]:
    """Return the exporters for a node: those of its specs, then the default of its family."""
    return tuple(
        exporter
        for exporter in installed_exporters()
        if exporter.family == family and (exporter.spec is None or exporter.spec in specs)
    )


def _rank(exporter: Exporter) -> tuple[bool, bool, str]:
    usual = exporter.media_type == DEFAULTS.get(exporter.family)
    return (exporter.spec is None, not usual, exporter.media_type)


def _bad(message: str) -> InvalidRequestError:
    return InvalidRequestError(ErrorKind.BAD_SETTING, message)
