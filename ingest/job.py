"""One file taken into the lake: opened, its data objects written, its entry made ready."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Literal

import msgspec

from ingest.contents import MOST_ASSETS, Contents
from ingest.found import SeriesFormat
from ingest.names import Names
from ingest.recognise import recognise
from ingest.source import Source, unreadable, uri_of
from schemas.entry import DataSource, Node
from schemas.errors import LakeError, UnavailableError
from schemas.structures import ContainerStructure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ingest.found import Format, Found
    from lakeservice.storage.objects import Objects
    from schemas.entry import Asset

Mode = Literal["register", "convert"]
"""Whether the bytes stay in the file, or are copied into the lake."""
_MOST_PROBLEMS = 20


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker is to do; everything in it travels between processes."""

    number: int
    paths: tuple[Path, ...]
    name: str
    """Path of the file as the caller would name it."""
    node_path: str
    node_id: str
    generation: str = ""
    """Set where the node exists already: its new data get names of their own."""
    mode: Mode = "register"

    @property
    def names(self) -> Names:
        """Names of everything that this job writes."""
        return Names(self.node_id, self.generation)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    number: int
    node: Node | None = None
    """The entry; None if it failed, or if a series was none."""
    reason: str | None = None
    """Why there is no entry."""
    problems: tuple[str, ...] = ()
    left_out: tuple[Path, ...] = ()
    """Members of a series that have to be taken on their own."""
    bytes: int = 0


def take(
    job: Job,
    objects: Objects,
    beat: Callable[[], None] = lambda: None,
    formats: Iterable[Format] | None = None,
) -> Outcome:
    """Open the files of a job and write its data objects; a failure is an outcome too.

    Parameters
    ----------
    beat
        Called whenever a block of data has been written: a sign of life.

    Raises
    ------
    UnavailableError
        The store cannot be written: no other file will fare better.
    """
    try:
        return _take(job, objects, beat, formats)
    except UnavailableError:
        discard(job, objects)
        raise
    except Exception as error:  # readers of foreign formats raise whatever they like
        discard(job, objects)
        return Outcome(job.number, reason=reason_of(error, job))


def discard(job: Job, objects: Objects) -> None:
    """Delete what a job has written; nothing refers to it."""
    names = job.names
    objects.delete([name for name, _ in objects.list(names.prefix) if names.owns(name)])


def reason_of(error: Exception, job: Job) -> str:
    """Return why a file could not be read, without the folders above it."""
    if isinstance(error, MemoryError):
        text = "reading it needs more memory than a worker may have"
    elif isinstance(error, LakeError):
        text = str(error)
    else:
        text = f"cannot read {job.paths[0].name!r}: {error or type(error).__name__}"
    for path in job.paths[:1]:
        text = text.replace(str(path), path.name).replace(f"{path.parent}/", "")
    return " ".join(text.split())[:1000]


def _take(
    job: Job,
    objects: Objects,
    beat: Callable[[], None],
    formats: Iterable[Format] | None,
) -> Outcome:
    sources = [Source.of(path).measured() for path in job.paths]
    reader = recognise(sources[0], formats)
    if len(sources) > 1:
        if not isinstance(reader, SeriesFormat):
            return Outcome(job.number, left_out=job.paths)
        found = reader.open_series(sources)
    else:
        found = reader.open(sources[0])
    with found:
        left_out = tuple(source.path for source in found.left_out)
        if not found.items and left_out:
            return Outcome(job.number, left_out=left_out, problems=tuple(found.problems))
        node, problems = _entry(job, found, reader.media_type, objects, beat)
    taken = [source for source in sources if source.path not in left_out]
    for source in taken:
        if Source.of(source.path).measured() != source:
            raise unreadable(source.name, "it changed while it was read; ingest it again")
    return Outcome(
        job.number,
        node=node,
        problems=problems,
        left_out=left_out,
        bytes=sum(source.size_bytes for source in taken),
    )


def _entry(
    job: Job, found: Found, media_type: str, objects: Objects, beat: Callable[[], None]
) -> tuple[Node, tuple[str, ...]]:
    contents = Contents(objects, job.names, convert=job.mode == "convert", beat=beat)
    if len(found.items) == 1 and not found.items[0].path:
        item = found.items[0]
        if item.problem is not None:
            raise unreadable(job.paths[0].name, item.problem)
        structure, storage = contents.add(item)
        tree, problems = None, tuple(found.problems)
        specs, metadata = (*found.specs, *item.specs), found.metadata | item.metadata
    else:
        structure, storage = ContainerStructure(), None
        inner = contents.tree(found)
        tree, problems = inner.name, inner.problems
        specs, metadata = found.specs, found.metadata
    assets = contents.finish(found.assets)
    properties: dict[str, object] = {"header_keys": list(metadata)}
    if len(found.assets) > MOST_ASSETS:
        properties["assets"] = {"count": len(found.assets), "members": members(found.assets)}
        assets = assets[:1] if len(job.paths) > 1 else assets
    if job.mode == "convert":
        paths = {uri_of(path): path for path in job.paths}
        assets = tuple(_with_checksum(asset, paths) for asset in assets)
    if contents.converted:
        properties["converted"] = contents.converted
    if found.left_out:
        properties["left_out"] = {
            source.name: [source.size_bytes, source.mtime_ns] for source in found.left_out
        }
    if tree is None and problems:
        properties["problems"] = list(problems[:_MOST_PROBLEMS])
    source = DataSource(
        mimetype=media_type,
        management="immutable" if job.mode == "convert" else "external",
        properties=properties,
        assets=assets,
        storage=storage,
        tree=tree,
    )
    node = Node(
        path=job.node_path,
        id=job.node_id,
        structure=structure,
        metadata=metadata,
        specs=specs,
        data_sources=(source,),
    )
    return node, problems


def _with_checksum(asset: Asset, paths: dict[str, Path]) -> Asset:
    path = paths.get(asset.data_uri)
    if path is None or asset.is_directory:
        return asset
    return msgspec.structs.replace(asset, checksum=checksum_of(path))


def members(assets: Iterable[Asset]) -> str:
    """Return a digest of the names, sizes and times of a series' files."""
    lines = (f"{asset.data_uri} {asset.size_bytes} {asset.mtime_ns}\n" for asset in assets)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checksum_of(path: Path) -> str:
    """Return the SHA-256 of a file, as assets carry it."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
