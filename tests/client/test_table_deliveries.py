"""Tables read from files on the same disk, and through the server: the same rows or errors.

What pyarrow makes of the rows that were written is the truth.
"""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakeservice
from ingest.ingest import ingest
from lakeservice.client import Table, row_streams
from lakeservice.commands.ingest import ServiceCommitter
from lakeservice.config import Limits, Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError, LakeError
from schemas.query import And, Comparison, Eq, In, Not, Or

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.client.conftest import Served

KEY = "akeyofthetests"
ROWS = 200_000
RANDOM = np.random.default_rng(7)
NAMES = itertools.count()
DELIVERIES: tuple[Any, ...] = ("direct", "decoded")


class Here:
    """A server in this process whose answers are cut into small endpoints, and a client."""

    def __init__(self, folder: Path) -> None:
        limits = Limits(endpoint_bytes=1 << 20, direct_fresh_ms=0)
        self.service = Service.open(str(folder / "lake"), create=True, limits=limits)
        serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
        self.server = Server(self.service, serve).start()
        self.lake: Any = lakeservice.connect(self.server.url, KEY)

    def write(self, rows: Any) -> Table:
        node = self.lake.write_table(f"table-{next(NAMES)}", rows)
        assert isinstance(node, Table)
        return node

    def ingest(self, path: Path, mode: Any = "register") -> Table:
        into = f"raw-{next(NAMES)}"
        self.ingest_again(path, into, mode)
        node = self.lake[into]
        while not isinstance(node, Table):
            node = node[next(iter(node))]
        return node

    def ingest_again(self, path: Path, into: str, mode: Any = "register") -> None:
        committer = ServiceCommitter(self.service)
        done = ingest([path], self.service.lake.uri, committer, into=into, mode=mode, workers=0)
        assert not done.failed

    def close(self) -> None:
        self.lake.close()
        self.server.stop()
        self.service.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    made = Here(tmp_path_factory.mktemp("here"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _large_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of these sizes come over several streams."""
    monkeypatch.setattr("lakeservice.client.row_streams.LARGE_BYTES", 1 << 20)


def sample(rows: int = ROWS) -> pa.Table:
    """Return a table that is sorted by one column, with nulls and columns of categories."""
    count = np.arange(rows)
    words = [None if n % 11 == 0 else f"scan {n % 17}" for n in range(rows)]
    return pa.table(
        {
            "time_s": count / 1000,
            "n": pa.array(count % 1000, pa.int16(), mask=count % 13 == 0),
            "energy": RANDOM.normal(12000, 50, rows).astype("f4"),
            "word": words,
            "kind": pa.array(words).dictionary_encode(),
        }
    )


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return sample()


@pytest.fixture(scope="module")
def written(here: Here, table: pa.Table) -> Table:
    """The sample in two parts, the first with several row groups."""
    node = here.write(table.slice(0, 150_000))
    return node.append(table.slice(150_000))


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_all_rows_come_in_order(written: Table, table: pa.Table, delivery: Any) -> None:
    found = written.to_arrow(delivery=delivery)
    found.validate(full=True)
    assert written.last_delivery == delivery
    assert found.schema.equals(table.schema, check_metadata=True)
    assert found.equals(table)


def test_files_are_read_here_unless_something_else_is_asked_for(written: Table) -> None:
    found = []
    for delivery in ("auto", "decoded", "auto"):
        next(written.batches(delivery=delivery))
        found.append(written.last_delivery)
    assert found == ["direct", "decoded", "direct"]


CONDITIONS: list[tuple[Any, Any]] = [
    (None, None),
    ("time_s >= 50 AND time_s < 50.1", (pc.field("time_s") >= 50) & (pc.field("time_s") < 50.1)),
    (Comparison("time_s", "gt", 199.9), pc.field("time_s") > 199.9),
    (Comparison("time_s", "lt", -1), pc.field("time_s") < -1),
    (In("time_s", (0.5, 1.5, 100, 7e300)), pc.field("time_s").isin([0.5, 1.5, 100.0])),
    ("n = 7", pc.field("n") == 7),
    ("kind = 'scan 3'", pc.field("word") == "scan 3"),
    (Eq("energy", 0.1), pc.field("energy") == pa.scalar(0.1, pa.float32())),
    (
        And((Comparison("n", "le", 2.5), Not(Eq("word", "scan 1")))),
        (pc.field("n") <= 2.5) & ~pc.coalesce(pc.field("word") == "scan 1", pc.scalar(False)),
    ),
    (
        Or((Comparison("time_s", "lt", 1), Comparison("time_s", "ge", 199))),
        (pc.field("time_s") < 1) | (pc.field("time_s") >= 199),
    ),
]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_columns_conditions_ranges_and_limits_give_what_pyarrow_gives(
    written: Table, table: pa.Table, data: st.DataObject
) -> None:
    names = table.column_names
    columns = data.draw(st.none() | st.lists(st.sampled_from(names), min_size=1, max_size=6))
    where, expression = data.draw(st.sampled_from(CONDITIONS))
    limit = data.draw(st.none() | st.integers(0, 400) | st.integers(0, ROWS + 9))
    bounds = st.lists(st.integers(0, ROWS + 9), min_size=2, max_size=2)
    rows = data.draw(st.none() | bounds.map(lambda pair: tuple(sorted(pair))))
    truth = table if rows is None else table.slice(rows[0], rows[1] - rows[0])
    truth = truth if expression is None else truth.filter(expression)
    truth = truth if limit is None else truth.slice(0, limit)
    if columns is not None:
        truth = pa.Table.from_arrays([truth[name] for name in columns], names=columns)
    for delivery in DELIVERIES:
        asked: dict[str, Any] = {"limit": limit, "rows": rows, "delivery": delivery}
        found = written.to_arrow(columns, where, **asked)
        assert found.schema.types == truth.schema.types
        assert found.column_names == truth.column_names
        assert found.num_rows == truth.num_rows
        assert found.equals(truth) or _same(found, truth)
        batches = list(written.batches(columns, where, **asked))
        assert sum(batch.num_rows for batch in batches) == truth.num_rows


def _same(one: pa.Table, other: pa.Table) -> bool:
    pairs = zip(one.columns, other.columns, strict=True)
    return all(left.to_pylist() == right.to_pylist() for left, right in pairs)


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        ({"columns": ["nothing"]}, ErrorKind.UNKNOWN_COLUMN),
        ({"where": "nothing > 1"}, ErrorKind.UNKNOWN_COLUMN),
        ({"where": "time_s > 'noon'"}, ErrorKind.BAD_QUERY),
        ({"where": "time_s >"}, ErrorKind.BAD_QUERY),
        ({"where": "word ~ '('"}, ErrorKind.BAD_QUERY),
        ({"limit": -1}, ErrorKind.BAD_REQUEST),
        ({"rows": (3, 2)}, ErrorKind.BAD_REQUEST),
    ],
    ids=str,
)
def test_both_deliveries_refuse_alike(
    written: Table, delivery: Any, ask: dict[str, Any], kind: ErrorKind
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        written.to_arrow(**ask, delivery=delivery)
    assert caught.value.kind is kind
    with pytest.raises(InvalidRequestError) as caught:
        list(written.batches(**ask, delivery=delivery))
    assert caught.value.kind is kind


def test_a_delivery_that_there_is_not_is_refused(written: Table) -> None:
    with pytest.raises(InvalidRequestError, match="'auto', 'direct' and 'decoded'"):
        written.to_arrow(delivery="encoded")  # type: ignore[arg-type]


def unusual(start: int, rows: int) -> pa.Table:
    """Return columns whose types are easily lost; dictionaries begin anew with each call."""
    count = range(start, start + rows)
    words = pa.array([f"word {n % 5}" for n in count])
    codes = pa.DictionaryArray.from_arrays(
        pa.array([n % 2 for n in count], pa.int8()), pa.array([f"a{start}", f"b{start}"])
    )
    return pa.table(
        {
            "codes": codes,
            "numbers": pa.DictionaryArray.from_arrays(
                pa.array([n % 3 for n in count], pa.int8()), pa.array([30, 10, 20])
            ),
            "lists": pa.array([list(range(n % 4)) or None for n in count], pa.list_(pa.int16())),
            "large": pa.array([[str(n)] for n in count], pa.large_list(pa.string())),
            "three": pa.array([[n, None, 2] for n in count], pa.list_(pa.float32(), 3)),
            "motor": pa.array([{"x": n, "y": [n]} for n in count]),
            "inside": pa.ListArray.from_arrays(
                pa.array(range(rows + 1), pa.int32()), words.dictionary_encode()
            ),
            "price": pa.array([Decimal(n) / 8 for n in count], pa.decimal128(12, 3)),
            "wide": pa.array([Decimal(n) for n in count], pa.decimal256(50, 1)),
            "when": pa.array([n * 10**9 for n in count], pa.timestamp("ns", "Europe/Berlin")),
            "seconds": pa.array(count, pa.timestamp("s")),
            "took": pa.array(count, pa.duration("us")),
            "half": pa.array(np.arange(start, start + rows) / 4, pa.float16()),
            "raw": pa.array([bytes([n % 256, 0]) for n in count], pa.binary(2)),
            "nothing": pa.nulls(rows),
        }
    )


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_columns_of_every_type_are_kept_exactly(here: Here, delivery: Any) -> None:
    parts = [unusual(0, 700), unusual(700, 300), unusual(1000, 40)]
    node = here.write(parts[0]).append(parts[1]).append(parts[2])
    truth = pa.concat_tables(parts)
    found = node.to_arrow(delivery=delivery)
    found.validate(full=True)
    assert found.schema.types == truth.schema.types
    for name in truth.column_names:
        assert found[name].to_pylist() == truth[name].to_pylist(), name
    assert node.to_arrow(["codes"], "codes = 'b700'", delivery=delivery).num_rows == 150


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_column_may_be_called_as_a_field_of_another(here: Here, delivery: Any) -> None:
    fields = pa.array([{"b": 1, "c": 2.5}, None, {"b": 3, "c": None}])
    rows = pa.table({"a": fields, "a.b": ["x", "y", "z"], "a.c": [1, 2, 3]})
    node = here.write(rows)
    for columns in (None, ["a"], ["a.b", "a"], ["a.c", "a.c"]):
        expected = rows if columns is None else rows.select(columns)
        assert node.to_arrow(columns, delivery=delivery).equals(expected)
    assert node.to_arrow(where="a.b = 'y'", delivery=delivery).equals(rows.slice(1, 1))


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_rows_can_be_had_without_columns(written: Table, delivery: Any) -> None:
    assert written.to_arrow((), delivery=delivery).num_rows == ROWS
    assert written.to_arrow((), limit=7, delivery=delivery).num_rows == 7
    assert written.to_arrow((), rows=(5, ROWS - 1), delivery=delivery).num_rows == ROWS - 6


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_nan_matches_where_it_does_for_numpy(here: Here, tmp_path: Path, delivery: Any) -> None:
    numbers = np.array([np.nan] * 5 + [1.0] * 5)
    rows = pa.table({"x": numbers, "n": np.arange(10), "s": pa.array([{"x": x} for x in numbers])})
    pq.write_table(rows, tmp_path / "nan.parquet", row_group_size=3)
    for node in (here.ingest(tmp_path / "nan.parquet"), here.write(rows)):
        for where, matching in (
            ("x != 1", numbers != 1),
            ("s.x != 1", numbers != 1),
            ("NOT x > 0", ~(numbers > 0)),
            ("n > 3 AND x != 1", (np.arange(10) > 3) & (numbers != 1)),
            ("x NOT IN (1, 2)", numbers != 1),
            ("x = 1", numbers == 1),
        ):
            found = node.to_arrow(["n"], where, delivery=delivery)
            assert found["n"].to_pylist() == np.flatnonzero(matching).tolist(), where


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_columns_of_one_name_are_named_and_the_others_read(
    here: Here, tmp_path: Path, delivery: Any
) -> None:
    columns = [pa.array([1, 2]), pa.array([3, 4]), pa.array(["x", "y"])]
    rows = pa.Table.from_arrays(columns, names=["d", "d", "e"])
    pq.write_table(rows, tmp_path / "twice.parquet")
    node = here.ingest(tmp_path / "twice.parquet")
    assert node.to_arrow(["e"], delivery=delivery).equals(rows.select([2]))
    for ask in ({}, {"columns": ["d"]}, {"columns": ["e"], "where": "d > 1"}):
        with pytest.raises(InvalidRequestError, match="2 columns are called 'd'"):
            node.to_arrow(**ask, delivery=delivery)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_unions_come_back(here: Here, delivery: Any) -> None:
    either = pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()),
        pa.array([0, 0, 1], pa.int32()),
        [pa.array([1, 2]), pa.array(["one"])],
    )
    node = here.write(pa.table({"either": either, "n": [1, 2, 3]}))
    found = node.to_arrow(delivery=delivery)
    assert found["either"].to_pylist() == [1, "one", 2]
    assert node.to_arrow(["n"], "n > 1", delivery=delivery)["n"].to_pylist() == [2, 3]
    some = node.to_arrow(["either"], "n > 1", delivery=delivery)
    assert some["either"].to_pylist() == ["one", 2]


def files(folder: Path, table: pa.Table) -> dict[str, Path]:
    """Write a table as other programs do, in every form that is registered as it lies."""
    paths = {form: folder / f"rows.{form}" for form in ("parquet", "arrow", "arrows", "csv")}
    pq.write_table(table, paths["parquet"], row_group_size=7_000, compression="snappy")
    with pa.ipc.new_file(paths["arrow"], table.schema) as writer:
        writer.write_table(table, max_chunksize=6_000)
    with pa.ipc.new_stream(paths["arrows"], table.schema) as writer:
        writer.write_table(table, max_chunksize=6_000)
    table.drop_columns(["word", "kind"]).to_pandas().to_csv(paths["csv"], index=False)
    return paths


@pytest.mark.parametrize("mode", ["register", "convert"])
@pytest.mark.parametrize("form", ["parquet", "arrow", "arrows", "csv"])
def test_files_of_other_programs_are_read_either_way(
    here: Here, tmp_path: Path, form: str, mode: str
) -> None:
    table = sample(30_000)
    node = here.ingest(files(tmp_path, table)[form], mode)
    truth = table.select(["time_s", "n", "energy"]) if form == "csv" else table
    for delivery in DELIVERIES:
        found = node.to_arrow(delivery=delivery)
        assert node.last_delivery == delivery
        assert found.num_rows == len(truth)
        if form != "csv":
            assert found.schema.types == truth.schema.types
            assert found.equals(truth)
        where = "time_s >= 12 AND time_s < 12.5"
        some = node.to_arrow(["n"], where, delivery=delivery)
        wanted = truth.filter((pc.field("time_s") >= 12) & (pc.field("time_s") < 12.5))["n"]
        assert some["n"].to_pylist() == wanted.to_pylist()
        part = node.to_arrow(["time_s"], rows=(11_990, 12_010), delivery=delivery)
        assert part["time_s"].to_pylist() == truth["time_s"].to_pylist()[11_990:12_010]


def test_dictionaries_that_grow_within_a_file_are_kept(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "growing.arrow"
    words = [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]]
    schema = pa.schema([("word", pa.dictionary(pa.int8(), pa.string()))])
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_file(path, schema, options=options) as writer:
        for known in words:
            codes = pa.array(range(len(known)), pa.int8())
            column = pa.DictionaryArray.from_arrays(codes, pa.array(known))
            writer.write_batch(pa.RecordBatch.from_arrays([column], schema=schema))
    node = here.ingest(path)
    for delivery in DELIVERIES:
        found = node.to_arrow(delivery=delivery)
        assert found.schema.types == schema.types
        assert found["word"].to_pylist() == [word for known in words for word in known]


def test_frames_hold_the_same_rows_whatever_the_delivery(written: Table, table: pa.Table) -> None:
    for delivery in DELIVERIES:
        pandas = written.to_pandas(["time_s", "kind"], limit=300, delivery=delivery)
        truth = table.select(["time_s", "kind"]).slice(0, 300)
        pd.testing.assert_frame_equal(pandas, truth.to_pandas())
        polars = written.to_polars(["kind"], delivery=delivery)
        assert isinstance(polars, pl.DataFrame)
        assert polars["kind"].to_list() == table["kind"].to_pylist()


def test_rows_that_others_append_are_seen_at_the_next_read(here: Here) -> None:
    node = here.write({"n": [1]})
    assert node.to_arrow(delivery="direct").num_rows == 1
    other = lakeservice.connect(here.server.url, KEY)[node.path]
    other.append({"n": [2, 3]})
    assert node.refresh().to_arrow(delivery="direct")["n"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_registered_file_that_changed_is_an_error_and_no_rows(
    here: Here, tmp_path: Path, delivery: Any
) -> None:
    path = tmp_path / "changing.parquet"
    pq.write_table(sample(2000), path)
    node = here.ingest(path)
    assert node.to_arrow(delivery=delivery).num_rows == 2000
    pq.write_table(sample(3000), path)
    with pytest.raises(CorruptError) as caught:
        node.to_arrow(delivery=delivery)
    assert caught.value.kind is ErrorKind.ASSET_CHANGED


@pytest.mark.parametrize("delivery", ["auto", "direct", "decoded"])
def test_a_damaged_page_is_an_error_that_names_the_table(here: Here, delivery: Any) -> None:
    node = here.write({"n": RANDOM.integers(0, 1 << 60, 50_000)})
    (part,) = here.service.describe(node.path).data_sources[0].storage.parts  # type: ignore[union-attr]
    path = here.service.lake.objects.root / part.name  # type: ignore[operator]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    for read in (node.to_arrow, lambda **how: list(node.batches(**how))):
        with pytest.raises(CorruptError) as caught:
            read(delivery=delivery)
        assert caught.value.kind is ErrorKind.CORRUPT_OBJECT


def test_a_lost_file_is_an_error_in_every_delivery(here: Here) -> None:
    node = here.write({"n": [1, 2, 3]})
    (part,) = here.service.describe(node.path).data_sources[0].storage.parts  # type: ignore[union-attr]
    (here.service.lake.objects.root / part.name).unlink()  # type: ignore[operator]
    for delivery in ("auto", *DELIVERIES):
        with pytest.raises(LakeError):
            node.to_arrow(delivery=delivery)


def test_a_table_that_changes_between_plan_and_read_is_of_one_version(
    here: Here, table: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = here.write(table)
    remote = node._remote
    planned = type(remote).flight_info
    more = iter([table.slice(0, 10), table.slice(0, 5)])

    def info(self: Any, request: Any) -> Any:
        answer = planned(self, request)
        if (rows := next(more, None)) is not None:
            here.lake[node.path].append(rows)
        return answer

    monkeypatch.setattr(type(remote), "flight_info", info)
    found = node.to_arrow(delivery="decoded")
    assert found.num_rows == ROWS + 15
    assert found.equals(pa.concat_tables([table, table.slice(0, 10), table.slice(0, 5)]))


def test_a_server_that_dies_in_mid_stream_is_asked_again(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    truth = pa.table({name: RANDOM.normal(size=1_200_000) for name in "abcd"})
    with server.connect() as lake:
        node: Any = lake.write_table("t", truth)
        received, dying = row_streams._received, [server]

        def receive(reader: Any, moved: Any) -> pa.Table:
            if dying:
                reader.read_chunk()
                dying.pop().kill()
                serve(*server.ports)
                reader.read_all()  # breaks off: far more than a connection holds is missing
                raise AssertionError("a stream whose server is dead came to its end")
            return received(reader, moved)

        monkeypatch.setattr(row_streams, "_received", receive)
        found = node.to_arrow(delivery="decoded")
    assert not dying
    assert found.equals(truth)


def test_sparse_and_nested_data_come_directly_as_well(here: Here) -> None:
    sparse = pytest.importorskip("sparse")
    array = sparse.random((40, 50), density=0.1, random_state=1)
    node = here.lake.write_sparse(f"sparse-{next(NAMES)}", array)
    direct, decoded = (node.to_arrow(delivery=delivery) for delivery in DELIVERIES)
    assert direct.equals(decoded)
    assert np.array_equal(node.read().todense(), array.todense())


def test_what_has_no_files_of_its_own_is_read_through_the_server(
    here: Here, tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "columns.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("scan")
        group.attrs["NX_class"] = "NXdata"
        group["x"], group["y"] = np.arange(50.0), np.arange(50)
    into = f"raw-{next(NAMES)}"
    here.ingest_again(path, into)
    found = [node for node in _below(here.lake[into]) if isinstance(node, Table)]
    for node in found:
        assert node.to_arrow().num_rows == 50
        assert node.last_delivery == "decoded"
        with pytest.raises(InvalidRequestError, match="cannot be read directly"):
            node.to_arrow(delivery="direct")


def _below(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, lakeservice.client.Container):
        for child in node.values():
            yield from _below(child)


def test_batches_of_a_large_table_take_little_memory(here: Here) -> None:
    rows = 1_500_000
    node = here.write({name: RANDOM.normal(size=rows) for name in "abcd"})
    before, most, seen = pa.total_allocated_bytes(), 0, 0
    for batch in node.batches(delivery="direct"):
        most = max(most, pa.total_allocated_bytes() - before)
        seen += batch.num_rows
    assert seen == rows
    assert most < rows * 32 / 1.5


def test_the_rows_are_those_of_a_dataset_of_the_files(here: Here, written: Table) -> None:
    storage: Any = here.service.describe(written.path).data_sources[0].storage
    root: Any = here.service.lake.objects.root
    dataset = pds.dataset([str(root / part.name) for part in storage.parts])
    assert written.to_arrow().equals(dataset.to_table())
