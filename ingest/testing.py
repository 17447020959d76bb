"""Tests that every format has to pass, and what they need: for authors of formats, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.testing import assert_array_equal

from ingest.ingest import ingest
from ingest.job import Job, Mode, Outcome, take
from ingest.recognise import installed_formats, recognise
from ingest.source import Source
from lakeservice.storage.arrays import StoredArray
from lakeservice.storage.commits import MemoryState
from lakeservice.storage.committer import Committer as LakeCommitter
from lakeservice.storage.files import FileReader
from lakeservice.storage.lake import Lake
from lakeservice.storage.layout import new_id
from lakeservice.storage.objects import Objects
from lakeservice.storage.tables import StoredTable
from lakeservice.storage.trees import read_tree
from schemas.chunks import ArrayStorage, TableStorage
from schemas.selection import select
from schemas.structures import ArrayStructure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ingest.found import Format
    from ingest.summary import Summary
    from schemas.commit import Applied, Mutation
    from schemas.entry import InnerNode, Node

Values = Any


class ScratchLake:
    """A lake in a folder with a committer in this process; no index, no server."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake.create(str(folder))
        self.state = MemoryState()
        self._committer = LakeCommitter(self.lake, self.state)

    def describe(self, paths: Sequence[str]) -> dict[str, Node]:
        """Return those of the entries that exist."""
        return self.state.nodes(paths)

    def commit(
        self, mutations: Sequence[Mutation], *, key: str | None = None
    ) -> tuple[Applied, ...]:
        """Make all mutations visible."""
        return self._committer.commit(mutations, key=key)

    def ingest(
        self,
        *sources: Path,
        mode: Mode = "register",
        into: str = "",
        workers: int = 0,
        formats: Sequence[Format] | None = None,
    ) -> Summary:
        """Put files into this lake, in this process unless there are workers."""
        return ingest(
            sources,
            self.lake.uri,
            self,
            into=into,
            mode=mode,
            workers=workers,
            formats=formats,
        )

    def node(self, path: str) -> Node:
        """Return an entry, which must be there."""
        return self.state.nodes([path])[path]

    def paths(self) -> list[str]:
        """Return the paths of all entries, sorted."""
        return sorted(node.path for node in self.state)

    def inner(self, path: str) -> dict[str, InnerNode]:
        """Return the nodes inside a file, by their path in it."""
        tree = self.node(path).data_sources[0].tree
        return (
            {}
            if tree is None
            else {one.path: one for one in read_tree(self.lake.objects, tree).nodes}
        )

    def read(self, path: str, inside: str = "") -> Any:
        """Return the values of an entry, or of a node inside it: an array or an Arrow table."""
        entry = self.node(path)
        node: Node | InnerNode = self.inner(path)[inside] if inside else entry
        source = entry.data_sources[0]
        storage = source.storage if node is entry else getattr(node, "storage", None)
        files = FileReader()
        if isinstance(storage, TableStorage):
            table = StoredTable(self.lake.objects, storage, source.assets, fetch_files=files)
            return table.batches().read_all()
        if not isinstance(storage, ArrayStorage) or not isinstance(node.structure, ArrayStructure):
            raise TypeError(f"{path!r} {inside!r} has no values")
        array = StoredArray(
            self.lake.objects, node.structure, storage, source.assets, fetch_files=files
        )
        shape = node.structure.shape
        return array.read(select(None, shape)).reshape(shape)


def take_alone(
    path: Path,
    folder: Path,
    mode: Mode = "register",
    formats: Sequence[Format] | None = None,
) -> Outcome:
    """Return what becomes of one file, whatever is in it; nothing is committed."""
    job = Job(0, (path,), path.name, "file", new_id(), mode=mode)
    return take(job, Objects.open(str(folder)), formats=formats)


