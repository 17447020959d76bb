from __future__ import annotations

import io
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakeservice.fronts.http.structures import structure_document
from lakeservice.service.partitions import parts_in
from lakeservice.service.writing import Draft
from lakeservice.storage.check import check
from schemas.structures import ContainerStructure, TableStructure

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from lakeservice.service.service import Service

FILE = "application/vnd.apache.arrow.file"
STREAM = "application/vnd.apache.arrow.stream"
TABLE = pa.table({"a": [1, 2, 3], "b": ["x", "y", None], "c": [0.5, 1.5, 2.5]})


def as_file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=table.num_rows // 2 + 1)
    return sink.getvalue()


def as_stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def as_csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def declare(
    http: TestClient,
    schema: pa.Schema,
    name: str = "t",
    columns: list[str] | None = None,
    partitions: int = 1,
) -> None:
    structure = structure_document(TableStructure.from_arrow(schema, npartitions=partitions))
    if columns is not None:
        structure["columns"] = columns
    source = {"structure_family": "table", "structure": structure}
    answer = http.post(
        "/api/v1/metadata/",
        json={"structure_family": "table", "data_sources": [source], "id": name},
    )
    assert answer.status_code == 200, answer.text


def put(http: TestClient, table: pa.Table, name: str = "t") -> None:
    answer = http.put(
        f"/api/v1/table/full/{name}", content=as_file(table), headers={"content-type": FILE}
    )
    assert (answer.status_code, answer.text) == (200, "null")


def read(answer: Any) -> pa.Table:
    assert answer.status_code == 200, answer.text
    return pa.ipc.open_file(answer.content).read_all()


@pytest.fixture
def table(http: TestClient) -> str:
    declare(http, TABLE.schema)
    put(http, TABLE)
    return "/api/v1/table/full/t"


@pytest.mark.parametrize(
    ("media_type", "encode"),
    [
        (FILE, as_file),
        (STREAM, as_stream),
        ("application/x-parquet", as_parquet),
        ("text/csv; charset=utf-8", as_csv),
    ],
)
def test_a_table_comes_back_in_whatever_form_it_was_sent(
    http: TestClient, media_type: str, encode: Any
) -> None:
    declare(http, TABLE.schema)
    answer = http.put(
        "/api/v1/table/full/t", content=encode(TABLE), headers={"content-type": media_type}
    )
    assert answer.status_code == 200, answer.text
    back = http.get("/api/v1/table/full/t")
    assert back.headers["content-type"] == FILE
    assert read(back).equals(TABLE)


@pytest.mark.parametrize("encode", [as_file, as_stream])
def test_a_table_that_claims_bytes_that_were_not_sent_is_refused(
    http: TestClient, encode: Any
) -> None:
    offsets = pa.py_buffer(np.array([0, 1 << 30, 2], "i4"))
    texts = pa.Array.from_buffers(pa.utf8(), 2, [None, offsets, pa.py_buffer(b"ab")])
    indices = pa.DictionaryArray.from_arrays(pa.array([0, 1 << 20]), ["a"], safe=False)
    for column in (texts, indices):
        wild = pa.table({"x": column})
        name = uuid.uuid4().hex
        declare(http, wild.schema, name)
        kind = {as_file: FILE, as_stream: STREAM}[encode]
        answer = http.put(
            f"/api/v1/table/full/{name}", content=encode(wild), headers={"content-type": kind}
        )
        assert answer.status_code == 422
        assert answer.json()["kind"] == "bad-body", answer.text


def test_a_table_that_was_only_declared_has_no_rows(http: TestClient) -> None:
    declare(http, TABLE.schema)
    assert read(http.get("/api/v1/table/full/t")).num_rows == 0
    assert read(http.get("/api/v1/table/partition/t?partition=0")).num_rows == 0


def test_other_forms_of_a_table(http: TestClient, table: str) -> None:
    assert http.get(table + "?format=csv").text == "a,b,c\n1,x,0.5\n2,y,1.5\n3,,2.5\n"
    assert http.get(table + "?format=json").json() == TABLE.to_pydict()
    stream = http.get(table, headers={"accept": STREAM})
    assert stream.headers["content-type"] == STREAM
    assert pa.ipc.open_stream(stream.content).read_all().equals(TABLE)
    parquet = http.get(table, headers={"accept": "application/x-parquet"})
    assert pyarrow.parquet.read_table(io.BytesIO(parquet.content)).equals(TABLE)


