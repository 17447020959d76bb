"""Data written for one state of a node are not shown as part of another."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from lakeservice.service import Draft, Service
from schemas.errors import ConflictError, ErrorKind, InvalidRequestError
from schemas.selection import select
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path: Path = tmp_path_factory.mktemp("lake")
    with Service.open(str(path), create=True) as opened:
        yield opened


def table_of(rows: pa.RecordBatch) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(rows.schema, [rows])


def test_rows_of_an_array_that_got_larger_chunks_meanwhile_are_refused(service: Service) -> None:
    whole = np.arange(256 * 3, dtype="i4").reshape(256, 3)
    structure = ArrayStructure.from_numpy(whole.shape, whole.dtype, (1, 3))
    service.write_array(Draft("a", structure, {}), [whole])
    late = service.changes.append_rows(service.describe("a"), [whole[:2]])
    more = whole[:1] + 1
    service.changes.apply(
        service.describe,
        "a",
        lambda node: service.changes.region(node, (256,), more, extend=True),
        lambda mutation: service.commit([mutation], trusted=True),
    )
    with pytest.raises(ConflictError, match="anew") as caught:
        service.publish(late)
    assert caught.value.kind is ErrorKind.REVISION_CONFLICT
    node = service.describe("a")
    assert isinstance(node.structure, ArrayStructure)
    found = service.read_array_whole(node, select((), node.structure.shape))
    np.testing.assert_array_equal(found, np.concatenate([whole, more]))


def test_rows_of_a_table_that_got_other_columns_meanwhile_are_refused(service: Service) -> None:
    old, new = pa.record_batch({"x": pa.array([1, 2])}), pa.record_batch({"y": pa.array(["a"])})
    structure = TableStructure.from_arrow(old.schema)
    service.write_table(Draft("t", structure, {}), table_of(old))
    tables = service.changes.tables
    late = tables.append(service.describe("t"), table_of(old))
    rows = tables.rows(service.describe("t"), table_of(new))
    service.commit([tables.replaced(service.describe("t"), rows).mutation], trusted=True)
    with pytest.raises(ConflictError, match="anew"):
        service.publish(late)
    assert service.read_table(service.describe("t")).read_all() == pa.table(new)


def test_rows_staged_before_others_were_added_or_replaced_are_kept(service: Service) -> None:
    rows = pa.record_batch({"x": pa.array([1, 2])})
    service.write_table(Draft("u", TableStructure.from_arrow(rows.schema), {}), table_of(rows))
    tables = service.changes.tables
    first, second = (tables.append(service.describe("u"), table_of(rows)) for _ in range(2))
    service.publish(second)
    whole = tables.rows(service.describe("u"), table_of(rows))
    service.commit([tables.replaced(service.describe("u"), whole).mutation], trusted=True)
    service.publish(first)
    assert service.read_table(service.describe("u")).read_all().num_rows == 4


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (pa.array([1.5]), pa.array([2]), False),
        (pa.array(["a"]), pa.array([2]), False),
        (pa.nulls(1), pa.array([2]), True),
        (pa.array([1]), pa.nulls(1), True),
    ],
)
def test_partitions_written_side_by_side_get_one_type_or_are_refused(
    service: Service, first: pa.Array, second: pa.Array, fits: bool
) -> None:
    path, tables = uuid.uuid4().hex, service.changes.tables
    declared = TableStructure.from_arrow(pa.schema([("x", pa.null())]), rows=0)
    service.create_empty(Draft(path, declared, {}))
    node = service.describe(path)
    batches = [pa.record_batch({"x": column}) for column in (first, second)]
    rows = [tables.rows(node, table_of(batch)) for batch in batches]
    service.commit([tables.replaced(node, rows[0], 0).mutation], trusted=True)
    wanted = first.to_pylist()
    if fits:
        change = tables.replaced(service.describe(path), rows[1], 1)
        service.commit([change.mutation], trusted=True)
        wanted += second.to_pylist()
    else:
        with pytest.raises(InvalidRequestError, match="the others of"):
            tables.replaced(service.describe(path), rows[1], 1)
    found = service.read_table(service.describe(path)).read_all()
    assert found.column("x").to_pylist() == wanted
