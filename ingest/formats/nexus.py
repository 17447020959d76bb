"""NeXus and its like: what the attributes of groups say about the arrays in them."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.entry import Spec
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.found import Item

_SEPARATORS = re.compile(r"[,:\s]+")
_COLUMN_KINDS = frozenset("biufSUMm")
MOST_COLUMNS = 1000
"""Columns that a group is still offered as a table with."""


@dataclasses.dataclass
class Group:
    """One group with what lies directly in it."""

    path: str
    """Empty for the root."""
    attributes: Mapping[str, Any]
    fields: dict[str, Item] = dataclasses.field(default_factory=dict)
    """Datasets by name, in the file's order."""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Those with one value, by name."""
    groups: dict[str, Group] = dataclasses.field(default_factory=dict)

    @property
    def nexus_class(self) -> str | None:
        """``NX_class``; None for a plain HDF5 group."""
        found = self.attributes.get("NX_class")
        return found if isinstance(found, str) else None

    def array(self, name: Any) -> ArrayStructure | None:
        """Return the structure of the array that a field is; None where it is none."""
        item = self.fields.get(name) if isinstance(name, str) else None
        structure = item.structure if item is not None else None
        return structure if isinstance(structure, ArrayStructure) else None


def specs_of(group: Group) -> tuple[Spec, ...]:
    """Return what an entry promises to follow: application definitions and NXcanSAS."""
    specs = []
    definition = group.values.get("definition")
    if isinstance(definition, str) and definition.strip():
        version = group.fields["definition"].metadata.get("version")
        specs.append(_spec(definition, version))
    if group.attributes.get("canSAS_class") == "SASentry":
        specs.append(_spec("NXcanSAS", group.attributes.get("version")))
    return merged(specs)


def merged(specs: Sequence[Spec]) -> tuple[Spec, ...]:
    """Return each named promise once, with its version where one is known."""
    found: dict[str, Spec] = {}
    for spec in specs:
        known = found.get(spec.name)
        if known is None or (known.version is None and spec.version is not None):
            found[spec.name] = spec
    return tuple(found.values())


def _spec(name: str, version: Any) -> Spec:
    text = None if version is None or isinstance(version, list | dict) else str(version).strip()
    return Spec(name.strip(), text or None)


def signal_of(group: Group) -> str | None:
    """Return the name of the field that a group is about.

    From the attribute ``signal`` of the group, or ``signal=1`` of a field, as
    NeXus wrote it before 2014.
    """
    named = group.attributes.get("signal")
    if isinstance(named, str) and group.array(named) is not None:
        return named
    for name, item in group.fields.items():
        if group.array(name) is not None and str(item.metadata.get("signal", "")) == "1":
            return name
    if group.nexus_class == "NXdata" and group.array("data") is not None:
        return "data"
    return None


def axes_of(group: Group, signal: str) -> list[str | None] | None:
    """Return the name of each axis of the signal; None for an axis without a name.

    Returns
    -------
    list of (str or None), or None
        None where nothing is said that fits the signal's number of axes.
    """
    structure = group.array(signal)
    if structure is None:
        return None
    rank = len(structure.shape)
    said = group.attributes.get("axes")
    if said is None:
        said = group.attributes.get(f"{signal}_axes")
    if said is None:
        said = group.fields[signal].metadata.get("axes")
    names = _names(said)
    if names is not None and len(names) != rank:
        names = _by_indices(group, names, rank)
    if names is None:
        names = _by_numbers(group, rank)
    return names


def _names(said: Any) -> list[str | None] | None:
    if isinstance(said, str):
        said = [part for part in _SEPARATORS.split(said.strip().strip("[]")) if part]
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        return None
    return [None if one in (".", "") else one for one in said]


def _by_indices(group: Group, names: Sequence[str | None], rank: int) -> list[str | None] | None:
    """Place axes by the attributes ``<axis>_indices``."""
    placed: list[str | None] = [None] * rank
    for name in names:
        index = group.attributes.get(f"{name}_indices")
        if name is not None and isinstance(index, int) and 0 <= index < rank:
            placed[index] = placed[index] or name
    return placed if any(placed) else None


def _by_numbers(group: Group, rank: int) -> list[str | None] | None:
    """Place axes by the fields' attributes ``axis``, counted from 1, as old files have it."""
    placed: list[str | None] = [None] * rank
    for name, item in group.fields.items():
        number = item.metadata.get("axis")
        try:
            index = int(number) - 1 if isinstance(number, int | str) else -1
        except ValueError:
            continue
        if 0 <= index < rank and (placed[index] is None or item.metadata.get("primary") == 1):
            placed[index] = name
    return placed if any(placed) else None


