"""Files that a client registers: what it says of them, and what a worker finds in them."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.entry import Asset, DataSource
from schemas.structures import Structure


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """Files that are to be one node; it travels to the process that looks into them."""

    lake: str
    """URI of the lake into which indexes and converted data go."""
    node_id: str
    generation: str
    """Names of objects begin with it, so that data of earlier states stays; letters and digits."""
    mimetype: str
    """What the client says the files are; decides how they are read."""
    declared: Structure
    """The structure that the client says they have together."""
    parameters: dict[str, Any] = {}
    """How to read them: ``dataset`` of HDF5, ``sep`` of CSV, …"""
    assets: tuple[Asset, ...]
    """The files in order. Those without a ``parameter`` are not opened themselves."""
    roots: tuple[str, ...] = ()
    """Folders, links resolved, that these files and all that they lead to must lie in."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What the files hold, and where."""

    structure: Structure
    """As the client says it, as far as the files agree."""
    source: DataSource
    """With storage or a tree, and every file that is needed among its assets."""
    problems: tuple[str, ...] = ()
