"""Parquet, Arrow and text tables, against pyarrow, NumPy and the csv module."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats.arrow import ArrowFormat, ArrowStreamFormat
from ingest.formats.parquet import ParquetFormat
from ingest.formats.text import TextFormat
from ingest.testing import FormatSuite, ScratchLake, assert_same_values, take_alone
from schemas.chunks import TableStorage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TABLE = pa.table(
    {
        "n": pa.array([1, 2, None], pa.int32()),
        "x": [0.5, float("inf"), -1.0],
        "name": ["a", None, "längere"],
        "hits": [[1, 2], [], None],
    }
)


class TestParquet(FormatSuite):
    format = ParquetFormat()

    def sample(self, folder: Path) -> Path:
        pq.write_table(TABLE, folder / "a.parquet")
        return folder / "a.parquet"

    def expected(self) -> Mapping[str, Any]:
        return {"": TABLE}


class TestArrowFile(FormatSuite):
    format = ArrowFormat()

    def sample(self, folder: Path) -> Path:
        pyarrow.feather.write_feather(TABLE, folder / "a.arrow", compression="uncompressed")
        return folder / "a.arrow"

    def expected(self) -> Mapping[str, Any]:
        return {"": TABLE}


class TestArrowFileCompressed(TestArrowFile):
    def sample(self, folder: Path) -> Path:
        pyarrow.feather.write_feather(TABLE, folder / "a.arrow", compression="zstd")
        return folder / "a.arrow"


class TestArrowStream(FormatSuite):
    format = ArrowStreamFormat()

    def sample(self, folder: Path) -> Path:
        path = str(folder / "a.arrows")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=2)
        return folder / "a.arrows"

    def expected(self) -> Mapping[str, Any]:
        return {"": TABLE}


class TestText(FormatSuite):
    format = TextFormat()
    text: ClassVar[str] = "q, I, name\n0.1, 5,a\n0.2, 6,b c\n,7,\n"
    table: ClassVar[pa.Table] = pa.table(
        {"q": [0.1, 0.2, None], "I": [5, 6, 7], "name": ["a", "b c", ""]}
    )
    encoding: ClassVar[str] = "utf-8"

    def sample(self, folder: Path) -> Path:
        (folder / "a.csv").write_bytes(self.text.encode(self.encoding))
        return folder / "a.csv"

    def expected(self) -> Mapping[str, Any]:
        return {"": self.table}


class TestTextInColumns(TestText):
    text = (
        "# Sample.name: LaB6\n# wavelength = 0.5\n# measured by hand\n#  q   I\n"
        "  0.1\t 5\n 0.2  6.5 \n"
    )
    table = pa.table({"q": [0.1, 0.2], "I": [5.0, 6.5]})

    def test_comments_become_metadata(self, tmp_path: Path) -> None:
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(self.sample(tmp_path))
        assert lake.node("a").metadata == {
            "Sample": {"name": "LaB6"},
            "wavelength": 0.5,
            "comments": ["measured by hand"],
        }


class TestTextWithoutHeader(TestText):
    text = "1,2.5\n3,nan\n"
    table = pa.table({"column_0": [1, 3], "column_1": [2.5, float("nan")]})

    def expected(self) -> Mapping[str, Any]:
        return {}

    def test_columns_are_numbered(self, tmp_path: Path) -> None:
        lake = ScratchLake(tmp_path / "lake")
        lake.ingest(self.sample(tmp_path))
        found = lake.read("a")
        assert found.column_names == ["column_0", "column_1"]
        np.testing.assert_array_equal(found["column_1"].to_numpy(), [2.5, np.nan])


class TestTextInLatin1(TestText):
    encoding = "latin-1"
    text = "q Å-1\t\tI(q) cm-1\tµ\n0.1\t2\t3\n0.2\t4\t5\n"
    table = pa.table({"q Å-1": [0.1, 0.2], "I(q) cm-1": [2, 4], "µ": [3, 5]})


class TestTextInUtf16(TestText):
    encoding = "utf-16"


class TestTextWithDecimalCommas(TestText):
    text = "Weg;Kraft\r\n1,5;2,25\r\n3,5;4\r\n"
    table = pa.table({"Weg": [1.5, 3.5], "Kraft": [2.25, 4.0]})


class TestTextOfOneColumn(TestText):
    text = "# counts\n1\n2\n3\n"
    table = pa.table({"counts": [1, 2, 3]})


def storage_of(lake: ScratchLake, path: str) -> TableStorage:
    storage = lake.node(path).data_sources[0].storage
    assert isinstance(storage, TableStorage)
    return storage


def test_parquet_and_arrow_files_are_read_where_they_lie(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    pyarrow.feather.write_feather(TABLE, tmp_path / "b.arrow")
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.parquet", tmp_path / "b.arrow")
    for path in ("a", "b"):
        assert storage_of(lake, path).assets == (0,)
        assert lake.node(path).structure.rows == 3  # type: ignore[union-attr]


def test_key_value_metadata_of_parquet_is_searchable(tmp_path: Path) -> None:
    table = TABLE.replace_schema_metadata({"scan": '{"energy_ev": 12000}', "who": "me"})
    pq.write_table(table, tmp_path / "a.parquet")
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.parquet")
    assert lake.node("a").metadata == {"scan": {"energy_ev": 12000}, "who": "me"}


def test_a_long_header_of_comments_is_no_obstacle(tmp_path: Path) -> None:
    comments = "".join(f"# setting_{number}: {number}\n" for number in range(1000))
    (tmp_path / "a.dat").write_text(comments + "# x y\n1 2\n3 4\n")
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.dat")
    assert lake.node("a").metadata["setting_999"] == 999
    assert_same_values(lake.read("a"), pa.table({"x": [1, 3], "y": [2, 4]}))


def test_text_is_converted_and_the_entry_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    lake = ScratchLake(tmp_path / "lake")
    lake.ingest(tmp_path / "a.csv")
    source = lake.node("a").data_sources[0]
    assert source.properties["converted"] == 1
    assert source.assets[0].data_uri.endswith("/a.csv")
    assert storage_of(lake, "a").parts[0].name.startswith("data/")


def test_a_column_gets_the_type_that_holds_all_of_its_values(tmp_path: Path) -> None:
    rows = 400_000  # several blocks; the odd ones come last
    lines = [f"{number},{number}" for number in range(rows)]
    (tmp_path / "a.csv").write_text("\n".join(["i,s", *lines, "0.5,word", "7,8"]) + "\n")
    lake = ScratchLake(tmp_path / "lake")
    assert not lake.ingest(tmp_path / "a.csv").failed
    found = lake.read("a")
    assert found.schema.types == [pa.float64(), pa.string()]
    assert found.num_rows == rows + 2
    assert found["i"][-2].as_py() == 0.5
    assert found["s"][-2].as_py() == "word"
    assert found["s"][5].as_py() == "5"


def test_a_row_of_another_width_is_refused_with_its_place(tmp_path: Path) -> None:
    lines = [f"{number} {number}" for number in range(5000)]
    (tmp_path / "a.dat").write_text("\n".join([*lines, "1 2 3"]) + "\n")
    reason = take_alone(tmp_path / "a.dat", tmp_path / "lake").reason
    assert reason is not None
    assert "Expected 2 columns, got 3" in reason


@pytest.mark.parametrize(
    "text",
    [
        "Dear reader,\nthis is prose, with commas.\nNothing, really, of interest.\n",
        "<?xml version='1.0'?>\n<a>1</a>\n",
        '{"a": 1}\n',
        "#F scan.spec\n#S 1 ascan\n#L x y\n1 2\n3 4\n",
        "import numpy as np\nx = 1\n",
        "key: 1\nother: 2\nthird: 3\n",
        "\n\n\n",
        "   ",
    ],
)
def test_text_that_is_no_table_is_of_an_unknown_format(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    reason = take_alone(tmp_path / "a.txt", tmp_path / "lake").reason
    assert reason is not None
    assert "no format knows" in reason


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9)),
        min_size=1,
        max_size=30,
    ),
    separator=st.sampled_from([",", ";", "\t", " ", "  \t"]),
)
def test_numbers_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float, int]],
    separator: str,
) -> None:
    folder = tmp_path_factory.mktemp("text")
    text = "\n".join(f"{x!r}{separator}{n}" for x, n in rows) + "\n"
    (folder / "a.dat").write_text(text)
    lake = ScratchLake(folder / "lake")
    assert not lake.ingest(folder / "a.dat").failed
    found = lake.read("a")
    np.testing.assert_array_equal(found["column_0"].to_numpy(), [x for x, _ in rows])
    np.testing.assert_array_equal(found["column_1"].to_numpy(), [n for _, n in rows])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8),
            st.integers(0, 99),
        ),
        min_size=2,
        max_size=8,
    )
)
def test_quoted_text_comes_back_as_csv_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    payload = io.StringIO()
    writer = csv.writer(payload, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["word", "n"])
    writer.writerows(("x" + word + "x", number) for word, number in rows)
    (folder / "a.csv").write_bytes(payload.getvalue().encode())
    lake = ScratchLake(folder / "lake")
    assert not lake.ingest(folder / "a.csv").failed
    expected = pa.table({"word": [f"x{word}x" for word, _ in rows], "n": [n for _, n in rows]})
    assert_same_values(lake.read("a"), expected)
