"""Tables for programs: workbooks, pages, records, Igor text, XDI."""

from __future__ import annotations

import datetime
import io
import json
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest

from lakeservice.export import xlsx
from lakeservice.export.table_html import HTML
from lakeservice.export.table_itx import ITX, wave_names
from lakeservice.export.table_text import CSV, JSON_LINES, JSON_SEQ
from lakeservice.export.xdi import EXPORTERS
from schemas.errors import ErrorKind, InvalidRequestError
from tests.export.memory import InMemoryTable, written

NOON = datetime.datetime(2024, 5, 1, 12, 0, 0, 250_000)  # noqa: DTZ001
ROWS = pa.table(
    {
        "n": [1, None, 3],
        "x": [0.5, float("nan"), float("inf")],
        "s": ["a<b&", None, "ü\x01\n"],
        "ok": [True, False, None],
        "when": pa.array([NOON, None, NOON], pa.timestamp("us")),
        "big": [2**60, 1, 2],
        "list": [[1, 2], [], None],
    }
)
TABLE = InMemoryTable(name="run: 7/table", table=ROWS)


def sheet(payload: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(payload)).active


def test_a_workbook_keeps_numbers_flags_and_times() -> None:
    rows = list(sheet(written(xlsx.TABLE, TABLE)).iter_rows(values_only=True))
    assert rows[0] == tuple(ROWS.column_names)
    assert rows[1] == (1, 0.5, "a<b&", True, NOON, str(2**60), "[1,2]")
    assert rows[2] == (None, None, None, False, None, 1, "[]")
    assert rows[3][2] == "ü\ufffd\n"


def test_a_long_table_goes_on_in_the_next_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS", 3)
    table = InMemoryTable(name="t", table=pa.table({"n": list(range(5))}))
    book = openpyxl.load_workbook(io.BytesIO(written(xlsx.TABLE, table)))
    read = [[cell for (cell,) in one.iter_rows(values_only=True)] for one in book]
    assert read == [["n", 0, 1], ["n", 2, 3], ["n", 4]]


def test_a_table_without_rows_is_a_sheet_with_a_header() -> None:
    rows = list(
        sheet(written(xlsx.TABLE, InMemoryTable(table=ROWS.slice(0, 0)))).iter_rows(
            values_only=True
        )
    )
    assert rows == [tuple(ROWS.column_names)]


def test_more_columns_than_a_sheet_has_are_refused() -> None:
    wide = InMemoryTable(table=pa.table({f"c{n}": [1] for n in range(16_385)}))
    with pytest.raises(InvalidRequestError, match="16385 columns") as caught:
        xlsx.TABLE.check(wide)
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT


def test_a_page_shows_every_value_and_nothing_acts_as_markup() -> None:
    text = written(HTML, TABLE).decode()
    assert "<td>a&lt;b&amp;</td>" in text
    assert text.count("<tr>") == 1 + ROWS.num_rows
    assert text.count("<th>") == ROWS.num_columns


def test_records_are_framed_as_rfc_7464_has_them() -> None:
    payload = written(JSON_SEQ, TABLE)
    records = payload.split(b"\x1e")
    assert records[0] == b""
    assert all(record.endswith(b"\n") for record in records[1:])
    assert [json.loads(record)["n"] for record in records[1:]] == [1, None, 3]


def test_json_lines_are_read_by_pandas() -> None:
    frame = pd.read_json(io.BytesIO(written(JSON_LINES, TABLE)), lines=True)
    assert list(frame.columns) == ROWS.column_names
    assert frame["list"].tolist() == [[1, 2], [], None]


def test_no_rows_are_no_records() -> None:
    assert written(JSON_SEQ, InMemoryTable(table=ROWS.slice(0, 0))) == b""


@pytest.mark.parametrize("options", [{"header": "absent"}, {"format": "text/csv; header=absent"}])
def test_csv_can_come_without_its_header(options: dict[str, str]) -> None:
    table = InMemoryTable(table=pa.table({"a": [1, 2]}), options=options)
    assert written(CSV, table) == b"1\n2\n"


def test_igor_text_holds_a_wave_for_each_column() -> None:
    lines = written(ITX, TABLE).decode().split("\r")
    assert lines[0] == "IGOR"
    assert lines[1] == "WAVES/D\t'n', 'x_', 'ok', 'when', 'big'"
    seconds = (NOON - datetime.datetime(1904, 1, 1)).total_seconds()  # noqa: DTZ001
    assert lines[3].split("\t")[1:] == ["1", "0.5", "1", repr(seconds), str(2**60)]
    assert lines[4].split("\t")[1:] == ["NaN", "NaN", "0", "NaN", "1"]
    assert lines[5].split("\t")[2] == "INF"
    assert "WAVES/T\t's_'" in lines
    assert '\t"ü\x01\\n"' in lines
    assert "X SetScale d, 0, 0, \"dat\", 'when'" in lines


def test_wave_names_are_short_and_different() -> None:
    names = wave_names(["a" * 40, "a" * 41, "x:y", 'x"y', ""])
    assert len(set(names)) == len(names)
    assert all(len(name.strip("'").encode()) <= 31 for name in names)
    assert names[2:] == ["'x_y'", "'x_y_1'", "'wave0'"]


def test_xdi_has_its_fields_comments_and_columns() -> None:
    metadata = {
        "xdi_version": "1.0",
        "extra_version": "GSE/1.0",
        "fields": {"GSE": {"EXTRA": "1\n2"}, "Element": {"symbol": "Cu", "edge": "K"}},
        "comments": "Cu foil\n# at room temperature",
    }
    rows = pa.table({"energy": [8779.0, None], "i 0": [1.5, 2.5]})
    for exporter in EXPORTERS:
        text = written(exporter, InMemoryTable(table=rows, metadata=metadata)).decode()
        assert text.splitlines() == [
            "# XDI/1.0 GSE/1.0",
            "# Element.symbol: Cu",
            "# Element.edge: K",
            "# GSE.EXTRA: 1 2",
            "# Column.1: energy",
            "# Column.2: i 0",
            "# /////////////",
            "# Cu foil",
            "# at room temperature",
            "# generated by tiled-compatible lakeservice",
            "# -------------",
            "# energy i_0",
            "8779.0 1.5",
            "nan 2.5",
        ]
