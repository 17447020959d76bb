"""Every file of the corpus, registered and converted, over every wire, equals its own library."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest

from ingest.ingest import ingest
from lakeservice.commands.ingest import ServiceCommitter
from schemas.errors import CorruptError
from schemas.query import Page
from schemas.structures import ArrayStructure, ContainerStructure, TableStructure
from schemas.ticket import Search
from tests.whole import truths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.summary import Summary
    from schemas.entry import Node
    from tests.whole.conftest import Running

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
FOLDERS = {
    "nexus",
    "hdf5_misc",
    "eiger_hdf5",
    "nxcansas",
    "tiff",
    "parquet",
    "ascii",
    "zarr_v2",
    "zarr_v3",
}
"""Folders whose formats are known."""
NOT_DATA = {"nexus/sample.mda.text"}
"""A text dump among the NeXus files: no table, and no format of ours."""
pytestmark = pytest.mark.corpus


def manifest() -> list[str]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "manifest.csv").open(newline="") as file:
        return [row["file"] for row in csv.DictReader(file)]


@dataclass
class Ingested:
    """The corpus in one lake, once registered and once converted."""

    running: Running
    summaries: dict[str, Summary] = field(default_factory=dict)
    entries: dict[str, dict[str, Node]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def ingested(corpus: Path, running: Running) -> Ingested:
    result = Ingested(running)
    service = running.service
    for mode in ("register", "convert"):
        result.summaries[mode] = ingest(
            [corpus], service.lake.uri, ServiceCommitter(service), into=mode, mode=mode
        )
        listing = service.search(Search(under=mode, deep=True, page=Page(limit=10_000)))
        result.entries[mode] = {
            unquote(urlsplit(node.data_sources[0].assets[0].data_uri).path): node
            for node in listing.nodes
            if node.data_sources and node.data_sources[0].assets
        }
    return result


@pytest.mark.parametrize("mode", ["register", "convert"])
@pytest.mark.parametrize(
    "name", manifest() or [pytest.param("", marks=pytest.mark.skip("no corpus"))]
)
def test_every_file_is_equal_to_what_its_library_reads_or_listed_with_a_reason(
    ingested: Ingested, corpus: Path, name: str, mode: str
) -> None:
    entry = ingested.entries[mode].get(str((corpus / name).absolute()))
    if entry is None:
        reasons = {failed for failed, reason in ingested.summaries[mode].failed if reason}
        assert name in reasons, f"{name} is neither in the lake nor listed"
        assert name.partition("/")[0] not in FOLDERS or name in NOT_DATA
        return
    if name.partition("/")[0] not in FOLDERS:
        return  # another format's file that a known format can take in; held by that format's tests
    nodes = list(walk(ingested.running, entry.path))
    checked = 0
    for node in nodes:
        if not isinstance(node.structure, ContainerStructure):
            inner = node.path[len(entry.path) :].strip("/")
            check(ingested.running, node, corpus / name, inner)
            checked += 1
    if not name.startswith("hdf5_misc/attr_datatypes"):  # a file of attributes alone
        assert checked
    if name.startswith(("nexus", "hdf5_misc", "eiger", "nxcansas")):
        inside = {node.path[len(entry.path) :].strip("/") for node in nodes}
        assert truths.datasets(corpus / name) <= inside


def walk(running: Running, path: str) -> Iterator[Node]:
    node = running.service.describe(path)
    yield node
    if isinstance(node.structure, ContainerStructure):
        listing = running.service.search(Search(under=path, deep=True, page=Page(limit=10_000)))
        yield from listing.nodes


def check(running: Running, node: Node, path: Path, inner: str) -> None:
    problem = node.data_sources[0].properties.get("problem")
    if problem is not None:
        with pytest.raises(truths.Unreadable):
            truths.of_file(path, inner)
        with pytest.raises(CorruptError, match="cannot be read"):
            first_element(running, node)
        return
    if isinstance(node.structure, TableStructure):
        check_table(running, node, path, inner)
        return
    assert isinstance(node.structure, ArrayStructure)
    expected = truths.of_file(path, inner)
    for answer in all_wires(running, node):
        assert answer.shape == expected.shape
        if expected.dtype.kind == "O":
            assert [as_text(item) for item in answer.ravel()] == list(expected.ravel())
        else:
            assert answer.dtype.itemsize == expected.dtype.itemsize or answer.dtype.kind == "b"
            np.testing.assert_array_equal(answer, expected)


def first_element(running: Running, node: Node) -> Any:
    array = running.lake[node.path]
    return array[(0,) * array.ndim]


def as_text(item: Any) -> str:
    return item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item)


def all_wires(running: Running, node: Node) -> Iterator[np.ndarray[Any, Any]]:
    remote = running.lake[node.path]
    yield np.asarray(remote.read(delivery="decoded"))
    yield np.asarray(remote.read(delivery="encoded"))
    answer = running.get("array/full", node.path, format="application/octet-stream")
    assert answer.status == 200, answer.data
    yield np.frombuffer(answer.data, remote.dtype).reshape(remote.shape)


def check_table(running: Running, node: Node, path: Path, inner: str) -> None:
    over_flight = running.lake[node.path].to_arrow()
    answer = running.get("table/full", node.path, format="application/vnd.apache.arrow.file")
    assert answer.status == 200, answer.data
    over_http = pa.ipc.open_file(io.BytesIO(answer.data)).read_all()
    assert over_http.equals(over_flight)
    if path.suffix == ".parquet":
        assert over_flight.equals(truths.of_file(path, inner))
    elif path.parent.name == "ascii":
        check_text(over_flight, path)
    else:
        check_columns(over_flight, path, inner)


def check_text(table: pa.Table, path: Path) -> None:
    rows = []
    for line in path.read_text("latin-1").splitlines():
        try:
            rows.append([float(cell) for cell in line.replace(",", " ").split()])
        except ValueError:
            continue
    rows = [row for row in rows if len(row) == table.num_columns]
    columns = [column.to_numpy() for column in table.columns]
    np.testing.assert_array_equal(np.stack(columns, 1), np.array(rows))


def check_columns(table: pa.Table, path: Path, inner: str) -> None:
    """A table of the 1-D datasets of a group (``group@table``), or one of a dataset of texts."""
    group, at, _ = inner.rpartition("@")
    if not at:
        texts = truths.of_file(path, inner)
        assert table.column(0).to_pylist() == list(texts.ravel())
        return
    for name in table.column_names:
        expected = truths.of_file(path, f"{group}/{name}")
        column = table.column(name)
        if expected.dtype.kind == "O":
            assert column.to_pylist() == list(expected)
        elif expected.dtype.kind in "SV":
            assert [as_text(item) for item in column.to_pylist()] == [as_text(i) for i in expected]
        else:
            np.testing.assert_array_equal(ak.to_numpy(ak.from_arrow(column)), expected)
