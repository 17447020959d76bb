"""Everything inside an HDF5 file, as nodes in the file's order."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

from h5py import h5a, h5d, h5g, h5i

from ingest.formats import nexus
from ingest.formats.hdf5_columns import column_table
from ingest.formats.hdf5_describe import Description, describe_dataset
from ingest.formats.hdf5_files import BrokenError, OpenFiles, reason_of
from ingest.formats.hdf5_links import Link, Place, links_of, open_link, root_of
from ingest.formats.hdf5_values import READ_ERRORS, attribute_value
from ingest.found import Item
from ingest.metadata import LONGEST_TEXT, TooLong, text_of
from schemas.path import MAX_PATH_BYTES, MAX_SEGMENT_BYTES, name_of
from schemas.structures import ContainerStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.entry import Spec

MOST_REPEATED = 10_000
"""Nodes that are listed below a group's second and further names."""
MOST_VALUES = 20_000
"""Values of one file that are searchable."""
_WIRING = frozenset({"DIMENSION_LIST", "REFERENCE_LIST"})  # how dimension scales are attached


@dataclasses.dataclass
class _Frame:
    """A group whose links are being followed."""

    place: Place
    group: nexus.Group
    links: Iterator[Link]
    names: frozenset[str]
    values: dict[str, Any] | None
    """Where its values go in the file's metadata; None where they are there by another name."""
    above: frozenset[tuple[int, int]]
    """The groups that it lies in, itself included."""
    repeated: bool
    item: Item | None


