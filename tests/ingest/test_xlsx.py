"""Columns of workbooks get names by which they are told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openpyxl
import pytest

from ingest.formats.xlsx import XlsxFormat
from ingest.source import Source
from schemas.structures import TableStructure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (["a", "a", "a.1"], ["a", "a.1", "a.1.1"]),
        (["a.1", "a", "a"], ["a.1", "a", "a.2"]),
        ([None, "column_0"], ["column_0", "column_0.1"]),
    ],
)
def test_each_column_has_a_name_of_its_own(
    tmp_path: Path, header: list[str | None], names: list[str]
) -> None:
    book = openpyxl.Workbook()
    sheet = book.create_sheet("rows", 0)
    sheet.append(header)
    sheet.append(list(range(len(header))))
    book.save(tmp_path / "book.xlsx")
    with XlsxFormat().open(Source.of(tmp_path / "book.xlsx")) as found:
        (item,) = found.items
        assert isinstance(item.structure, TableStructure)
        assert item.structure.columns == tuple(names)
