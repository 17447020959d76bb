"""Tables: what pyarrow wrote and filters by itself, against what we stream."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeservice.codecs.batches import BATCH_ROWS
from lakeservice.storage.files import FileReader
from lakeservice.storage.objects import Objects
from lakeservice.storage.table_writer import GROUP_ROWS, TableWriter
from lakeservice.storage.tables import StoredTable
from schemas.chunks import Part, TableStorage
from schemas.entry import Asset
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.query import (
    And,
    Comparison,
    Contains,
    Eq,
    FullText,
    In,
    KeyPresent,
    Like,
    Lookup,
    Not,
    NotEq,
    NotIn,
    Or,
    Query,
    Regex,
    Specs,
)

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 300
NUMBERS = np.random.default_rng(5)


def sample() -> pa.Table:
    """Return a table with a column of every kind, some of them with nulls."""
    count = np.arange(ROWS)
    names = [None if n % 7 == 0 else f"scan-{n % 13}" for n in count]
    return pa.table(
        {
            "n": count,
            "small": pa.array(count % 100, pa.int8()),
            "big": pa.array(
                [None if n % 5 == 0 else n + 2**63 for n in count.tolist()], pa.uint64()
            ),
            "energy": NUMBERS.normal(12000, 50, ROWS),
            "half": pa.array((count / 10).astype("f4")),
            "name": names,
            "kind": pa.array(names).dictionary_encode(),
            "ok": [None if n % 11 == 0 else n % 2 == 0 for n in count],
            "when": pa.array((count * 10**9).astype("M8[ns]"), pa.timestamp("ns", "UTC")),
            "day": pa.array((count // 10).astype("i4"), pa.date32()),
            "price": pa.array([Decimal(n) / 4 for n in count.tolist()], pa.decimal128(9, 2)),
            "raw": pa.array([str(n).encode() for n in count]),
            "values": [list(range(n % 4)) for n in count],
            "motor": [{"x": int(n), "y": None if n % 3 else float(n)} for n in count],
            "nothing": pa.nulls(ROWS),
        }
    )


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return sample()


@pytest.fixture(scope="module", params=["disk", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    if request.param == "memory":
        return Objects.open("memory://")
    return Objects.open(str(tmp_path_factory.mktemp("lake")))


@pytest.fixture(scope="module")
def found(objects: Objects, table: pa.Table) -> StoredTable:
    """The sample table, in three parts."""
    parts: list[Part] = []
    for number, (start, length) in enumerate(((0, 100), (100, 1), (101, 199))):
        with TableWriter(objects, f"data/sample/{number}.parquet", table.schema) as writer:
            writer.write(table.slice(start, length))
            storage, rows = writer.finish()
        assert rows == length
        parts.extend(storage.parts)
    return StoredTable(objects, TableStorage(parts=tuple(parts)), fetch_files=FileReader())


def registered(path: Path, form: Any = "parquet") -> StoredTable:
    asset = Asset(data_uri=path.as_uri(), size_bytes=path.stat().st_size)
    storage = TableStorage(format=form, assets=(0,))
    return StoredTable(Objects.open("memory://"), storage, [asset], fetch_files=FileReader())


def test_what_was_written_is_read_back(found: StoredTable, table: pa.Table) -> None:
    assert found.schema.equals(table.schema)
    assert found.rows == ROWS
    assert found.npartitions == 3
    assert found.batches().read_all().equals(table)


def test_pyarrow_reads_the_parts(objects: Objects, table: pa.Table) -> None:
    with TableWriter(objects, "data/one/0.parquet", table.schema) as writer:
        writer.write(table)
        storage, _ = writer.finish()
    (part,) = storage.parts
    assert part.length == ROWS
    assert part.size_bytes == objects.size(part.name)
    with objects.open_input(part.name) as file:
        assert pq.read_table(file).equals(table)


@given(st.data())
def test_columns_limit_partition_and_rows(
    found: StoredTable, table: pa.Table, data: st.DataObject
) -> None:
    columns = data.draw(st.none() | st.lists(st.sampled_from(table.schema.names), min_size=1))
    partition = data.draw(st.none() | st.integers(0, 2))
    limit = data.draw(st.none() | st.integers(0, 400))
    rows = data.draw(st.none() | st.tuples(st.integers(0, 310), st.integers(0, 310)))
    truth = table
    if partition is not None:
        truth = table.slice(*((0, 100), (100, 1), (101, 199))[partition])
    if rows is not None:
        truth = truth.slice(rows[0], max(0, rows[1] - rows[0]))
    if columns is not None:
        arrays = [truth.column(name) for name in columns]
        truth = pa.Table.from_arrays(arrays, schema=pa.schema([table.field(n) for n in columns]))
    truth = truth if limit is None else truth.slice(0, limit)
    reader = found.batches(columns=columns, limit=limit, partition=partition, rows=rows)
    assert reader.read_all().equals(truth)


def column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


def kept(table: pa.Table, keep: list[bool]) -> list[int]:
    return [n for n, one in zip(column(table, "n"), keep, strict=True) if one]


CONDITIONS: dict[str, tuple[Query, Any]] = {
    "integer": (Eq("n", 17), lambda row: row["n"] == 17),
    "integer as float": (Eq("n", 17.0), lambda row: row["n"] == 17),
    "no integer": (Eq("n", 17.5), lambda row: False),
    "out of range": (Eq("small", 1000), lambda row: False),
    "not out of range": (NotEq("small", 1000), lambda row: True),
    "below more than fits": (Comparison("small", "lt", 10**30), lambda row: True),
    "above more than fits": (Comparison("small", "gt", 10**30), lambda row: False),
    "above less than fits": (Comparison("big", "ge", -5), lambda row: row["big"] is not None),
    "fraction": (Comparison("n", "lt", 12.5), lambda row: row["n"] < 12.5),
    "big": (Comparison("big", "gt", 2**63 + 200), lambda row: (row["big"] or 0) > 2**63 + 200),
    "float": (Comparison("energy", "ge", 12000), lambda row: row["energy"] >= 12000),
    "float32 means its nearest": (Eq("half", 0.7), lambda row: row["n"] == 7),
    "text": (Eq("name", "scan-3"), lambda row: row["name"] == "scan-3"),
    "not text": (NotEq("name", "scan-3"), lambda row: row["name"] not in (None, "scan-3")),
    "text order": (
        Comparison("name", "le", "scan-2"),
        lambda row: row["name"] is not None and row["name"] <= "scan-2",
    ),
    "dictionary": (Eq("kind", "scan-3"), lambda row: row["kind"] == "scan-3"),
    "true": (Eq("ok", True), lambda row: row["ok"] is True),
    "not true": (NotEq("ok", True), lambda row: row["ok"] is False),
    "null": (Eq("name", None), lambda row: row["name"] is None),
    "not null": (NotEq("name", None), lambda row: row["name"] is not None),
    "in": (
        In("name", ("scan-1", "scan-2", None)),
        lambda row: row["name"] in ("scan-1", "scan-2", None),
    ),
    "in numbers": (In("small", (3, 4, 4000)), lambda row: row["small"] in (3, 4)),
    "in nothing": (In("small", ()), lambda row: False),
    "not in": (
        NotIn("name", ("scan-1", "scan-2")),
        lambda row: row["name"] not in (None, "scan-1", "scan-2"),
    ),
    "part of text": (Contains("name", "n-1"), lambda row: "n-1" in (row["name"] or "")),
    "like": (Like("name", "%-_2"), lambda row: (row["name"] or "").endswith("-12")),
    "regex": (Regex("name", "[35]$"), lambda row: (row["name"] or " ")[-1] in "35"),
    "regex in any case": (
        Regex("kind", "^SCAN-1$", case_sensitive=False),
        lambda row: row["kind"] == "scan-1",
    ),
    "present": (KeyPresent("name"), lambda row: row["name"] is not None),
    "absent": (KeyPresent("name", exists=False), lambda row: row["name"] is None),
    "words": (FullText("SCAN 12"), lambda row: row["name"] == "scan-12"),
    "time": (
        Comparison("when", "lt", "1970-01-01T00:00:09"),
        lambda row: row["n"] < 9,
    ),
    "time of a zone": (
        Comparison("when", "lt", "1970-01-01T01:00:09+01:00"),
        lambda row: row["n"] < 9,
    ),
    "day": (Eq("day", "1970-01-03"), lambda row: row["day"] == datetime.date(1970, 1, 3)),
    "decimal": (Comparison("price", "gt", 70.3), lambda row: row["price"] > Decimal("70.3")),
    "bytes": (Eq("raw", "17"), lambda row: row["raw"] == b"17"),
    "inside a record": (Comparison("motor.x", "ge", 290), lambda row: row["motor"]["x"] >= 290),
    "everything": (And(()), lambda row: True),
    "nothing": (Or(()), lambda row: False),
    "and": (
        And((Comparison("n", "gt", 50), Eq("ok", True), NotEq("name", "scan-3"))),
        lambda row: row["n"] > 50 and row["ok"] and row["name"] not in (None, "scan-3"),
    ),
    "or": (
        Or((Eq("n", 3), Eq("name", "scan-3"))),
        lambda row: row["n"] == 3 or row["name"] == "scan-3",
    ),
    "not is the complement, nulls too": (
        Not(Eq("name", "scan-3")),
        lambda row: row["name"] != "scan-3",
    ),
    "not of nulls": (
        Not(Or((Comparison("big", "gt", 2**63 + 99), Eq("ok", False)))),
        lambda row: not ((row["big"] or 0) > 2**63 + 99 or row["ok"] is False),
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_keep_the_rows_that_python_keeps(
    found: StoredTable, table: pa.Table, name: str
) -> None:
    where, keep = CONDITIONS[name]
    truth = kept(table, [bool(keep(row)) for row in table.to_pylist()])
    assert found.batches(where=where).read_all().column("n").to_pylist() == truth
    only = found.batches(["energy", "n"], where, limit=5).read_all()
    assert only.schema.names == ["energy", "n"]
    assert only.column("n").to_pylist() == truth[:5]


@pytest.mark.parametrize(
    ("where", "kind", "message"),
    [
        (Eq("nope", 1), ErrorKind.UNKNOWN_COLUMN, r"no column 'nope'; there are: n, small"),
        (Eq("motor.z", 1), ErrorKind.UNKNOWN_COLUMN, r"no column 'motor\.z'"),
        (Eq("n", "x"), ErrorKind.BAD_QUERY, r"'n' is int64.*'x'"),
        (Eq("n", True), ErrorKind.BAD_QUERY, "bool"),
        (Eq("ok", 1), ErrorKind.BAD_QUERY, "'ok' is bool"),
        (Comparison("name", "lt", 5), ErrorKind.BAD_QUERY, "'name' is string"),
        (Eq("when", "yesterday"), ErrorKind.BAD_QUERY, "'when' is timestamp"),
        (Eq("values", 1), ErrorKind.BAD_QUERY, "'values' is list"),
        (Contains("n", "1"), ErrorKind.BAD_QUERY, "not text"),
        (Regex("name", "("), ErrorKind.BAD_QUERY, "regular expression"),
        (Specs(("a",)), ErrorKind.BAD_QUERY, "no specs"),
        (Not(Lookup(("a",))), ErrorKind.BAD_QUERY, "names"),
    ],
)
def test_conditions_that_cannot_be_are_refused_at_once(
    found: StoredTable, where: Query, kind: ErrorKind, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        found.batches(where=where)
    assert caught.value.kind is kind


def test_unknown_columns_and_partitions_are_refused(found: StoredTable) -> None:
    with pytest.raises(InvalidRequestError, match="no column 'x'") as caught:
        found.batches(columns=["n", "x"])
    assert caught.value.kind is ErrorKind.UNKNOWN_COLUMN
    with pytest.raises(InvalidRequestError, match="has 3 of them") as caught:
        found.batches(partition=3)
    assert caught.value.kind is ErrorKind.BAD_REQUEST


def test_a_table_without_parts_has_no_rows(table: pa.Table) -> None:
    empty = StoredTable(
        Objects.open("memory://"), TableStorage(), schema=table.schema, fetch_files=FileReader()
    )
    assert empty.rows == 0
    assert empty.batches(["n"], Eq("n", 1), partition=0).read_all().num_rows == 0


def test_row_groups_are_bounded_in_rows_and_bytes(objects: Objects) -> None:
    narrow = pa.table({"n": np.arange(2 * GROUP_ROWS + 10)})
    wide = pa.table({"text": ["x" * 20_000] * 3000})
    for name, table in (("narrow", narrow), ("wide", wide)):
        with TableWriter(objects, f"data/{name}/0.parquet", table.schema) as writer:
            for start in range(0, table.num_rows, 1000):
                writer.write(table.slice(start, 1000))
            storage, _ = writer.finish()
        with objects.open_input(storage.parts[0].name) as file:
            metadata = pq.ParquetFile(file).metadata
            rows = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        assert sum(rows) == table.num_rows
        assert rows == ([GROUP_ROWS, GROUP_ROWS, 10] if name == "narrow" else [1000, 1000, 1000])
        stored = StoredTable(objects, storage, fetch_files=FileReader())
        assert stored.batches().read_all().equals(table)


def test_a_table_that_fails_leaves_nothing(objects: Objects) -> None:
    schema = pa.schema([("n", pa.int64())])

    def write() -> None:
        with TableWriter(objects, "data/failed/0.parquet", schema) as writer:
            writer.write(pa.table({"n": [1]}))
            writer.write(pa.table({"m": [1]}))

    with pytest.raises(InvalidRequestError, match="columns") as caught:
        write()
    assert caught.value.kind is ErrorKind.BAD_BODY
    assert objects.get("data/failed/0.parquet") is None


def test_types_that_parquet_lacks_are_stored_as_arrow(objects: Objects) -> None:
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, 3]), pa.array(["a", "b", "c"])]
    )
    table = pa.table({"u": union})
    with TableWriter(objects, "data/union/0.parquet", table.schema) as writer:
        writer.write(table)
        storage, _ = writer.finish()
    assert storage.format == "arrow"
    stored = StoredTable(objects, storage, fetch_files=FileReader())
    assert stored.batches().read_all().to_pylist() == table.to_pylist()


def test_awkward_lists_and_sparse_coordinates_go_through_the_same_door(objects: Objects) -> None:
    awkward = pa.table({"hits": [[{"x": 1.5, "t": [1, 2]}], [], None]})
    sparse = pa.table({"dim0": [1, 5], "dim1": [0, 2], "data": [7.0, 8.0]})
    for name, table in (("awkward", awkward), ("sparse", sparse)):
        with TableWriter(objects, f"data/{name}/0.parquet", table.schema) as writer:
            writer.write(table)
            storage, _ = writer.finish()
        stored = StoredTable(objects, storage, fetch_files=FileReader())
        assert stored.batches().read_all().equals(table)


@pytest.mark.parametrize("group", [1 << 30, 50])
def test_registered_parquet_is_read_in_place(tmp_path: Path, table: pa.Table, group: int) -> None:
    path = tmp_path / "a b.parquet"
    pq.write_table(table, path, row_group_size=group)
    stored = registered(path)
    assert stored.schema.equals(table.schema)
    assert stored.rows == ROWS
    assert stored.batches(rows=(40, 260)).read_all().equals(table.slice(40, 220))
    where = And((Comparison("n", "ge", 120), Comparison("n", "lt", 130)))
    assert stored.batches(["n"], where).read_all().column(0).to_pylist() == list(range(120, 130))


@pytest.mark.parametrize("stream", [False, True])
def test_registered_arrow_files_are_read_in_place(
    tmp_path: Path, table: pa.Table, stream: bool
) -> None:
    path = tmp_path / "table.arrow"
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=70)
    stored = registered(path, "arrow")
    assert stored.rows == ROWS
    assert stored.batches().read_all().equals(table)
    assert stored.batches(["n"], rows=(60, 150)).read_all().column(0).to_pylist() == list(
        range(60, 150)
    )
    answer = stored.batches(["n"], Eq("name", "scan-3"), limit=2).read_all()
    assert answer.column(0).to_pylist() == [3, 16]


def test_large_batches_of_arrow_files_are_sent_in_pieces(tmp_path: Path) -> None:
    table = pa.table({"n": np.arange(BATCH_ROWS * 2 + 5)})
    path = tmp_path / "table.arrow"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    batches = list(registered(path, "arrow").batches())
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 5]
    assert pa.Table.from_batches(batches).equals(table)


def test_a_file_that_is_no_table_is_corrupt_without_its_path(tmp_path: Path) -> None:
    path = tmp_path / "secret" / "x.parquet"
    path.parent.mkdir()
    for form, content in (("parquet", b"PAR1" * 20), ("arrow", b"ARROW1\0\0" * 9), ("arrow", b"")):
        path.write_bytes(content)
        with pytest.raises(CorruptError) as caught:
            registered(path, form).batches()
        assert caught.value.kind is ErrorKind.CORRUPT_OBJECT
        assert "secret" not in str(caught.value)


def test_a_damaged_page_is_an_error_of_ours_in_the_middle_of_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"n": np.random.default_rng(1).integers(0, 1 << 60, 400_000)})
    pq.write_table(table, path, row_group_size=100_000, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    reader = registered(path).batches()
    with pytest.raises(CorruptError) as caught:
        reader.read_all()
    assert caught.value.kind is ErrorKind.CORRUPT_OBJECT


def test_a_large_row_group_is_streamed_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    rng = np.random.default_rng(1)
    table = pa.table({name: rng.normal(size=2_000_000) for name in "abcde"})
    pq.write_table(table, path, row_group_size=1 << 30, compression="zstd")
    total = table.nbytes
    expected = pc.sum(table["a"]).as_py()
    del table
    before = pa.total_allocated_bytes()
    most, rows, found = 0, 0, 0.0
    for batch in registered(path).batches():
        most = max(most, pa.total_allocated_bytes() - before)
        rows += batch.num_rows
        found += pc.sum(batch["a"]).as_py()
    assert rows == 2_000_000
    assert found == pytest.approx(expected)
    assert most < total / 2


@pytest.mark.corpus
def test_the_corpus_gives_what_pyarrow_gives(corpus: Path) -> None:
    for path in sorted((corpus / "parquet").glob("*.parquet")):
        assert registered(path).batches().read_all().equals(pq.read_table(path))


@pytest.mark.corpus
def test_malformed_files_are_errors_of_ours(corpus: Path) -> None:
    for path in sorted((corpus / "malformed").glob("*.parquet")):
        with pytest.raises(CorruptError):
            registered(path).batches().read_all()
    for path in sorted((corpus / "malformed").glob("*arrow-ipc*")):
        with pytest.raises(CorruptError):
            registered(path, "arrow").batches().read_all()


def test_floats_are_stored_split_by_bytes_wherever_they_are(tmp_path: Path) -> None:
    table = pa.table(
        {
            "dotted.name": NUMBERS.normal(size=5000),
            "lists": pa.array([[float(n), None] for n in range(5000)], pa.list_(pa.float32())),
            "word": [f"word {n % 3}" for n in range(5000)],
        }
    )
    objects = Objects.open(str(tmp_path))
    with TableWriter(objects, "data/split/0.parquet", table.schema) as writer:
        writer.write(table.to_batches()[0])
        writer.finish()
    stored = pq.ParquetFile(tmp_path / "data/split/0.parquet")
    group = stored.metadata.row_group(0)
    encodings = {
        group.column(n).path_in_schema: group.column(n).encodings for n in range(group.num_columns)
    }
    for path, used in encodings.items():
        assert ("BYTE_STREAM_SPLIT" in used) == (path != "word"), (path, used)
        assert ("RLE_DICTIONARY" in used) == (path == "word"), (path, used)
    assert stored.read().equals(table)


def test_whole_numbers_and_times_are_stored_as_differences(tmp_path: Path) -> None:
    count = np.arange(5000)
    table = pa.table(
        {
            "index": count,
            "small": pa.array(count % 200, pa.uint8()),
            "high": pa.array(count.astype("u8") + np.uint64(2**63 + 7)),
            "when": pa.array(count * 10**9, pa.timestamp("ns", "UTC")),
            "lists": pa.array([[n, None] for n in range(5000)], pa.list_(pa.int32())),
        }
    )
    objects = Objects.open(str(tmp_path))
    with TableWriter(objects, "data/whole/0.parquet", table.schema) as writer:
        writer.write(table)
        writer.finish()
    stored = pq.ParquetFile(tmp_path / "data/whole/0.parquet")
    group = stored.metadata.row_group(0)
    for n in range(group.num_columns):
        assert "DELTA_BINARY_PACKED" in group.column(n).encodings
    assert stored.read().equals(table)


def test_no_flipped_bit_of_a_stored_table_gives_other_rows(tmp_path: Path) -> None:
    count = np.arange(2000)
    table = pa.table(
        {
            "x": NUMBERS.normal(size=2000),
            "n": count,
            "word": [f"word {n % 50}" for n in range(2000)],
            "lists": [[n] * (n % 3) for n in range(2000)],
        }
    )
    objects = Objects.open(str(tmp_path))
    with TableWriter(objects, "data/flipped/0.parquet", table.schema) as writer:
        writer.write(table)
        storage, _ = writer.finish()
    path = tmp_path / "data/flipped/0.parquet"
    whole = path.read_bytes()
    at_the_end = len(whole) - 1 - NUMBERS.integers(0, 1000, 150)
    for place in (*NUMBERS.integers(0, len(whole), 150), *at_the_end):
        content = bytearray(whole)
        content[place] ^= 1 << int(NUMBERS.integers(0, 8))
        path.write_bytes(content)
        for where in (None, Comparison("n", "ge", 0)):
            stored = StoredTable(objects, storage, schema=table.schema, fetch_files=FileReader())
            try:
                assert stored.batches(where=where).read_all().equals(table)
            except CorruptError as error:
                assert error.kind is ErrorKind.CORRUPT_OBJECT
