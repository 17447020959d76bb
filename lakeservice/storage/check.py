"""Does every entry have its data, and does all data have an entry: the lake, looked through."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lakeservice.storage.checksums import damaged_chunks
from lakeservice.storage.layout import DATA, LOG, TEMPORARY, version_of
from lakeservice.storage.references import Expected, References
from lakeservice.storage.registered import registered_faults
from lakeservice.storage.snapshots import latest_snapshot, read_nodes
from lakeservice.storage.trees import read_tree
from schemas.chunks import ArrayStorage, TableStorage, ZarrParts
from schemas.errors import CorruptError, NotFoundError
from schemas.path import join_path
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakeservice.storage.lake import Lake
    from lakeservice.storage.objects import Objects


@dataclass(frozen=True)
class Broken:
    """One thing that is not as it should be."""

    path: str
    """The entry; empty where the log itself is meant."""
    reason: str


@dataclass(frozen=True)
class Report:
    """What a check found."""

    version: int
    """Log version that was checked."""
    nodes: int
    broken: tuple[Broken, ...] = ()
    garbage: tuple[str, ...] = ()
    """Objects' prefixes that no entry, living or gone, refers to: left by interrupted writes."""
    garbage_bytes: int = 0
    temporary: tuple[str, ...] = ()
    """Objects whose writing was interrupted."""
    temporary_bytes: int = 0
    deleted: int = 0
    """Objects that were deleted, of garbage and temporary ones."""

    @property
    def ok(self) -> bool:
        """Whether nothing is broken; garbage does no harm."""
        return not self.broken


@dataclass
class _Group:
    """All objects of one part: ``data/<id>/<segment>`` and below."""

    key: str
    names: int = 0
    chunks: int = 0
    size_bytes: int = 0
    described: bool = False


@dataclass
class _Findings:
    broken: list[Broken] = field(default_factory=list)
    orphans: list[_Group] = field(default_factory=list)


def check(
    lake: Lake, *, clean: bool = False, chunks: bool = False, older_than_s: float = 3600.0
) -> Report:
    """Look through a whole lake; it may be in use meanwhile.

    Parameters
    ----------
    lake
        The lake.
    clean
        Delete garbage and interrupted objects. Nothing is deleted while the log
        cannot be read to its end.
    chunks
        Read all chunks of arrays in the lake, and compare their checksums.
    older_than_s
        Leave alone what was written more recently, in s: somebody may be about
        to commit it.
    """
    references = References()
    findings = _Findings()
    readable = _read_log(lake, references, findings)
    _compare(lake.objects, references, findings)
    if not readable:
        return Report(references.version, len(references), tuple(findings.broken))
    findings.broken.extend(
        Broken(path, reason)
        for path, reason in registered_faults(lake, references.version, references.has)
    )
    if chunks:
        findings.broken.extend(_damaged(lake.objects, references))
    # What was committed while the objects were listed is no garbage.
    references.follow(lake.log)
    before_s = time.time() - older_than_s
    garbage = [
        group
        for group in findings.orphans
        if not references.covers(group.key) and _all_older(lake.objects, group, before_s)
    ]
    temporary = [
        (name, size)
        for name, size in lake.objects.list(TEMPORARY)
        if (written_s := lake.objects.modified_s(name)) is not None and written_s < before_s
    ]
    report = Report(
        version=references.version,
        nodes=len(references),
        broken=tuple(findings.broken),
        garbage=tuple(group.key for group in garbage),
        garbage_bytes=sum(group.size_bytes for group in garbage),
        temporary=tuple(name for name, _ in temporary),
        temporary_bytes=sum(size for _, size in temporary),
    )
    if not clean:
        return report
    return replace(report, deleted=_delete(lake.objects, report))


def _read_log(lake: Lake, references: References, findings: _Findings) -> bool:
    """Take in the whole log; tell whether it could be read to its end."""
    try:
        snapshot = latest_snapshot(lake)
        if snapshot is not None and lake.log.read(1) is None:
            references.start(snapshot.version, read_nodes(lake, snapshot))
        references.follow(lake.log)
    except CorruptError as error:
        findings.broken.append(Broken("", error.message))
        return False
    newest = max((version_of(name) or 0 for name, _ in lake.objects.list(LOG)), default=0)
    if newest > references.version and lake.log.read(references.version + 1) is None:
        missing = references.version + 1
        findings.broken.append(
            Broken("", f"version {missing} of the lake's log is missing; restore it from a backup")
        )
        return False
    return True