class FormatSuite:
    """Inherit, give a `Format`, a sample and the values it must have."""

    format: ClassVar[Any]
    cuts: ClassVar[int] = 8
    """At how many places the sample is cut off, and at how many a byte is changed."""

    def formats(self) -> Sequence[Format]:
        """Return the installed formats, and this one if it is not installed yet."""
        known = installed_formats()
        if any(one.media_type == self.format.media_type for one in known):
            return known
        return (*known, self.format)

    def sample(self, folder: Path) -> Path:
        """Write a small file with another library than the one under test, and return its path."""
        raise NotImplementedError

    def expected(self) -> Mapping[str, Values]:
        """Return the values of every array and table by path; "" where the file is one node."""
        raise NotImplementedError

    def test_the_sample_is_recognised_by_its_bytes(self, tmp_path: Path) -> None:
        """Whatever the file is called."""
        path = self.sample(tmp_path)
        if path.is_file():
            path = path.rename(path.with_suffix(".unknown"))
        found = recognise(Source.of(path), self.formats())
        if found.media_type != self.format.media_type:
            raise AssertionError(f"taken for {found.media_type}")

    def test_registered_values_are_those_of_the_file(self, tmp_path: Path) -> None:
        """Bytes stay where they are, or are converted where they cannot be addressed."""
        self._compare(tmp_path, "register")

    def test_converted_values_are_those_of_the_file(self, tmp_path: Path) -> None:
        """Bytes are copied into the lake."""
        self._compare(tmp_path, "convert")

    def _compare(self, folder: Path, mode: Mode) -> None:
        lake = ScratchLake(folder / "lake")
        summary = lake.ingest(self.sample(folder), mode=mode, formats=self.formats())
        if summary.failed or summary.added != 1:
            raise AssertionError(f"not taken in: {summary}")
        (path,) = lake.paths()
        for inside, values in self.expected().items():
            assert_same_values(lake.read(path, inside), values)

    def test_a_second_ingest_changes_nothing(self, tmp_path: Path) -> None:
        """Size and time tell that the file is the same."""
        lake = ScratchLake(tmp_path / "lake")
        path = self.sample(tmp_path)
        lake.ingest(path, formats=self.formats())
        version = lake.state.version
        summary = lake.ingest(path, formats=self.formats())
        if summary.unchanged != 1 or lake.state.version != version:
            raise AssertionError(f"not the same: {summary}")

    def test_damaged_files_are_refused_with_a_reason_or_read(self, tmp_path: Path) -> None:
        """Cut off and changed samples never raise, crash or hang."""
        path = self.sample(tmp_path)
        if not path.is_file():
            return
        payload = path.read_bytes()
        for number in range(self.cuts):
            at = len(payload) * number // self.cuts
            damaged = bytearray(payload)
            damaged[at] ^= 0xFF
            for kind, content in (("cut", payload[:at]), ("changed", bytes(damaged))):
                file = tmp_path / f"{kind}-{number}{path.suffix}"
                file.write_bytes(content)
                outcome = take_alone(file, tmp_path / "lake", formats=self.formats())
                if outcome.node is None and not outcome.reason:
                    raise AssertionError(f"{file.name}: neither an entry nor a reason")
                if outcome.reason and str(tmp_path) in outcome.reason:
                    raise AssertionError(f"the reason tells of a folder: {outcome.reason}")


def assert_same_values(found: Any, expected: Any) -> None:
    """Raise AssertionError unless two arrays or two tables hold the same values."""
    if isinstance(expected, pa.Table):
        if found.column_names != expected.column_names:
            raise AssertionError(f"columns {found.column_names}, not {expected.column_names}")
        if not found.equals(expected.cast(found.schema)):
            raise AssertionError(f"{found.to_pydict()} is not {expected.to_pydict()}")
        return
    expected = np.asarray(expected)
    if found.dtype.newbyteorder("=") != expected.dtype.newbyteorder("="):
        raise AssertionError(f"dtype {found.dtype}, not {expected.dtype}")
    assert_array_equal(found, expected, strict=False)
    if found.shape != expected.shape:
        raise AssertionError(f"shape {found.shape}, not {expected.shape}")
