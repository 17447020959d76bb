"""Which files make which entries: folders become containers, stems become names."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ingest.found import SeriesFormat
from ingest.source import Source, unreadable
from ingest.summary import Failure
from schemas.errors import LakeError
from schemas.path import clean_path, join_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ingest.found import Format

_NUMBERED = re.compile(r"^(?P<prefix>.*?)(?P<number>[0-9]+)$")
_NAMELESS_SERIES = "frames"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One entry to be: a file, a folder that is a single thing, or a series of files."""

    paths: tuple[Path, ...]
    """Absolute; more than one for a series, ordered by number."""
    node_path: str
    name: str
    """Path of the file as the caller would name it."""
    short_path: str | None = None
    """Path it would have had if no other stem were the same; an entry there is kept."""

    @property
    def is_series(self) -> bool:
        """Whether several files are to make one stack."""
        return len(self.paths) > 1


@dataclasses.dataclass
class Walk:
    """What there is to ingest."""

    candidates: list[Candidate] = dataclasses.field(default_factory=list)
    failed: list[Failure] = dataclasses.field(default_factory=list)
    """Files that cannot become entries, whatever is in them."""
    problems: list[Failure] = dataclasses.field(default_factory=list)
    names: dict[Path, str] = dataclasses.field(default_factory=dict)
    """Entry path of each member of a series, should it stand on its own."""


@dataclasses.dataclass(frozen=True)
class _Found:
    """A candidate before names are given out in its folder."""

    paths: tuple[Path, ...]
    stem: str
    full: str
    name: str


