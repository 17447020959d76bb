"""What commits do to nodes, compared with arrays that grow in NumPy and with plain lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.storage.commits import MemoryState, fold
from schemas.chunks import ArrayStorage, ChunkLayout, Contiguous, Part, TableStorage, ZarrParts
from schemas.commit import Applied, Commit
from schemas.entry import DataSource, Node
from schemas.errors import CorruptError, ErrorKind
from schemas.structures import (
    ArrayStructure,
    AwkwardStructure,
    BytesStructure,
    DataType,
    SparseStructure,
    Structure,
    TableStructure,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

U2 = DataType(kind="u", itemsize=2, endianness="little")
PARQUET = DataSource(mimetype="application/x-parquet", storage=TableStorage(parts=()))


def parts_of(lengths: Sequence[int]) -> tuple[Part, ...]:
    """Parts with these numbers of rows."""
    return tuple(Part(name=f"data/i/{n}", length=rows) for n, rows in enumerate(lengths))


def zarr_node(shape: tuple[int, ...], stored: tuple[int, ...]) -> Node:
    """An array node of one part, as a writer of this shape and stored chunks would make it."""
    layout = ChunkLayout(data_type=U2, chunk_shape=stored)
    parts = ZarrParts(parts=parts_of([shape[0]] if shape[0] else []))
    return Node(
        path="a",
        id="i",
        structure=ArrayStructure.from_numpy(shape, np.dtype("<u2"), stored),
        data_sources=(
            DataSource(
                mimetype="application/x-zarr", storage=ArrayStorage(layout=layout, location=parts)
            ),
        ),
    )


def append(parts: tuple[Part, ...], revision: int = 2, version: int = 9) -> Applied:
    """The line of an append to the node ``a``."""
    return Applied(
        op="append", path="a", id="i", revision=revision, parts=parts, version=version, time_ns=77
    )


@given(
    first=st.integers(0, 12),
    stored=st.integers(1, 5),
    appends=st.lists(st.lists(st.integers(1, 11), min_size=1, max_size=3), max_size=6),
)
@settings(deadline=None)
def test_an_array_grows_as_concatenation_does_and_chunks_stay_inside_parts(
    first: int, stored: int, appends: list[list[int]]
) -> None:
    node: Node | None = zarr_node((first, 3), (stored, 3))
    array = np.zeros((first, 3), "<u2")
    lengths = [first] if first else []
    for number, some in enumerate(appends):
        node = fold(node, append(parts_of(some), revision=number + 2))
        array = np.concatenate([array, *(np.zeros((rows, 3), "<u2") for rows in some)])
        lengths += some
    assert node is not None
    structure = node.structure
    assert isinstance(structure, ArrayStructure)
    structure.check()
    assert structure.shape == array.shape
    expected = [min(stored, rows - at) for rows in lengths for at in range(0, rows, stored)]
    assert structure.explicit_chunks() == (tuple(expected or [0]), (3,))
    aligned = all(rows % stored == 0 for rows in lengths[:-1])
    assert (structure.chunks[0] == stored) == aligned or len(set(expected)) == 1


def test_an_append_tells_its_version_revision_and_time() -> None:
    node = fold(zarr_node((2, 3), (1, 3)), append(parts_of([4]), revision=5, version=12))
    assert node is not None
    assert (node.revision, node.version, node.updated_ns, node.seq) == (5, 12, 77, 0)


def test_a_table_grows_by_rows_and_partitions() -> None:
    table = TableStructure.from_arrow(pa.schema([("x", pa.int8())]), npartitions=0, rows=0)
    node = fold(
        Node(path="a", id="i", structure=table, data_sources=(PARQUET,)),
        append(parts_of([10, 0, 5])),
    )
    assert node is not None
    assert isinstance(node.structure, TableStructure)
    assert (node.structure.rows, node.structure.npartitions) == (15, 3)
    storage = node.data_sources[0].storage
    assert isinstance(storage, TableStorage)
    assert storage.parts == parts_of([10, 0, 5])


@pytest.mark.parametrize(
    ("structure", "after"),
    [
        (
            SparseStructure(data_type=U2, shape=(5,), chunks=((5,),)),
            SparseStructure(data_type=U2, shape=(5,), chunks=((5,),)),
        ),
        (AwkwardStructure(length=2, form={}), AwkwardStructure(length=6, form={})),
    ],
)
def test_other_families_that_take_parts_keep_their_shape_or_grow(
    structure: Structure, after: Structure
) -> None:
    node = Node(path="a", id="i", structure=structure, data_sources=(PARQUET,))
    grown = fold(node, append(parts_of([4])))
    assert grown is not None
    assert grown.structure == after


@pytest.mark.parametrize(
    "node",
    [
        None,
        Node(path="a", id="i"),
        Node(path="a", id="i", structure=BytesStructure()),
        msgspec.structs.replace(zarr_node((2,), (1,)), data_sources=()),
        Node(
            path="a",
            id="i",
            structure=ArrayStructure.from_numpy((2,), np.dtype("<u2")),
            data_sources=(
                DataSource(
                    mimetype="application/x-hdf5",
                    storage=ArrayStorage(
                        layout=ChunkLayout(data_type=U2, chunk_shape=(2,)),
                        location=Contiguous(offset=0),
                    ),
                ),
            ),
        ),
    ],
    ids=["absent", "container", "bytes", "no-source", "registered"],
)
def test_an_append_to_what_takes_no_parts_is_corruption(node: Node | None) -> None:
    with pytest.raises(CorruptError, match="version 9 of the log appends to 'a'") as caught:
        fold(node, append(parts_of([1])))
    assert caught.value.kind is ErrorKind.CORRUPT_OBJECT


def test_a_state_refuses_commits_out_of_order() -> None:
    state = MemoryState()
    state.apply([Commit(version=1, writer="w", time_ns=0)])
    with pytest.raises(CorruptError, match="version 3 of the log does not follow 1"):
        state.apply([Commit(version=3, writer="w", time_ns=0)])


def test_a_delete_takes_along_what_is_below_and_only_that() -> None:
    paths = ["a", "a/b", "a/b/c", "a-b", "a.b", "ab", "b/a"]
    created = tuple(
        Applied(op="create", path=p, id=p, revision=1, node=Node(path=p, id=p)) for p in paths
    )
    gone = Applied(op="delete", path="a", id="a", revision=1)
    state = MemoryState()
    state.apply([Commit(version=1, writer="w", time_ns=0, applied=created)])
    assert state.has_children("a")
    assert not state.has_children("a", without=["a/b"])
    state.apply([Commit(version=2, writer="w", time_ns=0, applied=(gone,))])
    assert sorted(node.path for node in state) == ["a-b", "a.b", "ab", "b/a"]
    assert len(state) == 4
    assert not state.has_children("a")