class Tree:
    """Walks an open file; the results are in the attributes.

    Parameters
    ----------
    files
        The file, and those that it leads to.
    start
        Group to begin with; None for the file's root.
    """

    def __init__(self, files: OpenFiles, start: Place | None = None) -> None:
        self.items: list[Item] = []
        self.metadata: dict[str, Any] = {}
        self.specs: tuple[Spec, ...] = ()
        self.problems: list[str] = []
        self._files = files
        self._described: dict[tuple[int, int], tuple[Description, dict[str, Any]]] = {}
        self._groups: dict[tuple[int, int], str] = {}
        self._paths: set[str] = set()
        self._repeated = 0
        self._values = 0
        self._walk(start or root_of(self._files.main))

    def _walk(self, place: Place) -> None:
        root = self._enter(place, None, "", self.metadata, frozenset(), repeated=False)
        frames = [root] if root is not None else []
        while frames:
            frame = frames[-1]
            link = next(frame.links, None)
            if link is None:
                frames.pop()
                self._leave(frame, frames[-1].names if frames else frame.names)
                continue
            below = self._link(frame, link)
            if below is not None:
                frames.append(below)
        if root is not None:
            plot = nexus.default_plot(root.group)
            if plot is not None:
                self.metadata.setdefault("default_plot", plot)

    def _enter(
        self,
        place: Place,
        item: Item | None,
        path: str,
        values: dict[str, Any] | None,
        above: frozenset[tuple[int, int]],
        *,
        repeated: bool,
    ) -> _Frame | None:
        """Start with a group; None where its links cannot be listed."""
        attributes = self._attributes(place.handle, path)
        if item is not None:
            item.metadata |= attributes
        try:
            links = links_of(place.handle)
        except READ_ERRORS as error:
            self._problem(item, f"HDF5 cannot list it: {reason_of(error)}")
            links = []
        names = frozenset(_name(link.name) for link in links)
        if values is not None:
            for name, value in attributes.items():
                self._keep(values, f"@{name}" if name in names else name, value)
        self._groups.setdefault(place.key, path)
        group = nexus.Group(path, attributes)
        return _Frame(place, group, iter(links), names, values, above | {place.key}, repeated, item)

    def _leave(self, frame: _Frame, beside: frozenset[str]) -> None:
        group = frame.group
        nexus.name_axes(group)
        specs = nexus.specs_of(group)
        if specs:
            self.specs = nexus.merged((*self.specs, *specs))
            if frame.item is not None:
                frame.item.specs = specs
        path = f"{group.path}@table"
        if name_of(path) not in beside and len(path.encode()) <= MAX_PATH_BYTES:
            table = column_table(path, nexus.columns_of(group))
            if table is not None:
                self._add(table)

    def _link(self, frame: _Frame, link: Link) -> _Frame | None:
        """List what a link leads to; returns the group to go on with, if it is one."""
        name = _name(link.name)
        path = self._path(frame.group.path, name)
        if path is None:
            return None
        if frame.repeated:
            self._repeated += 1
        key = frame.place.file.number, link.address
        known = self._described.get(key) if link.address else None
        if known is not None:
            self._dataset(frame, name, path, *known)
            return None
        try:
            place = open_link(self._files, frame.place, link)
        except BrokenError as broken:
            self._add(Item(path, problem=f"a link that leads nowhere: {broken}"))
            return None
        if isinstance(place.handle, h5g.GroupID):
            return self._group(frame, name, path, place, link)
        if isinstance(place.handle, h5d.DatasetID):
            described = self._described.get(place.key)
            if described is None:
                description = describe_dataset(self._files, place, name)
                described = description, self._attributes(place.handle, path)
                self._described[place.key] = described
            self._dataset(frame, name, path, *described)
        return None

    def _group(
        self, frame: _Frame, name: str, path: str, place: Place, link: Link
    ) -> _Frame | None:
        item = Item(path, ContainerStructure())
        self._add(item)
        first = self._groups.get(place.key)
        is_new = first is None
        if place.key in frame.above or (not is_new and self._repeated >= MOST_REPEATED):
            item.metadata = {"@same_as": first, **self._attributes(place.handle, path)}
            return None
        soft_inside = link.address == 0 and place.file.number == frame.place.file.number
        values: dict[str, Any] | None = None
        if frame.values is not None and is_new and not soft_inside:
            values = frame.values.setdefault(name, {})
            if not isinstance(values, dict):
                values = None
        below = self._enter(
            place, item, path, values, frame.above, repeated=frame.repeated or not is_new
        )
        if below is not None:
            frame.group.groups[name] = below.group
        return below

    def _dataset(
        self,
        frame: _Frame,
        name: str,
        path: str,
        description: Description,
        attributes: dict[str, Any],
    ) -> None:
        item = Item(
            path=path,
            structure=description.structure,
            metadata={**attributes, **description.metadata},
            layout=description.layout,
            location=description.location,
            read=description.read,
            problem=description.problem,
        )
        self._add(item)
        frame.group.fields[name] = item
        if description.has_value:
            frame.group.values[name] = description.value
        if frame.values is None:
            return
        if description.has_value:
            self._keep(frame.values, name, description.value)
        for attribute, value in attributes.items():
            if attribute not in _WIRING:
                self._keep(frame.values, f"{name}@{attribute}", value)

    def _attributes(self, holder: h5i.ObjectID, path: str) -> dict[str, Any]:
        names: list[bytes] = []
        try:
            h5a.iterate(holder, names.append)
        except READ_ERRORS as error:
            self.problems.append(
                f"{path or '/'}: HDF5 cannot list its attributes: {reason_of(error)}"
            )
        found: dict[str, Any] = {}
        for name in names:
            try:
                found[text_of(name)] = attribute_value(holder, name)
            except TooLong:
                continue
            except READ_ERRORS as error:
                called = f"{path}@{text_of(name)}"
                self.problems.append(f"{called}: HDF5 cannot read it: {reason_of(error)}")
        return found

    def _keep(self, values: dict[str, Any], name: str, value: Any) -> None:
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            return
        if self._values == MOST_VALUES:
            self.problems.append(f"only the first {MOST_VALUES} values are searchable")
        self._values += 1
        if self._values <= MOST_VALUES:
            values[name] = value

    def _path(self, parent: str, name: str) -> str | None:
        path = f"{parent}/{name}" if parent else name
        while path in self._paths:
            path += "~"
        if len(path.encode()) > MAX_PATH_BYTES:
            self.problems.append(f"{path[:64]}…: its path is too long to be listed")
            return None
        return path

    def _add(self, item: Item) -> None:
        self._paths.add(item.path)
        self.items.append(item)

    def _problem(self, item: Item | None, text: str) -> None:
        if item is None:
            self.problems.append(text)
        else:
            item.problem = text


def _name(name: bytes) -> str:
    """Return the name of a link as a segment of a path."""
    text = text_of(name)
    if text in (".", ".."):
        return text.replace(".", "%2E")
    if not text.isprintable():
        text = "".join(c if ord(c) >= 32 and ord(c) != 127 else f"%{ord(c):02X}" for c in text)
    if len(text.encode()) > MAX_SEGMENT_BYTES:
        digest = hashlib.sha256(name).hexdigest()[:12]
        text = name[: MAX_SEGMENT_BYTES // 2].decode("utf-8", "ignore") + "~" + digest
    return text