def test_columns_are_chosen_by_query_or_body(http: TestClient, table: str) -> None:
    wanted = TABLE.select(["c", "a"])
    assert read(http.get(table, params={"column": ["c", "a"]})).equals(wanted)
    assert read(http.post(table, json=["c", "a"])).equals(wanted)
    assert read(http.post(table, json=None)).equals(TABLE)
    assert read(http.post(table, content=b"")).equals(TABLE)
    part = table.replace("full", "partition")
    assert read(http.get(part, params={"partition": 0, "column": "c"})).column_names == ["c"]
    assert read(http.post(part + "?partition=0", json=["a"])).column_names == ["a"]


def test_rows_are_chosen_by_a_condition(http: TestClient, table: str) -> None:
    answer = http.get(table, params={"where": "a > 1", "column": "b", "limit": 1})
    assert read(answer).to_pydict() == {"b": ["y"]}


def test_rows_are_appended(http: TestClient, table: str) -> None:
    part = "/api/v1/table/partition/t?partition=0"
    more = pa.table({"a": [4], "b": ["z"], "c": [3.5]})
    answer = http.patch(part, content=as_file(more), headers={"content-type": FILE})
    assert (answer.status_code, answer.text) == (200, "null")
    assert read(http.get(table)).equals(pa.concat_tables([TABLE, more]))


def test_appended_rows_belong_to_the_last_partition_that_a_client_was_told_of(
    http: TestClient,
) -> None:
    declare(http, TABLE.schema)
    link = http.get("/api/v1/metadata/t").json()["data"]["links"]["partition"]
    for start in range(3):
        http.patch(link.format(index=0), content=as_file(TABLE.slice(start, 1)))
    node = http.get("/api/v1/metadata/t").json()["data"]
    assert node["attributes"]["structure"]["npartitions"] == 1
    for known in (link, node["links"]["partition"]):
        assert read(http.get(known.format(index=0))).equals(TABLE)
    limited = read(http.get(link.format(index=0), params={"partition": 0, "of": 1, "limit": 2}))
    assert limited.equals(TABLE.slice(0, 2))


def test_rows_appended_over_flight_are_in_the_partition_that_a_client_was_told_of(
    http: TestClient, service: Service
) -> None:
    service.write_table(Draft("t", ContainerStructure(), {}), TABLE.slice(0, 1).to_reader())
    for start in (1, 2):
        rows = TABLE.slice(start, 1).to_reader()
        service.publish(service.changes.tables.append(service.describe("t"), rows))
    url = "/api/v1/table/partition/t"
    assert read(http.get(url, params={"partition": 0, "of": 1})).equals(TABLE)
    assert read(http.get(url, params={"partition": 1})).equals(TABLE.slice(1, 1))
    assert read(http.get(url, params={"partition": 0, "of": 2})).equals(TABLE.slice(0, 1))
    assert read(http.get(url, params={"partition": 1, "of": 2})).equals(TABLE.slice(1))
    assert read(http.get(url, params={"partition": 4, "of": 5})).num_rows == 0


def test_a_partition_is_replaced(http: TestClient, table: str) -> None:
    other = TABLE.slice(1)
    answer = http.put("/api/v1/table/partition/t?partition=0", content=as_file(other))
    assert answer.status_code == 200, answer.text
    assert read(http.get("/api/v1/table/partition/t?partition=0")).equals(other)


def test_a_partition_written_by_somebody_else_meanwhile_is_not_lost(
    http: TestClient, service: Service
) -> None:
    declare(http, TABLE.schema, partitions=2)
    part = "/api/v1/table/partition/t"
    describe = service.describe
    seen: list[str] = []

    def late(path: str, **rest: Any) -> Any:
        node = describe(path, **rest)
        if path == "t":
            seen.append(path)
        if len(seen) == 3:  # another server comes between the last look and the commit
            rows = service.changes.tables.rows(node, TABLE.slice(0, 1).to_reader())
            other = service.changes.tables.replaced(node, rows, 0)
            service.commit([other.mutation], trusted=True)
        return node

    service.describe = late  # type: ignore[method-assign]
    answer = http.put(part, params={"partition": 1}, content=as_file(TABLE.slice(1)))
    assert answer.status_code == 200, answer.text
    assert len(seen) > 3
    assert read(http.get("/api/v1/table/full/t")).equals(TABLE)


