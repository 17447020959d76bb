"""Small-angle scattering as NXcanSAS, the definition of canSAS for NeXus.

A container or table with the spec ``NXcanSAS`` holds the intensity ``I``, the momentum
transfer ``Q`` (or ``Qx`` and ``Qy``), and perhaps their deviations ``Idev``, ``Qdev``
and ``dQw``, ``dQl``. What is read from a file of that form already keeps its groups.
See https://manual.nexusformat.org/classes/applications/NXcanSAS.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakeservice.export import container_hdf5
from lakeservice.export.container_hdf5 import HDF5
from lakeservice.export.exporter import Exporter
from lakeservice.export.hdf5_attributes import set_attributes
from lakeservice.export.hdf5_columns import columns_of
from lakeservice.export.hdf5_layout import Layout
from lakeservice.export.walking import walk
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakeservice.export.exporter import Piece
    from lakeservice.export.prepared import Prepared

SPEC = "NXcanSAS"
VERSION = "1.1"
Q_NAMES = ("Q", "Qx", "Qy", "Qz")
UNITS = {"I": "1/cm", "Idev": "1/cm"}
"""Units where the metadata tell none; of all the rest, ``1/angstrom``."""
MEMBERS = ("Q", "Qx", "Qy", "Qz", "I", "Idev", "Qdev", "Qmean", "dQw", "dQl", "ShadowFactor")
_DEVIATIONS = {"I": "Idev", "Q": "Qdev"}
_RESOLUTIONS = ("dQw", "dQl")


def prepare(source: Any) -> Prepared:
    """Return an NXcanSAS file of a container or a table."""
    if source.family == "container" and _is_cansas(source):
        return container_hdf5.prepare(source)
    with Layout() as layout:
        set_attributes(layout.file, {"NX_class": "NXroot", "default": "sasentry"})
        entry = layout.group(layout.file, "sasentry")
        set_attributes(
            entry,
            {
                "NX_class": "NXentry",
                "canSAS_class": "SASentry",
                "version": VERSION,
                "default": "sasdata",
            },
        )
        entry["definition"] = SPEC
        entry["title"] = _text(source.metadata, "title") or source.name
        entry["run"] = _text(source.metadata, "run", "scan_id", "uid") or source.name
        group = layout.group(entry, "sasdata")
        members = _fill(layout, group, source)
        _describe(group, members, source.metadata)
        _sample(layout, entry, source.metadata)
        set_attributes(entry, {k: v for k, v in source.metadata.items() if k not in entry})
    return layout.prepared


def _is_cansas(container: Any) -> bool:
    """Tell whether the groups of the definition are there, as a file of that form gives them."""
    if "canSAS_class" in container.metadata:
        return True
    return any("canSAS_class" in step.source.metadata for step in walk(container))


def _fill(layout: Layout, group: Any, source: Any) -> dict[str, Any]:
    members = {}
    if source.family == "table":
        for column in columns_of(source):
            members[column.name] = layout.column(group, column, source)
        return members
    for child in source.children():
        if child.problem is not None:
            continue
        if child.family == "array":
            made = layout.array(group, child.name, child)
            set_attributes(made, child.metadata)
            members[child.name] = made
        elif child.family == "table":
            members.update(_fill(layout, group, child))
    return members


def _describe(group: Any, members: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    told = metadata.get("units")
    units = told if isinstance(told, dict) else {}
    for name in MEMBERS:
        if name in members:
            usual = UNITS.get(name, "1/angstrom")
            set_attributes(members[name], {"units": str(units.get(name, usual))})
    axes = [name for name in Q_NAMES if name in members]
    rank = members["I"].ndim
    set_attributes(
        group,
        {
            "NX_class": "NXdata",
            "canSAS_class": "SASdata",
            "signal": "I",
            "I_axes": ",".join(["Q"] * max(rank, 1)),
            "Q_indices": list(range(max(rank, 1))),
        },
    )
    if axes[:1] == ["Q"] and rank == 1:
        set_attributes(group, {"axes": ["Q"]})
    for name, deviation in _DEVIATIONS.items():
        if name in members and deviation in members:
            set_attributes(members[name], {"uncertainties": deviation})
            set_attributes(group, {f"{name}_uncertainties": deviation})
    resolutions = [name for name in _RESOLUTIONS if name in members]
    if resolutions and "Q" in members:
        set_attributes(members["Q"], {"resolutions": ",".join(resolutions)})


def _sample(layout: Layout, entry: Any, metadata: Mapping[str, Any]) -> None:
    told = metadata.get("sample")
    name = told.get("name") if isinstance(told, dict) else told
    name = name or metadata.get("sample_name")
    if not name:
        return
    group = layout.group(entry, "sassample")
    set_attributes(group, {"NX_class": "NXsample", "canSAS_class": "SASsample"})
    group["name"] = str(name)


def _text(metadata: Mapping[str, Any], *names: str) -> str:
    return next((str(metadata[name]) for name in names if metadata.get(name)), "")


def check(source: Any) -> None:
    """Refuse what has no intensity or no momentum transfer.

    Raises
    ------
    InvalidRequestError
        ``unknown-format``.
    """
    if source.family == "container" and _is_cansas(source):
        return
    names = set(_names(source))
    if "I" in names and names & set(Q_NAMES):
        return
    raise InvalidRequestError(
        ErrorKind.UNKNOWN_FORMAT,
        f"NXcanSAS needs I and Q (or Qx and Qy); here are {', '.join(sorted(names)) or 'none'}",
    )


def _names(source: Any) -> Iterator[str]:
    if source.family == "table":
        with source.read() as reader:
            yield from reader.schema.names
        return
    for child in source.children():
        if child.family == "array" and child.problem is None:
            yield child.name
        elif child.family == "table" and child.problem is None:
            yield from _names(child)


def write(source: Any) -> Iterator[Piece]:
    """Yield an NXcanSAS file."""
    yield from prepare(source).pieces()


CONTAINER = Exporter(
    family="container",
    media_type=HDF5,
    names=("h5", "hdf5", "hdf", "nxs"),
    spec=SPEC,
    write=write,
    prepare=prepare,
    check=check,
)
TABLE = Exporter(
    family="table",
    media_type=HDF5,
    names=("h5", "hdf5", "hdf", "nxs"),
    spec=SPEC,
    write=write,
    prepare=prepare,
    check=check,
)
