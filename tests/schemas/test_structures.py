from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import (
    FAMILIES,
    ArrayStructure,
    AwkwardStructure,
    BytesStructure,
    ContainerStructure,
    DataType,
    Field,
    RaggedStructure,
    SparseStructure,
    Structure,
    TableStructure,
    family_of,
)

LEAVES = hnp.scalar_dtypes() | hnp.byte_string_dtypes() | hnp.unicode_string_dtypes()
NAMES = st.lists(st.text(max_size=3).filter(bool), min_size=1, max_size=4, unique=True)
SUBSHAPES: st.SearchStrategy[tuple[int, ...]] = st.sampled_from([(), (3,), (2, 2)])
RECORDS = st.builds(
    lambda names, data: np.dtype(
        [(name, data.draw(LEAVES), data.draw(SUBSHAPES)) for name in names],
        align=data.draw(st.booleans()),
    ),
    NAMES,
    st.data(),
)
UINT16 = DataType(kind="u", itemsize=2, endianness="little")


@given(LEAVES | RECORDS)
def test_a_dtype_comes_back_as_numpy_has_it(dtype: np.dtype[Any]) -> None:
    described = DataType.from_numpy(dtype)
    again = msgspec.json.decode(msgspec.json.encode(described), type=DataType)
    assert again == described
    assert again.to_numpy() == dtype
    assert again.to_numpy().itemsize == dtype.itemsize


@pytest.mark.parametrize("code", ["M8[ns]", "m8[25s]", "M8", ">M8[D]", "?", "f2", ">c16", "V7"])
def test_times_and_raw_bytes_come_back_too(code: str) -> None:
    assert DataType.from_numpy(np.dtype(code)).to_numpy() == np.dtype(code)


@pytest.mark.parametrize("dtype", [np.dtype(object), np.dtypes.StringDType()])
def test_elements_without_defined_bytes_are_refused(dtype: np.dtype[Any]) -> None:
    with pytest.raises(InvalidRequestError, match="no defined bytes"):
        DataType.from_numpy(dtype)


@given(
    st.builds(
        DataType,
        kind=st.sampled_from("biufcmMSUVtO"),
        itemsize=st.integers(-1, 40) | st.integers(),
        endianness=st.sampled_from(["little", "big", "not_applicable"]),
        dt_units=st.none() | st.sampled_from(["ns", "25s", "s/0", "s],<f4"]) | st.text(max_size=4),
        fields=st.lists(
            st.builds(
                Field,
                name=st.text(max_size=2),
                dtype=st.builds(
                    DataType, kind=st.sampled_from("biufSUV"), itemsize=st.integers(-1, 16)
                ),
                shape=st.lists(st.integers(-2, 2**40), max_size=2).map(tuple),
                offset=st.none() | st.integers(-5, 50),
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_any_description_is_a_dtype_or_a_bad_structure(described: DataType) -> None:
    try:
        dtype = described.to_numpy()
    except InvalidRequestError as error:
        assert error.kind is ErrorKind.BAD_STRUCTURE
    else:
        assert dtype.itemsize == described.itemsize


@given(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9), st.data())
def test_a_regular_grid_covers_the_array_once(shape: tuple[int, ...], data: st.DataObject) -> None:
    chunks = tuple(data.draw(st.integers(1, 10)) for _ in shape)
    structure = ArrayStructure.from_numpy(shape, np.dtype("f4"), chunks)
    explicit = structure.explicit_chunks()
    assert tuple(map(sum, explicit)) == shape
    assert all(max(sizes) <= size for sizes, size in zip(explicit, chunks, strict=True))
    assert structure.size_bytes == np.empty(shape, "f4").nbytes


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (ArrayStructure(data_type=UINT16, shape=(-1,), chunks=(1,)), "negative"),
        (ArrayStructure(data_type=UINT16, shape=(4, 4), chunks=(4,)), "chunks for 1 axes"),
        (ArrayStructure(data_type=UINT16, shape=(4,), chunks=((2, 3),)), "add up to 5, not to 4"),
        (ArrayStructure(data_type=UINT16, shape=(4,), chunks=((5, -1),)), "add up to 4"),
        (ArrayStructure(data_type=UINT16, shape=(4,), chunks=(0,)), "at least 1"),
        (ArrayStructure(data_type=UINT16, shape=(4,), chunks=(4,), dims=("x", "y")), "2 axes"),
        (ArrayStructure(data_type=UINT16, shape=(1,) * 33, chunks=(1,) * 33), "at most 32"),
        (ArrayStructure(data_type=UINT16, shape=(10**12,), chunks=(1,)), "chunks on axis 0"),
        (ArrayStructure(data_type=UINT16, shape=(2**62,), chunks=(2**62,)), "2**63 bytes"),
        (
            ArrayStructure(data_type=DataType(kind="f", itemsize=3), shape=(4,), chunks=(4,)),
            "no NumPy dtype",
        ),
    ],
)
def test_a_structure_that_contradicts_itself_is_refused(
    structure: ArrayStructure, message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        structure.check()
    assert caught.value.kind is ErrorKind.BAD_STRUCTURE
    assert message in str(caught.value)


def test_a_table_keeps_its_arrow_schema_with_metadata() -> None:
    schema = pa.schema(
        [pa.field("time", pa.timestamp("ns", "UTC")), pa.field("spot", pa.list_(pa.float32()))],
        metadata={"run": "7"},
    )
    structure = TableStructure.from_arrow(schema, rows=3)
    assert structure.columns == ("time", "spot")
    assert structure.to_arrow().equals(schema, check_metadata=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data:text/plain;base64,AAAA",
        "data:application/vnd.apache.arrow.file;base64,?",
        "data:application/vnd.apache.arrow.file;base64,",
        "data:application/vnd.apache.arrow.file;base64,AAAA",
        "data:application/vnd.apache.arrow.file;base64,/////wAAAAAAAAAA",
    ],
)
def test_a_table_without_an_arrow_schema_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        TableStructure(arrow_schema=text, columns=()).to_arrow()
    assert caught.value.kind is ErrorKind.BAD_STRUCTURE


def test_every_family_has_one_structure() -> None:
    examples: list[Structure] = [
        ArrayStructure(data_type=UINT16, shape=(), chunks=()),
        TableStructure.from_arrow(pa.schema([])),
        SparseStructure(data_type=UINT16, shape=(2,), chunks=(2,)),
        AwkwardStructure(length=0, form={}),
        RaggedStructure(data_type=UINT16, shape=(1, None), size=0, chunks=(1, None)),
        ContainerStructure(),
        BytesStructure(),
    ]
    assert tuple(family_of(example) for example in examples) == FAMILIES
    for example in examples:
        assert msgspec.json.decode(msgspec.json.encode(example), type=Structure) == example