@given(st.permutations(range(5)), st.data())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_partitions_come_in_any_order_side_by_side(
    http: TestClient, order: list[int], data: st.DataObject
) -> None:
    name = uuid.uuid4().hex
    table = pa.table({"a": list(range(50)), "b": [str(n) for n in range(50)]})
    declare(http, table.schema, name, partitions=5)
    again = data.draw(st.integers(0, 4))

    def write(number: int) -> int:
        return http.put(
            f"/api/v1/table/partition/{name}",
            params={"partition": number},
            content=as_file(table.slice(10 * number, 10)),
        ).status_code

    with ThreadPoolExecutor(3) as threads:
        assert set(threads.map(write, [*order, again])) == {200}
    assert read(http.get(f"/api/v1/table/full/{name}")).equals(table)
    answer = http.patch(
        f"/api/v1/table/partition/{name}",
        params={"partition": again},
        content=as_file(table.slice(0, 3)),
    )
    assert answer.status_code == 200, answer.text
    told = http.get(f"/api/v1/metadata/{name}").json()["data"]
    assert told["attributes"]["structure"]["npartitions"] == 5
    for number in range(5):
        wanted = table.slice(10 * number, 10)
        if number == again:
            wanted = pa.concat_tables([wanted, table.slice(0, 3)])
        link = told["links"]["partition"].format(index=number)
        assert read(http.get(link)).equals(wanted)


def test_rows_that_come_one_by_one_are_gathered_and_stay_in_order(
    http: TestClient, service: Service
) -> None:
    declare(http, TABLE.schema)
    rows = pa.table(
        {"a": list(range(150)), "b": [str(n) for n in range(150)], "c": [n / 2 for n in range(150)]}
    )
    versions = []
    for number in range(150):
        answer = http.patch(
            "/api/v1/table/partition/t",
            params={"partition": 0},
            content=as_file(rows.slice(number, 1)),
        )
        assert answer.status_code == 200, answer.text
        versions.append(service.nodes.version)
    assert read(http.get("/api/v1/table/full/t")).equals(rows)
    assert len(parts_in(service.describe("t"))) < 40
    then = http.get("/api/v1/table/full/t", params={"as_of": versions[40]})
    assert read(then).equals(rows.slice(0, 41))
    assert check(service.lake).ok


def test_many_who_append_at_the_same_time_lose_nothing(http: TestClient) -> None:
    declare(http, TABLE.schema.remove(2).remove(1))

    def write(number: int) -> int:
        return http.patch(
            "/api/v1/table/partition/t",
            params={"partition": 0},
            content=as_file(pa.table({"a": [number]})),
        ).status_code

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(write, range(100))) == {200}
    found = read(http.get("/api/v1/table/full/t")).column("a").to_pylist()
    assert sorted(found) == list(range(100))


def test_an_index_of_pandas_comes_back(http: TestClient) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2]}, index=[7, 9])
    sent = pa.Table.from_pandas(frame, preserve_index=True)
    declare(http, pa.Table.from_pandas(frame).schema, columns=["a"])
    put(http, sent)
    assert http.get("/api/v1/metadata/t").json()["data"]["attributes"]["structure"]["columns"] == [
        "a"
    ]
    for query in ("", "?column=a"):
        answer = http.get("/api/v1/table/full/t" + query)
        back = pa.ipc.open_file(answer.content).read_pandas()
        pd.testing.assert_frame_equal(back, frame)
    assert http.get("/api/v1/table/full/t?column=a&format=csv").text == "a\n1\n2\n"


def test_a_range_index_that_was_not_declared_is_left_out(http: TestClient) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2]})
    declare(http, pa.Table.from_pandas(frame).schema)
    put(http, pa.Table.from_pandas(frame, preserve_index=True))
    back = pa.ipc.open_file(http.get("/api/v1/table/full/t").content).read_pandas()
    pd.testing.assert_frame_equal(back, frame)


def test_a_column_declared_without_a_type_takes_the_one_sent(http: TestClient) -> None:
    declare(http, pa.schema([("s", pa.null())]))
    sent = pa.table({"s": ["text"]})
    put(http, sent)
    assert read(http.get("/api/v1/table/full/t")).equals(sent)


def test_values_are_converted_to_the_declared_type_where_that_loses_nothing(
    http: TestClient,
) -> None:
    declare(http, pa.schema([("n", pa.float64()), ("s", pa.large_string())]))
    put(http, pa.table({"s": ["x"], "n": [1]}))
    assert read(http.get("/api/v1/table/full/t")).to_pydict() == {"n": [1.0], "s": ["x"]}


