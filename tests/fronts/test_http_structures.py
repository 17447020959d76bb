from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakeservice.fronts.http.structures import read_structure, structure_document
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import (
    ArrayStructure,
    AwkwardStructure,
    ContainerStructure,
    DataType,
    SparseStructure,
    TableStructure,
)

SMALL = {
    "data_type": {"endianness": "little", "kind": "i", "itemsize": 8, "dt_units": None},
    "chunks": [[3, 1], [4]],
    "shape": [4, 4],
    "dims": ["y", "x"],
    "resizable": False,
}


def test_an_array_is_read_and_written_as_tiled_does() -> None:
    structure = read_structure("array", SMALL)
    assert isinstance(structure, ArrayStructure)
    assert structure.chunks == (3, 4)
    assert structure.dtype == np.dtype("<i8")
    assert structure_document(structure) == SMALL


@pytest.mark.parametrize(
    ("shape", "chunks", "short"),
    [
        ([5], [[2, 2, 1]], (2,)),
        ([5], [[2, 1, 2]], ((2, 1, 2),)),
        ([5], [[1, 4]], ((1, 4),)),
        ([0, 3], [[0], [3]], (1, 3)),
        ([], [], ()),
        ([4], [[2, 2, 0]], (2,)),
    ],
)
def test_regular_chunks_become_short_and_are_written_out(
    shape: list[int], chunks: list[list[int]], short: tuple[Any, ...]
) -> None:
    structure = read_structure("array", {**SMALL, "shape": shape, "chunks": chunks, "dims": None})
    assert isinstance(structure, ArrayStructure)
    assert structure.chunks == short
    written = structure_document(structure)["chunks"]
    assert [sum(sizes) for sizes in written] == shape
    assert written == [[n for n in sizes if n] or [0] for sizes in chunks]


@pytest.mark.parametrize("text", ["<i8", ">f4", "|b1", "<c16", "<U3", "|S2", "<M8[25s]", "<m8[ns]"])
def test_each_dtype_comes_back(text: str) -> None:
    structure = ArrayStructure.from_numpy((2,), np.dtype(text))
    document = structure_document(structure)
    assert read_structure("array", json.loads(json.dumps(document))) == structure


def test_units_of_time_are_in_brackets() -> None:
    document = structure_document(ArrayStructure.from_numpy((1,), np.dtype("<M8[ns]")))
    assert document["data_type"]["dt_units"] == "[ns]"


def test_a_record_is_told_field_by_field_without_gaps() -> None:
    dtype = np.dtype([("a", "u1"), ("b", "<f8", (2,)), ("c", [("d", "<i2")])], align=True)
    structure = ArrayStructure.from_numpy((1,), dtype)
    document = structure_document(structure)
    assert document["data_type"]["itemsize"] == 1 + 16 + 2
    assert [field["name"] for field in document["data_type"]["fields"]] == ["a", "b", "c"]
    assert document["data_type"]["fields"][1]["shape"] == [2]
    packed_dtype = structure.data_type.packed().to_numpy()
    assert packed_dtype == np.dtype([("a", "u1"), ("b", "<f8", (2,)), ("c", [("d", "<i2")])])
    assert DataType.from_numpy(np.dtype("<i4")).packed() == DataType.from_numpy(np.dtype("<i4"))
    back = read_structure("array", document)
    assert isinstance(back, ArrayStructure)
    assert back.dtype == packed_dtype


def test_an_array_never_says_that_it_is_resizable() -> None:
    structure = ArrayStructure(
        data_type=DataType.from_numpy(np.dtype("u1")), shape=(1,), chunks=(1,), resizable=True
    )
    assert structure_document(structure)["resizable"] is False


def test_a_table_hides_columns_that_clients_refuse() -> None:
    schema = pa.schema([("a", pa.int64()), ("__index_level_0__", pa.int64())])
    document = structure_document(TableStructure.from_arrow(schema))
    assert document["columns"] == ["a"]
    back = read_structure("table", document)
    assert isinstance(back, TableStructure)
    assert back.to_arrow() == schema


def test_other_families() -> None:
    sparse = read_structure("sparse", {**SMALL, "coord_data_type": None, "layout": "COO"})
    assert isinstance(sparse, SparseStructure)
    assert structure_document(sparse)["layout"] == "COO"
    assert structure_document(sparse)["coord_data_type"]["kind"] == "u"
    awkward = read_structure("awkward", {"length": 2, "form": {"class": "NumpyArray"}})
    assert awkward == AwkwardStructure(length=2, form={"class": "NumpyArray"})
    ragged = {
        "data_type": SMALL["data_type"],
        "shape": [3, None],
        "size": 6,
        "chunks": [[3], None],
        "dims": None,
        "resizable": False,
    }
    assert structure_document(read_structure("ragged", ragged)) == ragged
    assert structure_document(ContainerStructure(), count=5) == {"contents": None, "count": 5}
    assert structure_document(read_structure("bytes", None)) == {}
    assert read_structure("container", None) == ContainerStructure()


@pytest.mark.parametrize(
    ("family", "document", "told"),
    [
        ("cube", {}, "no structure family"),
        ("array", None, "not the structure of a array"),
        ("array", {}, "missing required field"),
        ("array", {**SMALL, "shape": [4]}, "chunks for 2 axes"),
        ("array", {**SMALL, "shape": [4, 5]}, "add up to|chunks"),
        ("array", {**SMALL, "shape": [-1, 4]}, "negative|chunks"),
        ("array", {**SMALL, "dims": ["y"]}, "dims"),
        ("array", {**SMALL, "data_type": {"kind": "O", "itemsize": 8}}, "no NumPy dtype"),
        ("array", {**SMALL, "data_type": {"kind": "i", "itemsize": 3}}, "no NumPy dtype"),
        ("array", {**SMALL, "data_type": {"kind": "?", "itemsize": 1}}, "Invalid enum value"),
        ("sparse", {**SMALL, "layout": "CSR"}, "only COO"),
        ("table", {"arrow_schema": "nope", "columns": ["a"]}, "arrow_schema"),
        ("awkward", {"length": "x", "form": {}}, "Expected `int`"),
    ],
)
def test_a_structure_that_makes_no_sense_is_refused(family: str, document: Any, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told) as caught:
        read_structure(family, document)
    assert caught.value.kind is ErrorKind.BAD_STRUCTURE


def test_columns_must_be_in_the_schema() -> None:
    document = structure_document(TableStructure.from_arrow(pa.schema([("a", pa.int64())])))
    with pytest.raises(InvalidRequestError, match="not in the Arrow schema"):
        read_structure("table", {**document, "columns": ["a", "b"]})
    with pytest.raises(InvalidRequestError, match="0 partitions"):
        read_structure("table", {**document, "npartitions": 0})
