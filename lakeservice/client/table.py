"""Tables: streamed as Arrow, with columns and conditions pushed down to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from lakeservice.client.node import LakeNode
from lakeservice.client.optional import needed
from lakeservice.client.progress import progress_bar
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.ticket import ReadTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

    from schemas.query import Query
    from schemas.structures import StructureFamily, TableStructure

_WIRE_METADATA = b"lake.table"


class Rows(LakeNode):
    """Anything that is read as rows: tables, and the Arrow form of sparse and nested data."""

    def batches(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
        rows: tuple[int, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows as record batches while they arrive; memory stays bounded.

        Parameters
        ----------
        columns
            Names of the columns wanted, in this order; None for all.
        where
            Only rows for which this holds: text such as ``"energy > 8000 AND ring = 'on'"``,
            or a query whose keys are column names.
        limit
            At most so many rows.
        rows
            First row and the row after the last, counted before ``where``.

        Raises
        ------
        InvalidRequestError
            ``unknown-column`` or ``bad-query``.
        """
        request = self._request(columns, where, limit, rows)
        for batch in self._remote.batches(request):
            yield _own(batch)

    def to_arrow(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
        rows: tuple[int, int] | None = None,
        progress: bool = False,
    ) -> pa.Table:
        """Return the rows as an Arrow table; parameters as in `batches`.

        Raises
        ------
        CorruptError
            ``corrupt-object``: fewer or more rows than the table has; never a short table.
        """
        request = self._request(columns, where, limit, rows)
        with progress_bar(self.path, None, shown=progress) as moved:

            def receive(reader: Any) -> pa.Table:
                batches = []
                for chunk in reader:
                    if chunk.data is not None:
                        batches.append(chunk.data)
                        if moved is not None:
                            moved(chunk.data.nbytes)
                return pa.Table.from_batches(batches, schema=reader.schema)

            table = _own(self._remote.read(request, receive))
        if where is None and limit is None and rows is None:
            self._check_rows(table.num_rows)
        return table

    def _request(
        self,
        columns: Sequence[str] | None,
        where: str | Query | None,
        limit: int | None,
        rows: tuple[int, int] | None = None,
    ) -> ReadTable:
        if isinstance(columns, str):
            columns = (columns,)
        if limit is not None and limit < 0:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"a limit of {limit} rows; it must not be negative"
            )
        if rows is not None and not 0 <= rows[0] <= rows[1]:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST, f"rows {rows[0]} to {rows[1]}; they count from 0, upwards"
            )
        return ReadTable(
            path=self._path,
            columns=None if columns is None else tuple(columns),
            where=where,
            limit=limit,
            rows=rows,
        )

    def _expected_rows(self) -> int | None:
        """Return how many rows there are, where that is known."""
        return None

    def _check_rows(self, found: int) -> None:
        expected = self._expected_rows()
        if expected is None or found == expected:
            return
        self.refresh()
        expected = self._expected_rows()
        if expected is not None and found != expected:
            raise CorruptError(
                ErrorKind.CORRUPT_OBJECT,
                f"{self.path!r} has {expected} rows, but {found} came; read it again",
            )


class Table(Rows):
    """Rows with named, typed columns."""

    family: ClassVar[StructureFamily] = "table"

    @property
    def structure(self) -> TableStructure:
        """Columns, number of rows, partitions."""
        structure: Any = self._node.structure
        return structure  # type: ignore[no-any-return]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return self.structure.to_arrow()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.structure.columns

    @property
    def shape(self) -> tuple[int | None, int]:
        """Number of rows (None where it is not known without reading) and of columns."""
        return self.structure.rows, len(self.columns)

    def __len__(self) -> int:
        rows = self.structure.rows
        return sum(batch.num_rows for batch in self.batches(())) if rows is None else rows

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    def __getitem__(self, columns: str | Sequence[str]) -> Any:
        """Return one column as a NumPy array, or several as an Arrow table."""
        if isinstance(columns, str):
            return column_values(self.to_arrow((columns,)).column(0))
        return self.to_arrow(columns)

    def read(
        self, columns: Sequence[str] | None = None, where: str | Query | None = None
    ) -> pa.Table:
        """Return the rows as an Arrow table; the same as `to_arrow`."""
        return self.to_arrow(columns, where)

    def to_pandas(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Return the rows as a pandas data frame; parameters as in `batches`.

        Raises
        ------
        ImportError
            ``pandas`` is not installed.
        """
        needed("pandas", "pandas")
        frame: pd.DataFrame = self.to_arrow(columns, where, limit=limit).to_pandas()
        return frame

    def to_polars(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """Return the rows as a Polars data frame; parameters as in `batches`.

        Raises
        ------
        ImportError
            ``polars`` is not installed.
        """
        polars = needed("polars", "polars")
        frame: pl.DataFrame = polars.from_arrow(self.to_arrow(columns, where, limit=limit))
        return frame

    def append(self, rows: Any, *, progress: bool = False) -> Table:
        """Add rows at the end, and return the node with its new length.

        Parameters
        ----------
        rows
            As `write_table` takes them, with the same columns.
        """
        from lakeservice.client.sending import appended_table  # readers do without

        self._remote.send(appended_table(self.path, self.schema, rows), progress=progress)
        self._known = None
        return self

    def _expected_rows(self) -> int | None:
        return self.structure.rows

    def _facts(self) -> list[tuple[str, str]]:
        rows, names = self.structure.rows, self.columns
        shown = ", ".join(names[:8]) + (f", … {len(names) - 8} more" if len(names) > 8 else "")
        return [
            ("rows", f"{'?' if rows is None else rows} rows"),
            ("columns", f"({shown})"),
        ]

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        address = self._remote.connection.address
        return (type(self).__name__, address.url, self.id, self.version, self.path)


def column_values(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as a NumPy array; lists and text become arrays of objects."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.FixedShapeTensorType):
        values: NDArray[Any] = column.combine_chunks().to_numpy_ndarray()
        return values
    return column.to_numpy()  # type: ignore[no-any-return]


def _own(rows: Any) -> Any:
    """Return rows with the schema metadata that they were written with, without the wire's."""
    metadata = rows.schema.metadata
    if not metadata or _WIRE_METADATA not in metadata:
        return rows
    kept = {key: value for key, value in metadata.items() if key != _WIRE_METADATA}
    return rows.replace_schema_metadata(kept or None)