@pytest.mark.parametrize(
    ("content", "media_type", "told"),
    [
        (b"", FILE, "not an Arrow file"),
        (b"rubbish that is no table", FILE, "not an Arrow file"),
        (b"rubbish that is no table", STREAM, "cannot be read"),
        (b"rubbish", "application/x-parquet", "cannot be read"),
        (as_file(TABLE)[:40], FILE, "cannot be read"),
        (as_stream(TABLE)[:-60], STREAM, "cannot be read"),
        (as_file(TABLE), "application/x-hdf5", "known are"),
        (as_file(TABLE.drop_columns(["c"])), FILE, "c missing"),
        (as_file(TABLE.append_column("d", [[1, 2, 3]])), FILE, "d not declared"),
        (as_file(TABLE.set_column(0, "a", [["p", "q", "r"]])), FILE, "was declared int64"),
        (as_file(TABLE.set_column(0, "a", [[1.5, 2.5, 3.5]])), FILE, "was declared int64"),
        (as_file(TABLE.rename_columns(["a", "b", "b"])), FILE, "one name"),
        (b"a,b,c\n1,x\n", "text/csv", "cannot be read"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_change_nothing(
    http: TestClient, table: str, content: bytes, media_type: str, told: str
) -> None:
    for method, url in (
        ("PUT", table),
        ("PUT", "/api/v1/table/partition/t?partition=0"),
        ("PATCH", "/api/v1/table/partition/t?partition=0"),
    ):
        answer = http.request(method, url, content=content, headers={"content-type": media_type})
        assert answer.status_code == 422, answer.text
        assert answer.json()["kind"] == "bad-body"
        assert told in answer.json()["detail"]
        assert len(answer.text) < 1000
    assert read(http.get(table)).equals(TABLE)


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"column": "nope"}, "unknown-column"),
        ({"format": "docx"}, "unknown-format"),
        ({"where": "a >"}, "bad-query"),
        ({"where": "nope > 1"}, "unknown-column"),
        ({"limit": "-1"}, "bad-parameter"),
    ],
)
def test_a_read_that_cannot_be_is_refused(
    http: TestClient, table: str, params: dict[str, str], kind: str
) -> None:
    answer = http.get(table, params=params)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["kind"] == kind


def test_a_partition_that_is_not_there_is_refused(http: TestClient, table: str) -> None:
    for query in ("", "?partition=", "?partition=x", "?partition=-1", "?partition=7"):
        answer = http.get("/api/v1/table/partition/t" + query)
        assert answer.status_code in (400, 422)
        assert answer.json()["kind"] in ("bad-request", "bad-parameter")
    assert http.post(table, json={"a": 1}).json()["kind"] == "bad-body"


def test_one_column_is_an_array_below_the_table(http: TestClient, table: str) -> None:
    node = http.get("/api/v1/metadata/t/c").json()["data"]
    assert node["id"] == "c"
    assert node["attributes"]["structure_family"] == "array"
    assert node["attributes"]["structure"]["shape"] == [3]
    answer = http.get("/api/v1/array/full/t/c", params={"slice": "1:", "format": "json"})
    assert answer.json() == [1.5, 2.5]


def test_a_tag_saves_the_read_until_rows_come(http: TestClient, table: str) -> None:
    tag = http.get(table).headers["etag"]
    assert http.get(table, headers={"if-none-match": tag}).status_code == 304
    assert http.get(table + "?column=a", headers={"if-none-match": tag}).status_code == 200
    http.patch("/api/v1/table/partition/t?partition=0", content=as_file(TABLE))
    assert http.get(table, headers={"if-none-match": tag}).status_code == 200


def test_a_long_table_streams_in_every_form(http: TestClient) -> None:
    long = pa.table({"n": range(500_000), "f": [0.25] * 500_000})
    declare(http, long.schema)
    put(http, long)
    url = "/api/v1/table/full/t"
    assert read(http.get(url)).equals(long)
    assert http.get(url + "?format=csv").text.count("\n") == 500_001
    assert json.loads(http.get(url + "?format=json&column=n").text)["n"] == [*range(500_000)]


def test_what_is_not_a_table_is_not_read_as_one(http: TestClient) -> None:
    http.post("/api/v1/metadata/", json={"structure_family": "container", "id": "box"})
    assert http.get("/api/v1/table/full/box").json()["kind"] == "wrong-family"
    answer = http.put("/api/v1/table/full/box", content=as_file(TABLE))
    assert answer.json()["kind"] == "wrong-family"


