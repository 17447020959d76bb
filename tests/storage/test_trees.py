"""Inner trees come back as they were written, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from lakeservice.storage.objects import Objects
from lakeservice.storage.trees import read_tree, write_tree
from schemas.chunks import ArrayStorage, ChunkLayout, Codec, Indexed, Inline, TableStorage
from schemas.entry import InnerNode, InnerTree, Spec
from schemas.errors import CorruptError, ErrorKind, NotFoundError
from schemas.structures import ArrayStructure

NAME = "data/0/tree"
STRUCTURE = ArrayStructure.from_numpy((3, 4), np.dtype(">f4"), (1, 4))
LAYOUT = ChunkLayout(
    data_type=STRUCTURE.data_type,
    chunk_shape=(1, 4),
    codecs=(Codec("hdf5.bitshuffle", {"options": [0, 4, 4, 0, 2]}),),
    fill_value=b"\0\1\2\3",
)
TREE = InnerTree(
    nodes=(
        InnerNode(path="entry", metadata={"NX_class": "NXentry", "nested": {"a": [1, None]}}),
        InnerNode(
            path="entry/data",
            structure=STRUCTURE,
            specs=(Spec("NXdata", "1.0"),),
            storage=ArrayStorage(
                layout=LAYOUT, location=Indexed(index="data/0/chunks.parquet", first=3, count=3)
            ),
        ),
        InnerNode(
            path="entry/small",
            structure=STRUCTURE,
            storage=ArrayStorage(layout=LAYOUT, location=Inline(payload=bytes(range(256)))),
        ),
        InnerNode(path="entry/table", storage=TableStorage(assets=(0,)), problem="Δ is unknown"),
    ),
    problems=("one link leads nowhere",),
)


def test_a_tree_comes_back_as_it_was_written() -> None:
    objects = Objects.open("memory://")
    write_tree(objects, NAME, TREE)
    assert read_tree(objects, NAME) == TREE


def test_a_large_tree_is_small_on_disk() -> None:
    objects = Objects.open("memory://")
    node = TREE.nodes[1]
    nodes = tuple(InnerNode(path=f"entry/{n}", structure=node.structure) for n in range(10_000))
    write_tree(objects, NAME, InnerTree(nodes=nodes))
    assert (objects.size(NAME) or 0) < 10 * len(nodes)
    assert len(read_tree(objects, NAME).nodes) == len(nodes)


def test_a_tree_that_is_missing_or_damaged_is_said_so() -> None:
    objects = Objects.open("memory://")
    with pytest.raises(NotFoundError) as missing:
        read_tree(objects, NAME)
    assert missing.value.kind is ErrorKind.ASSET_NOT_FOUND
    write_tree(objects, NAME, TREE)
    whole = objects.get(NAME) or b""
    for content in (b"", b"nonsense", whole[:-5], whole[:40] + b"x" + whole[41:]):
        objects.put(NAME, content)
        with pytest.raises(CorruptError) as damaged:
            read_tree(objects, NAME)
        assert damaged.value.kind is ErrorKind.CORRUPT_OBJECT
