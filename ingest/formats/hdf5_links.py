"""Where the links of an HDF5 file lead, step by step and across files."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from h5py import h5g, h5i, h5l, h5o

from ingest.formats.hdf5_files import BrokenError, reason_of
from ingest.formats.hdf5_values import READ_ERRORS
from ingest.metadata import text_of

if TYPE_CHECKING:
    from ingest.formats.hdf5_files import OpenFile, OpenFiles

MOST_HOPS = 32
"""Soft and external links one after another."""


class Link(NamedTuple):
    """One link of a group."""

    name: bytes
    kind: int
    """``h5l.TYPE_HARD``, ``TYPE_SOFT``, ``TYPE_EXTERNAL``, or a number that a user defined."""
    address: int
    """Of the object in the file, for hard links."""


@dataclasses.dataclass(frozen=True)
class Place:
    """An object, and the file that it is in."""

    file: OpenFile
    handle: h5i.ObjectID
    address: int

    @property
    def key(self) -> tuple[int, int]:
        """The same for every link that leads here."""
        return self.file.number, self.address


def root_of(file: OpenFile) -> Place:
    """Return the root group of a file."""
    return Place(file, file.root, file.root_address)


def links_of(group: h5g.GroupID) -> list[Link]:
    """Return the links of a group: in order of creation where that is kept, else by name."""
    found: list[tuple[int, Link]] = []
    ordered = True

    def take(name: bytes, info: h5l.LinkInfo) -> None:  # info is one object, used again
        nonlocal ordered
        ordered = ordered and info.corder_valid
        address = info.u if info.type == h5l.TYPE_HARD else 0
        found.append((info.corder, Link(name, info.type, address)))

    group.links.iterate(take, info=True)
    if ordered:
        found.sort(key=lambda pair: pair[0])
    return [link for _, link in found]


def open_link(files: OpenFiles, group: Place, link: Link, hops: int = 0) -> Place:
    """Return what a link leads to.

    Raises
    ------
    BrokenError
        It leads nowhere, in a circle, or is of a kind that only its maker knows.
    """
    try:
        if link.kind == h5l.TYPE_HARD:
            return Place(group.file, h5o.open(group.handle, link.name), link.address)
        if hops >= MOST_HOPS:
            raise BrokenError("links lead in a circle")
        if link.kind == h5l.TYPE_SOFT:
            target = group.handle.links.get_val(link.name)
            return open_path(files, group, target, hops + 1)
        if link.kind == h5l.TYPE_EXTERNAL:
            name, target = group.handle.links.get_val(link.name)
            file = files.follow(name, group.file)
            try:
                return open_path(files, root_of(file), target, hops + 1)
            except BrokenError as broken:
                raise BrokenError(f"file {file.source.name!r}: {broken}") from None
    except READ_ERRORS as error:
        raise BrokenError(reason_of(error)) from None
    raise BrokenError(f"a link of the user-defined kind {link.kind}")


def open_path(files: OpenFiles, start: Place, path: bytes, hops: int = 0) -> Place:
    """Return the object at a path, from the root of the file or from a group.

    Raises
    ------
    BrokenError
        A part of the path is not there.
    """
    place = root_of(start.file) if path.startswith(b"/") else start
    for part in path.split(b"/"):
        if part in (b"", b"."):
            continue
        try:
            info = place.handle.links.get_info(part)
        except READ_ERRORS:
            raise BrokenError(f"nothing at {text_of(path)!r}") from None
        address = info.u if info.type == h5l.TYPE_HARD else 0
        place = open_link(files, place, Link(part, info.type, address), hops)
    return place