def test_a_column_of_text_is_an_array_as_wide_as_its_longest_text(http: TestClient) -> None:
    words = ["one", None, "gÖttingen", "", "three"]
    table = pa.table({"w": words})
    declare(http, table.schema)
    put(http, table)
    node = http.get("/api/v1/metadata/t/w").json()["data"]["attributes"]["structure"]
    assert (node["data_type"]["kind"], node["data_type"]["itemsize"]) == ("U", 36)
    wanted = np.array([word or "" for word in words])
    asked: dict[str, Any] = {
        ":": slice(None),
        "::-2": slice(None, None, -2),
        "2": 2,
        "1:3": slice(1, 3),
    }
    for text, index in asked.items():
        answer = http.get(
            "/api/v1/array/full/t/w",
            params={"slice": text},
            headers={"accept": "application/octet-stream"},
        )
        assert (
            np.frombuffer(answer.content, "<U9").tolist() == np.atleast_1d(wanted[index]).tolist()
        )


def test_pandas_counts_the_rows_of_all_partitions(http: TestClient) -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": range(7)})
    declare(http, pa.Table.from_pandas(frame).schema, partitions=3)
    pieces = [frame[:3], frame[3:4], frame[4:]]
    for number in (2, 0, 1):
        body = as_file(pa.Table.from_pandas(pieces[number], preserve_index=True))
        answer = http.put("/api/v1/table/partition/t", params={"partition": number}, content=body)
        assert answer.status_code == 200, answer.text
    for number in range(3):
        answer = http.get("/api/v1/table/partition/t", params={"partition": number})
        pd.testing.assert_frame_equal(read(answer).to_pandas(), pieces[number])


@pytest.mark.parametrize(
    ("mimetype", "name", "status"),
    [
        ("text/csv", None, 200),
        ("application/x-tiled-sql-table", "run_7", 200),
        ("application/x-does-not-exist", None, 415),
        ("application/x-tiled-sql-table", "Run 7", 422),
    ],
)
def test_a_table_is_declared_with_a_media_type_and_a_name(
    http: TestClient, mimetype: str, name: str | None, status: int
) -> None:
    source = {
        "structure_family": "table",
        "structure": structure_document(TableStructure.from_arrow(TABLE.schema)),
        "mimetype": mimetype,
        "parameters": {} if name is None else {"table_name": name},
    }
    asked = {"structure_family": "table", "data_sources": [source], "id": "t"}
    answer = http.post("/api/v1/metadata/", json=asked)
    assert answer.status_code == status, answer.text
    if status == 200:
        put(http, TABLE)
        told = http.get("/api/v1/metadata/t", params={"include_data_sources": True}).json()
        assert told["data"]["attributes"]["data_sources"][0]["mimetype"] == mimetype


def test_every_type_and_names_that_differ_in_case_only_are_appended_and_come_back(
    http: TestClient,
) -> None:
    rows = pa.table(
        {
            "t": pa.array([1, None], pa.timestamp("ns")),
            "T": pa.array([1, 2], pa.timestamp("us", "UTC")),
            "d": pa.array([1, 2], pa.date32()),
            "u": pa.array([2**64 - 1, 0], pa.uint64()),
            "i": pa.array([-1, None], pa.int8()),
            "f": pa.array([1.5, float("nan")], pa.float16()),
            "s": pa.array(["a", None], pa.large_string()),
            "b": pa.array([b"\x00\xff", None], pa.binary()),
            "l": pa.array([[1, 2], None], pa.list_(pa.int32())),
            "r": pa.array([{"x": 1.0}, None], pa.struct([("x", pa.float64())])),
            "o": pa.array([True, None]),
            "e": pa.array([1, 2], pa.duration("ms")),
        }
    )
    declare(http, rows.schema)
    url = "/api/v1/table/partition/t"
    for part in (rows.slice(0, 0), rows, rows.slice(1), rows.slice(0, 0)):
        answer = http.patch(url, params={"partition": 0}, content=as_file(part))
        assert answer.status_code == 200, answer.text
    found = read(http.get(url, params={"partition": 0}))
    wanted = pa.concat_tables([rows, rows.slice(1)])
    assert found.schema.equals(wanted.schema)
    assert repr(found.to_pylist()) == repr(wanted.to_pylist())
    chosen = read(http.get(url, params={"partition": 0, "column": ["T", "t"]}))
    assert chosen.equals(wanted.select(["T", "t"]))