class Walker:
    """Finds the candidates below some sources.

    Parameters
    ----------
    formats
        Asked whether a folder is a single thing, and whose files can make a series.
    skip
        A folder that is left out: the lake itself.
    """

    def __init__(self, formats: Sequence[Format], skip: Path | None = None) -> None:
        self._formats = formats
        self._skip = _identity(skip) if skip is not None else None
        self._series_suffixes = {
            suffix for one in formats if isinstance(one, SeriesFormat) for suffix in one.suffixes
        }
        self.walk = Walk()

    def run(self, sources: Sequence[Path], into: str = "") -> Walk:
        """Return what is in the sources.

        One folder: what is in it comes directly below ``into``. Several sources:
        each folder becomes a container of its own name.
        """
        into = clean_path(into)
        found: list[_Found] = []
        folders: list[tuple[Path, str]] = []
        for path in dict.fromkeys(source.absolute() for source in sources):
            try:
                source = Source.of(path)
            except LakeError as error:
                self.walk.failed.append(Failure(str(path.name), str(error)))
                continue
            if not source.is_directory or self._is_single(source):
                found.append(_single(path, path.name))
            elif len(sources) == 1:
                self._folder(path, into, "", ())
            else:
                folders.append((path, path.name))
        self._name(found, into, {name for _, name in folders})
        for name, count in Counter(name for _, name in folders).items():
            if count > 1:
                self.walk.failed.append(Failure(name, f"{count} folders are called {name!r}"))
        for path, name in folders:
            if sum(name == other for _, other in folders) == 1:
                self._folder(path, join_path(into, name), f"{name}/", ())
        return self.walk

    def _is_single(self, source: Source) -> bool:
        return any(one.sniff(source) for one in self._formats)

    def _folder(
        self, folder: Path, into: str, shown: str, above: tuple[tuple[int, int] | None, ...]
    ) -> None:
        try:
            identity = _identity(folder)
            if identity == self._skip or identity in above:
                return  # the lake itself, or a link that leads back up
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: _natural(entry.name))
        except OSError as error:
            self.walk.failed.append(
                Failure(shown or folder.name, str(unreadable(folder.name, error)))
            )
            return
        files: list[Path] = []
        found: list[_Found] = []
        folders: list[str] = []
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or not self._usable(entry.name, shown):
                continue
            try:
                source = Source.of(path)
            except LakeError as error:
                self.walk.failed.append(Failure(shown + _shown(entry.name), str(error)))
                continue
            if not source.is_directory:
                files.append(path)
            elif self._is_single(source):
                found.append(_single(path, shown + path.name))
            else:
                folders.append(entry.name)
        series, rest = self._series(files, shown)
        found += [_single(path, shown + path.name) for path in rest]
        self._name(series + found, into, set(folders))
        for name in folders:
            self._folder(
                folder / name, join_path(into, name), f"{shown}{name}/", (*above, identity)
            )

    def _usable(self, name: str, shown: str) -> bool:
        try:
            clean_path(name)
        except LakeError as error:
            self.walk.failed.append(Failure(shown + _shown(name), str(error)))
            return False
        return True

    def _series(self, files: Sequence[Path], shown: str) -> tuple[list[_Found], list[Path]]:
        """Group numbered files of one prefix and suffix."""
        groups: defaultdict[tuple[str, str, int], list[tuple[int, Path]]] = defaultdict(list)
        rest: list[Path] = []
        for path in files:
            match = _NUMBERED.match(path.stem)
            if match is None or path.suffix.lower() not in self._series_suffixes:
                rest.append(path)
                continue
            padded = match["number"].startswith("0") and len(match["number"]) > 1
            width = len(match["number"]) if padded else 0
            groups[match["prefix"], path.suffix, width].append((int(match["number"]), path))
        _join_padded(groups)
        series: list[_Found] = []
        for (prefix, suffix, _), members in groups.items():
            if len(members) == 1:
                rest.append(members[0][1])
                continue
            members.sort()
            stem = prefix.rstrip("_-. ") or _NAMELESS_SERIES
            first, last = members[0], members[-1]
            name = f"{shown}{first[1].name} … {last[1].name}"
            series.append(
                _Found(tuple(path for _, path in members), stem, f"{prefix}NNNN{suffix}", name)
            )
            missing = _missing([number for number, _ in members])
            if missing:
                self.walk.problems.append(Failure(name, missing))
        return series, rest

    def _name(self, found: Sequence[_Found], into: str, folders: set[str]) -> None:
        """Give each its stem, or its full name where others have the same stem."""
        stems = Counter(folders)
        for one in found:
            stems[one.stem] += 1
            if len(one.paths) > 1:
                stems.update(path.stem for path in one.paths)
        taken = set(folders)
        for one in found:
            unique = stems[one.stem] == 1
            name = one.stem if unique else one.full
            if name in taken:
                self.walk.failed.append(Failure(one.name, f"another file is called {name!r}"))
                continue
            taken.add(name)
            short = None if unique else join_path(into, one.stem)
            self.walk.candidates.append(
                Candidate(one.paths, join_path(into, name), one.name, short)
            )
            if len(one.paths) > 1:
                for path in one.paths:
                    own = path.stem if stems[path.stem] == 1 else path.name
                    self.walk.names[path] = join_path(into, own)


def _single(path: Path, name: str) -> _Found:
    return _Found((path,), path.stem, path.name, name)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from all others, whatever links lead to it; None if not there."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _join_padded(groups: dict[tuple[str, str, int], list[tuple[int, Path]]]) -> None:
    """Join ``img_0999`` and ``img_1000``: numbers that outgrew their zeros, or just fill them."""
    for prefix, suffix, width in [key for key in groups if key[2]]:
        plain = groups.get((prefix, suffix, 0), [])
        fitting = [one for one in plain if len(str(one[0])) >= width]
        groups[prefix, suffix, width].extend(fitting)
        left = [one for one in plain if one not in fitting]
        if left:
            groups[prefix, suffix, 0] = left
        else:
            groups.pop((prefix, suffix, 0), None)


def _missing(numbers: Sequence[int]) -> str | None:
    """Return a sentence about the gaps in ascending numbers; None if there is none."""
    gaps = [(before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1]
    if not gaps:
        return None
    count = sum(last - first + 1 for first, last in gaps)
    spans = [str(first) if first == last else f"{first}-{last}" for first, last in gaps[:8]]
    more = ", …" if len(gaps) > 8 else ""
    verb = "number is" if count == 1 else "numbers are"
    return (
        f"{count} {verb} missing between {numbers[0]} and {numbers[-1]}: {', '.join(spans)}{more}"
    )


def _natural(name: str) -> list[Any]:
    """Sort ``scan2`` before ``scan10``."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]
