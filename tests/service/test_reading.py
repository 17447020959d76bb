"""Answers come in bounded blocks whose elements are NumPy's, in NumPy's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeservice.config import Limits
from lakeservice.fronts.flight import arrays
from lakeservice.fronts.flight.arrays import TensorForm, answer_dims, rows_of_batches
from lakeservice.service import Draft, Service, rows_of
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.selection import select
from schemas.structures import ArrayStructure, TableStructure
from schemas.ticket import Search

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TINY = Limits(small_bytes=600, block_bytes=400, endpoint_bytes=1000)
CUBE = np.arange(6 * 7 * 8 * 3, dtype="i4").reshape(6, 7, 8, 3)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = tmp_path_factory.mktemp("lake")
    with Service.open(str(path), create=True, limits=TINY) as opened:
        structure = ArrayStructure.from_numpy(
            CUBE.shape, CUBE.dtype, (2, 3, 8, 3), ("t", "z", "y", "x")
        )
        opened.write_array(Draft("cube", structure, {}), [CUBE])
        rows = pa.record_batch({"x": pa.array([1.5, 2.5]), "name": pa.array(["a", "b"])})
        table = TableStructure.from_arrow(rows.schema)
        opened.write_table(
            Draft("rows", table, {}), pa.RecordBatchReader.from_batches(rows.schema, [rows])
        )
        yield opened


def axis(length: int) -> st.SearchStrategy[slice | int]:
    bound = st.one_of(st.none(), st.integers(-length, length))
    step = st.one_of(st.none(), st.sampled_from([1, 2, -1, -3]))
    return st.one_of(st.builds(slice, bound, bound, step), st.integers(-length, length - 1))


indices = st.tuples(*(axis(length) for length in CUBE.shape))


@settings(max_examples=80, deadline=None)
@given(index=indices)
def test_blocks_join_to_numpys_answer_and_stay_small(
    service: Service, index: tuple[Any, ...]
) -> None:
    node, selection = service.describe("cube"), select(index, CUBE.shape)
    blocks = list(service.read_array(node, selection))
    joined = np.concatenate([np.asarray(block).ravel() for block in blocks] or [CUBE[:0].ravel()])
    np.testing.assert_array_equal(joined.reshape(selection.shape), CUBE[index])
    # A row of the last axis or a chunk's run of rows may be larger than what was asked for.
    assert all(block.nbytes <= max(TINY.small_bytes, 4 * TINY.block_bytes) for block in blocks)


@settings(max_examples=80, deadline=None)
@given(index=indices, row_bytes=st.sampled_from([8, 100, 1 << 20]))
def test_record_batches_hold_the_answer_whatever_the_size_of_a_row(
    service: Service, index: tuple[Any, ...], row_bytes: int
) -> None:
    node, selection = service.describe("cube"), select(index, CUBE.shape)
    structure = service.reader.structure(node)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "ROW_BYTES", row_bytes)
        patch.setattr(arrays, "BATCH_BYTES", 512)
        form = TensorForm(selection.shape, structure, answer_dims(structure, selection))
        batches = list(form.batches(service.read_array(node, selection)))
    expected = CUBE[index]
    sent = ArrayStructure.from_numpy((expected.size,), CUBE.dtype)
    got = [block.ravel() for block in rows_of_batches(batches, sent)]
    joined = np.concatenate([*got, CUBE[:0].ravel()])
    np.testing.assert_array_equal(joined.reshape(expected.shape), expected)
    if expected.size:
        assert sum(batch.num_rows for batch in batches) == form.rows


@settings(max_examples=40, deadline=None)
@given(index=indices)
def test_the_parts_of_a_plan_are_the_whole_answer(service: Service, index: tuple[Any, ...]) -> None:
    node, selection = service.describe("cube"), select(index, CUBE.shape)
    plan = service.plan(node, selection)
    assert plan.answer_bytes == CUBE[index].nbytes
    parts = [service.read_array_whole(node, rows_of(selection, rows)) for rows in plan.parts]
    if selection.shape:
        np.testing.assert_array_equal(np.concatenate(parts), CUBE[index])


def test_rows_that_are_not_there_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="rows 3 to 9 of 6") as caught:
        rows_of(select(None, CUBE.shape), (3, 9))
    assert caught.value.kind is ErrorKind.BAD_SLICE


def test_a_column_of_a_table_is_an_array_below_it(service: Service) -> None:
    column = service.describe("rows/x")
    assert column.structure.shape == (2,)  # type: ignore[union-attr]
    whole = service.read_array_whole(column, service.selection(column, "::-1"))
    np.testing.assert_array_equal(whole, [2.5, 1.5])


def test_a_column_of_text_is_as_wide_as_its_longest_text(service: Service) -> None:
    column = service.describe("rows/name")
    whole = service.read_array_whole(column, service.selection(column, None))
    assert whole.tolist() == ["a", "b"]


def test_appended_rows_follow_the_old_ones(service: Service, tmp_path: Path) -> None:
    structure = ArrayStructure.from_numpy((3, 2), np.dtype("f4"), (2, 2))
    first = np.arange(6, dtype="f4").reshape(3, 2)
    service.write_array(Draft("log", structure, {}), [first])
    for start in (6, 10):
        more = np.arange(start, start + 4, dtype="f4").reshape(2, 2)
        service.publish(service.changes.append_rows(service.describe("log"), [more[:1], more[1:]]))
    node = service.describe("log")
    whole = service.read_array_whole(node, service.selection(node, None))
    np.testing.assert_array_equal(whole, np.arange(14, dtype="f4").reshape(7, 2))


def test_a_block_that_is_written_is_seen_by_the_next_read(service: Service) -> None:
    structure = ArrayStructure.from_numpy((4, 4), np.dtype("i2"), (2, 4))
    service.create_empty(Draft("blocks", structure, {}))
    node = service.describe("blocks")
    assert not service.read_array_whole(node, service.selection(node, None)).any()
    block = np.arange(8, dtype="i2").reshape(2, 4)
    service.changes.block(
        service.describe,
        "blocks",
        (2, 0),
        block,
        lambda mutation: service.commit([mutation], trusted=True),
    )
    node = service.describe("blocks")
    expected = np.concatenate([np.zeros((2, 4), "i2"), block])
    np.testing.assert_array_equal(
        service.read_array_whole(node, service.selection(node, None)), expected
    )


@settings(max_examples=20, deadline=None)
@given(index=st.one_of(axis(300), st.builds(slice, st.none(), st.none(), st.integers(-90, -1))))
def test_rows_of_a_column_are_numpys_in_blocks_that_stay_small(
    service: Service, index: slice | int
) -> None:
    numbers = np.arange(300)
    text = np.array([str(n) * (30 if n == 150 else 1) for n in numbers])
    if "long" not in service.names(Search(under="")):
        batches = [
            pa.record_batch({"x": part, "s": pa.array(text[part], pa.string())})
            for part in np.split(numbers, [1, 40, 200])
        ]
        table = TableStructure.from_arrow(batches[0].schema)
        reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
        service.write_table(Draft("long", table, {}), reader)
    for path, whole in (("long/x", numbers), ("long/s", text)):
        node, selection = service.describe(path), select((index,), whole.shape)
        blocks = list(service.read_array(node, selection))
        assert max(block.nbytes for block in blocks) <= max(400, text.itemsize)
        found = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        np.testing.assert_array_equal(found, whole[index])


@pytest.mark.parametrize("values", [[1, None], [True, None]])
def test_missing_values_of_a_column_become_no_numbers(service: Service, values: list[Any]) -> None:
    rows = pa.record_batch({"x": pa.array(values)})
    path = f"gaps-{type(values[0]).__name__}"
    reader = pa.RecordBatchReader.from_batches(rows.schema, [rows])
    service.write_table(Draft(path, TableStructure.from_arrow(rows.schema), {}), reader)
    with pytest.raises(InvalidRequestError, match="missing values"):
        service.read_array_whole(service.describe(f"{path}/x"), select((), (2,)))


def test_a_frame_of_several_blocks_is_one_row_of_a_batch(service: Service) -> None:
    node, selection = service.describe("cube"), select((), CUBE.shape)
    form = TensorForm(selection.shape, service.reader.structure(node), None)
    blocks = list(service.read_array(node, selection))
    assert blocks[0].size < CUBE[0].size
    assert sum(batch.num_rows for batch in form.batches(blocks)) == len(CUBE)
