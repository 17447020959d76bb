from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from lakeservice.export.arrow import EXPORTERS
from lakeservice.export.table_text import CSV, JSON, JSON_LINES
from tests.export import memory
from tests.export.memory import InMemoryTable

FORMS = {one.names[0]: one for one in (*EXPORTERS, CSV, JSON, JSON_LINES)}
TABLE = pa.table(
    {
        "i": pa.array([1, 2, None], pa.int64()),
        "f": pa.array([0.1, float("nan"), 3.0]),
        "s": pa.array(["plain", 'q"uo,te\n', None]),
        "b": pa.array([True, False, None]),
        "t": pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5), None, None], pa.timestamp("ns")),  # noqa: DTZ001
        "l": pa.array([[1, 2], [], None]),
        "o": pa.array([{"x": 1}, {"x": None}, None]),
        "d": pa.array(["u", "v", "u"]).dictionary_encode(),
        "y": pa.array([b"ab", b"\xff", None]),
        "v": pa.array(["x", None, "z"], pa.string_view()),
        "m": pa.array([decimal.Decimal("1.50"), None, None]),
        "n": pa.nulls(3),
        "p": pa.array([datetime.timedelta(seconds=1), None, None], pa.duration("ns")),
    }
)


def written(name: str, table: pa.Table) -> bytes:
    return memory.written(FORMS[name], InMemoryTable(table=table))


@pytest.mark.parametrize("table", [TABLE, TABLE.slice(0, 0), pa.table({})])
def test_arrow_forms_come_back_the_same(table: pa.Table) -> None:
    for back in (
        pa.ipc.open_file(written("arrow", table)).read_all(),
        pa.ipc.open_stream(written("arrows", table)).read_all(),
    ):
        assert back.schema == table.schema
        assert str(back.to_pylist()) == str(table.to_pylist())


def test_the_schema_keeps_its_metadata() -> None:
    table = TABLE.replace_schema_metadata({"pandas": "{}"})
    assert pa.ipc.open_file(written("arrow", table)).schema.metadata == {b"pandas": b"{}"}


def test_parquet_comes_back_the_same() -> None:
    table = TABLE.drop_columns(["v", "p"])
    back = pyarrow.parquet.read_table(io.BytesIO(written("parquet", table)))
    assert str(back.to_pylist()) == str(table.to_pylist())


def test_csv_lines_read_back() -> None:
    lines = list(csv.reader(io.StringIO(written("csv", TABLE).decode())))
    assert lines[0] == TABLE.column_names
    first = dict(zip(lines[0], lines[1], strict=True))
    assert first == {
        "i": "1",
        "f": "0.1",
        "s": "plain",
        "b": "true",
        "t": "2020-01-02 03:04:05.000000000",
        "l": "[1,2]",
        "o": '{"x":1}',
        "d": "u",
        "y": "ab",
        "v": "x",
        "m": "1.50",
        "n": "",
        "p": "1000000000",
    }
    assert lines[2][2] == 'q"uo,te\n'
    assert lines[3][2] == ""


def test_csv_quotes_only_what_needs_it() -> None:
    table = pa.table({"a b": ["plain name"], 'q"': [1.5]})
    assert written("csv", table) == b'a b,"q"""\nplain name,1.5\n'


def test_json_is_one_list_for_each_column_in_order() -> None:
    told: dict[str, list[Any]] = json.loads(written("json", TABLE))
    assert list(told) == TABLE.column_names
    assert told["i"] == [1, 2, None]
    assert told["f"] == [0.1, None, 3.0]
    assert told["s"] == ["plain", 'q"uo,te\n', None]
    assert told["t"] == ["2020-01-02T03:04:05.000000000", None, None]
    assert told["l"] == [[1, 2], [], None]
    assert told["o"] == [{"x": 1}, {"x": None}, None]
    assert told["d"] == ["u", "v", "u"]
    assert told["p"] == [1_000_000_000, None, None]


def test_json_of_an_empty_table_has_empty_lists() -> None:
    assert json.loads(written("json", TABLE.slice(0, 0))) == {n: [] for n in TABLE.column_names}


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_bytes_are_text_in_json(name: str) -> None:
    table = pa.table({"b": pa.array([b"abc", "café".encode(), b"\xff\xfe", None])})
    text = written(name, table).decode()
    values = (
        json.loads(text)["b"]
        if name == "json"
        else [json.loads(line)["b"] for line in text.splitlines()]
    )
    assert values == ["abc", "café", "\xff\xfe", None]