def name_axes(group: Group) -> None:
    """Give the arrays of a group their axes' names, as far as the file tells them."""
    for name, item in group.fields.items():
        structure = group.array(name)
        if structure is not None:
            labels = _names(item.metadata.get("DIMENSION_LABELS"))
            scales = _scales(item.metadata.get("DIMENSION_LIST"))
            item.structure = _with_dims(structure, labels or scales)
    signal = signal_of(group)
    names = axes_of(group, signal) if signal is not None else None
    if signal is None or names is None:
        return
    shape = _shape(group, signal)
    alike = [signal, f"{signal}_errors", "errors", *_listed(group.attributes, "auxiliary_signals")]
    for name in dict.fromkeys(alike):
        if _shape(group, name) == shape:
            _name(group, name, names)
    for name in group.fields:
        default = names.index(name) if name in names else None
        indices = group.attributes.get(f"{name}_indices", default)
        if indices is not None:
            _name(group, name, _picked(names, indices))


def _scales(said: Any) -> list[str | None] | None:
    """Return the name of the first dimension scale of each axis, as NetCDF-4 files have them."""
    if not isinstance(said, list):
        return None
    firsts = [one[0] if isinstance(one, list) and one else one for one in said]
    return [one.rpartition("/")[2] if isinstance(one, str) else None for one in firsts]


def _shape(group: Group, name: str) -> tuple[int, ...] | None:
    structure = group.array(name)
    return None if structure is None else structure.shape


def _listed(attributes: Mapping[str, Any], key: str) -> list[str]:
    return [name for name in _names(attributes.get(key)) or [] if name]


def _picked(names: Sequence[str | None], indices: Any) -> list[str | None]:
    wanted = indices if isinstance(indices, list) else [indices]
    return [
        names[index] if isinstance(index, int) and 0 <= index < len(names) else None
        for index in wanted
    ]


def _name(group: Group, name: str, names: Sequence[str | None]) -> None:
    structure = group.array(name)
    if structure is not None and structure.dims is None:
        group.fields[name].structure = _with_dims(structure, names)


def _with_dims(structure: ArrayStructure, names: Sequence[str | None] | None) -> ArrayStructure:
    if not names or len(names) != len(structure.shape) or not any(names):
        return structure
    dims = tuple(name or f"dim_{axis}" for axis, name in enumerate(names))
    if len(set(dims)) != len(dims):
        return structure
    return msgspec.structs.replace(structure, dims=dims)


def default_plot(root: Group) -> dict[str, Any] | None:
    """Return what the file wants to be shown: paths of group and signal, names of the axes.

    Follows the ``default`` attributes from the root; without them, the first
    NXdata with a signal in the first entry.
    """
    group = root
    for _ in range(32):
        wanted = group.attributes.get("default")
        below = group.groups.get(wanted) if isinstance(wanted, str) else None
        if below is None:
            break
        group = below
    for found in _plots(group, 4):
        signal = signal_of(found)
        if signal is not None:
            return {
                "group": found.path,
                "signal": found.fields[signal].path,
                "axes": axes_of(found, signal) or [],
            }
    return None


def _plots(group: Group, depth: int) -> list[Group]:
    """Return the groups in and below one that say what they are about, nearest first."""
    found, level = [], [group]
    for _ in range(depth):
        found += [one for one in level if one.nexus_class == "NXdata" or "signal" in one.attributes]
        level = [below for one in level for below in one.groups.values()]
    return found


def columns_of(group: Group) -> dict[str, Item]:
    """Return the fields that make a table of an NXdata or a plain group: 1-D, of one length.

    Returns
    -------
    dict
        By name; empty where fewer than two fit together.
    """
    if group.nexus_class not in (None, "NXdata"):
        return {}
    lengths = Counter(
        structure.shape[0]
        for structure in map(group.array, group.fields)
        if structure is not None and len(structure.shape) == 1 and structure.shape[0] > 1
    )
    if not lengths:
        return {}
    signal = group.array(signal_of(group))
    if signal is not None and len(signal.shape) == 1 and lengths[signal.shape[0]] > 1:
        length = signal.shape[0]
    else:
        length, alike = lengths.most_common(1)[0]
        if 2 * alike < lengths.total():
            return {}
    columns = {name: item for name, item in group.fields.items() if _fits(item, length)}
    return columns if 2 <= len(columns) <= MOST_COLUMNS else {}


def _fits(item: Item, length: int) -> bool:
    structure = item.structure
    return (
        isinstance(structure, ArrayStructure)
        and structure.shape == (length,)
        and item.problem is None
        and structure.data_type.kind in _COLUMN_KINDS
        and structure.data_type.itemsize <= 1024
    )
