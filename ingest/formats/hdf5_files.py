"""An HDF5 file and the files that its links, sources and raw storage lead to."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING

import h5py
from h5py import h5f, h5g, h5o, h5p

from ingest.source import Source
from schemas.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from schemas.entry import Asset

MOST_FILES = 100_000
"""Other files that one file may lead to."""
_PATH_IN_REASON = re.compile(r"(file)?name = '[^']*',? ?")


class BrokenError(Exception):
    """Something that a file points at is not there or cannot be read; the text says what."""


@dataclasses.dataclass(frozen=True)
class OpenFile:
    """One open HDF5 file."""

    number: int
    """Asset number."""
    source: Source
    root: h5g.GroupID
    root_address: int


class OpenFiles:
    """The main file, and every other that is followed from it, each opened once.

    Parameters
    ----------
    source
        The main file.
    roots
        Folders, links resolved, that every other file must lie in; None allows all.

    Raises
    ------
    BrokenError
        It is no HDF5 file, or damaged.
    """

    def __init__(self, source: Source, roots: Sequence[Path] | None = None) -> None:
        self.assets: list[Asset] = []
        self._roots = roots
        self._open: dict[Path, OpenFile | BrokenError] = {}
        self._numbers: dict[Path, int] = {}
        self._handles: list[h5f.FileID] = []
        self.main = self._opened(source)
        self._open[source.path.resolve()] = self.main

    def follow(self, name: bytes, base: OpenFile) -> OpenFile:
        """Open the HDF5 file that ``base`` calls by this name.

        As the HDF5 library does: an absolute name as it is, then the bare name
        beside ``base``; but never relative to the working directory.

        Raises
        ------
        BrokenError
            Not there, not a regular file, or no HDF5 file.
        """
        source = self._beside(name, base)
        known = self._open.get(source.path)
        if known is None:
            if len(self._open) >= MOST_FILES:
                raise BrokenError(f"more than {MOST_FILES} other files")
            try:
                known = self._opened(source)
            except BrokenError as broken:
                known = BrokenError(f"file {source.name!r}: {broken}")
            self._open[source.path] = known
        if isinstance(known, BrokenError):
            raise known
        return known

    def raw(self, name: bytes, base: OpenFile) -> Asset:
        """Return the asset of a file of raw values that ``base`` calls by this name.

        Raises
        ------
        BrokenError
            Not there, or not a regular file.
        """
        source = self._beside(name, base)
        return self.assets[self._number(source)]

    def close(self) -> None:
        """Close every file."""
        for handle in self._handles:
            h5py.File(handle).close()  # what is open in the file would keep it open
        self._handles.clear()
        self._open.clear()

    def _beside(self, name: bytes, base: OpenFile) -> Source:
        called = os.fsdecode(name)
        bare = os.path.basename(called)
        folder = base.source.path.parent
        places = [folder / called, folder / bare]
        if base.source.path.is_symlink():
            folder = base.source.path.resolve().parent
            places += [folder / called, folder / bare]
        for path in dict.fromkeys(places):
            try:
                found = Source.of(path.resolve())
            except (InvalidRequestError, RuntimeError):
                continue
            if not found.is_directory:
                self._check_inside(found)
                return found
        raise BrokenError(f"file {bare!r} is not there")

    def _check_inside(self, source: Source) -> None:
        if self._roots is not None and not any(map(source.path.is_relative_to, self._roots)):
            raise BrokenError(
                f"file {source.name!r} lies outside the folders that files may be registered in"
            )

    def _number(self, source: Source) -> int:
        number = self._numbers.get(source.path)
        if number is None:
            number = self._numbers[source.path] = len(self.assets)
            self.assets.append(source.asset(number))
        return number

    def _opened(self, source: Source) -> OpenFile:
        name = os.fsencode(source.path)
        try:
            handle = _open(name)
            root = h5o.open(handle, b"/")
            address = h5o.get_info(root).addr
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise BrokenError(reason_of(error)) from None
        self._handles.append(handle)
        return OpenFile(self._number(source), source, root, address)


def _open(name: bytes) -> h5f.FileID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_file_locking(False, True)  # a detector that holds a lock is still read
    try:
        return h5f.open(name, h5f.ACC_RDONLY, access)
    except OSError as error:
        reason = str(error)
        if "locking flag" in reason:  # open in this very process, where all must agree
            access.set_file_locking(True, True)
            return h5f.open(name, h5f.ACC_RDONLY, access)
        if "already open for" in reason:
            return h5f.open(name, h5f.ACC_RDONLY | h5f.ACC_SWMR_READ, access)
        raise


def reason_of(error: BaseException) -> str:
    """Return what HDF5 says went wrong, without the path that it went wrong with."""
    text = " ".join(str(argument) for argument in error.args) or type(error).__name__
    inner = re.search(r"\((.+)\)", text, re.DOTALL)
    return _PATH_IN_REASON.sub("", inner[1] if inner else text).strip(" :")
