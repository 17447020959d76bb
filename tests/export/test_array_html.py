from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import imagecodecs
import numpy as np
import pytest

from lakeservice.export.array_html import HTML
from tests.export.memory import Array, InMemoryArray, written


class _Cells(HTMLParser):
    """The cells of every table, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open = False

    def handle_starttag(self, tag: str, _: object) -> None:
        if tag == "tr":
            self.rows.append([])
        self.open = tag == "td"

    def handle_data(self, text: str) -> None:
        if self.open:
            self.rows[-1].append(text)
            self.open = False


def page(array: Array, name: str = "eiger", **options: str) -> str:
    return written(HTML, InMemoryArray(array=array, name=name, options=options)).decode()


def cells(text: str) -> list[list[str]]:
    parser = _Cells()
    parser.feed(text)
    return parser.rows


@pytest.mark.parametrize(
    "array", [np.arange(12).reshape(3, 4), np.arange(5.0) / 7, np.array(2.5), np.array(["a<b"])]
)
def test_a_page_shows_the_numbers(array: Array) -> None:
    rows = array.reshape(len(array) if array.ndim else 1, -1)
    assert cells(page(array)) == [[str(value) for value in row] for row in rows]


def test_an_image_is_a_picture_as_well() -> None:
    array = np.arange(20 * 30).reshape(20, 30)
    found = re.search(r"data:image/png;base64,([^\"]+)", page(array, cmap="hot"))
    assert found is not None
    assert imagecodecs.png_decode(base64.b64decode(found[1])).shape == (20, 30, 3)


def test_a_stack_shows_its_first_image_and_records_their_fields() -> None:
    assert cells(page(np.arange(24).reshape(2, 3, 4)))[0] == ["0", "1", "2", "3"]
    record = np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")])
    assert cells(page(record)) == [[], ["1", "2.5"]]
    assert "<th>a</th><th>b</th>" in page(record)


def test_a_page_stays_short_and_says_so() -> None:
    text = page(np.zeros((10_000, 10_000), "u1"))
    assert len(text) < 1 << 20
    assert "The first 10000 of 100000000 values" in text


def test_names_and_values_cannot_bring_code_into_a_page() -> None:
    text = page(np.array(["<script>"]), name="<script>")
    assert "<script>" not in text


def test_an_array_without_elements_is_a_page_too() -> None:
    assert "0 × 3" in page(np.zeros((0, 3)))