def _compare(objects: Objects, references: References, findings: _Findings) -> None:
    """Compare what entries refer to with what is there, in one pass over the objects."""
    expected = references.expected()
    for group in _groups(objects):
        wanted = expected.pop(group.key, None)
        if wanted is not None:
            reason = _fault(wanted, group)
            if reason:
                findings.broken.append(Broken(wanted.path, reason))
        elif not references.covers(group.key):
            findings.orphans.append(group)
    findings.broken.extend(
        Broken(wanted.path, f"{key!r} is missing") for key, wanted in expected.items()
    )
    for path, tree in references.trees():
        findings.broken.extend(Broken(path, reason) for reason in _tree_faults(objects, tree))


def _groups(objects: Objects) -> Iterator[_Group]:
    group: _Group | None = None
    for name, size in objects.list(DATA):
        key = "/".join(name.split("/", 3)[:3])
        if group is None or group.key != key:
            if group is not None:
                yield group
            group = _Group(key)
        group.names += 1
        group.size_bytes += size
        group.described = group.described or name == f"{key}/zarr.json"
        if name.startswith(f"{key}/c/") or name == f"{key}/c":
            group.chunks += 1
    if group is not None:
        yield group


def _fault(wanted: Expected, group: _Group) -> str | None:
    if wanted.is_array and not group.described:
        return f"'{group.key}/zarr.json' is missing"
    if wanted.chunks is not None and group.chunks < wanted.chunks:
        return f"{group.key!r} has {group.chunks} chunks of {wanted.chunks}"
    if not wanted.is_array and wanted.size_bytes not in (None, group.size_bytes):
        return f"{group.key!r} has {group.size_bytes} bytes, not {wanted.size_bytes}"
    return None


def _tree_faults(objects: Objects, name: str) -> Iterator[str]:
    """Yield what is missing of the data that a file's inner nodes had converted."""
    try:
        tree = read_tree(objects, name)
    except NotFoundError:
        return  # found missing already, as an object of its entry
    except CorruptError as error:
        yield error.message
        return
    for node in tree.nodes:
        if isinstance(node.storage, ArrayStorage) and isinstance(node.storage.location, ZarrParts):
            names = [f"{part.name}/zarr.json" for part in node.storage.location.parts]
        elif isinstance(node.storage, TableStorage):
            names = [part.name for part in node.storage.parts]
        else:
            continue
        for inner in names:
            if objects.size(inner) is None:
                yield f"{inner!r} of {node.path!r} inside the file is missing"


def _damaged(objects: Objects, references: References) -> Iterator[Broken]:
    """Yield the chunks of living arrays that are not what was written."""
    for path, structure, storage in _arrays(objects, references):
        try:
            for position, reason in damaged_chunks(objects, structure, storage):
                yield Broken(path, f"chunk {position}: {reason}")
        except CorruptError as error:
            yield Broken(path, error.message)


def _arrays(
    objects: Objects, references: References
) -> Iterator[tuple[str, ArrayStructure, ArrayStorage]]:
    yield from references.arrays()
    for path, name in references.trees():
        try:
            nodes = read_tree(objects, name).nodes
        except (CorruptError, NotFoundError):
            continue  # said already
        for node in nodes:
            if isinstance(node.storage, ArrayStorage) and isinstance(
                node.structure, ArrayStructure
            ):
                yield join_path(path, node.path), node.structure, node.storage


def _all_older(objects: Objects, group: _Group, before_s: float) -> bool:
    """Tell whether nothing of the node that a group belongs to was written lately."""
    prefix = group.key.rpartition("/")[0]
    return all(
        (written_s := objects.modified_s(name)) is None or written_s < before_s
        for name, _ in objects.list(prefix)
    )


def _delete(objects: Objects, report: Report) -> int:
    """Delete what a report lists as superfluous; return the number of objects."""
    names = [*report.temporary]
    for key in report.garbage:
        if objects.size(key) is not None:
            names.append(key)
        names.extend(name for name, _ in objects.list(key))
    objects.delete(names)
    return len(names)
