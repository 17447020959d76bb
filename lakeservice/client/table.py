"""Tables: streamed as Arrow, with columns and conditions pushed down to the server."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import pyarrow as pa

from lakeservice.client import row_streams
from lakeservice.client.disk import UnreachableError
from lakeservice.client.node import LakeNode
from lakeservice.client.optional import needed
from lakeservice.client.progress import progress_bar
from schemas.errors import CorruptError, ErrorKind, InvalidRequestError
from schemas.ticket import ReadTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

    from schemas.query import Query
    from schemas.structures import StructureFamily, TableStructure

T = TypeVar("T")
Delivery = Literal["auto", "direct", "decoded"]
Delivered = Literal["direct", "decoded"]
_WIRE_METADATA = b"lake.table"


class Rows(LakeNode):
    """Anything that is read as rows: tables, and the Arrow form of sparse and nested data."""

    last_delivery: Delivered | None = None
    """How the latest read of this object came: from files on this machine, or decoded by the
    server; None before one."""
    _remote_only: int | None = None
    """Version of the node whose files cannot be read here."""

    def batches(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
        rows: tuple[int, int] | None = None,
        delivery: Delivery = "auto",
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
        delivery
            ``direct`` reads the files on this machine, where the server allows it and
            this machine sees them; ``decoded`` leaves that to the server; ``auto`` takes
            what is faster. `last_delivery` tells afterwards.

        Raises
        ------
        InvalidRequestError
            ``unknown-column`` or ``bad-query``; ``bad-request`` where ``direct`` was asked
            for and does not work here.
        """
        request = self._request(columns, where, limit, rows)
        found = self._from_files(lambda files: files.batches, request, delivery)
        if found is not None:
            yield from found
            return
        self.last_delivery = "decoded"
        for batch in self._remote.batches(request):
            yield _own(batch)

    def to_arrow(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
        rows: tuple[int, int] | None = None,
        delivery: Delivery = "auto",
        progress: bool = False,
    ) -> pa.Table:
        """Return the rows as an Arrow table; parameters as in `batches`.

        Raises
        ------
        CorruptError
            ``corrupt-object``: fewer or more rows than the table has; never a short table.
        ConflictError
            ``revision-conflict``: others change it again and again.
        """
        request = self._request(columns, where, limit, rows)
        with progress_bar(self.path, None, shown=progress) as moved:
            table = self._from_files(
                lambda files: partial(files.read, moved=moved), request, delivery
            )
            if table is None:
                large = self._may_be_large(request)
                table = _own(row_streams.read(self._remote, request, moved, large=large))
                self.last_delivery = "decoded"
        if where is None and limit is None and rows is None:
            self._check_rows(table.num_rows)
        return table

    def _from_files(
        self, reading: Callable[[Any], Callable[..., T]], request: ReadTable, delivery: Delivery
    ) -> T | None:
        """Read files on this machine; None where that does not work, or is not wanted."""
        if delivery not in ("auto", "direct", "decoded"):
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"delivery {delivery!r} of a table; there are 'auto', 'direct' and 'decoded'",
            )
        refused = self._remote.connection.disk.is_refused
        if delivery == "decoded" or (
            delivery == "auto" and (refused or self._remote_only == self.version)
        ):
            return None
        from lakeservice.client import table_files  # Parquet; who reads no table does without

        try:
            answer = reading(table_files)(self._remote, self.version, request)
        except UnreachableError as error:
            if delivery == "direct":
                raise error.error from None
            self._remote_only = self.version
            return None
        self.last_delivery = "direct"
        return answer

    def _may_be_large(self, request: ReadTable) -> bool:
        """Tell whether an answer may be so large that it is better read over several streams."""
        del request
        return True

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
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        delivery: Delivery = "auto",
    ) -> pa.Table:
        """Return the rows as an Arrow table; the same as `to_arrow`."""
        return self.to_arrow(columns, where, delivery=delivery)

    def to_pandas(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
        rows: tuple[int, int] | None = None,
        delivery: Delivery = "auto",
    ) -> pd.DataFrame:
        """Return the rows as a pandas data frame; parameters as in `batches`.

        Raises
        ------
        ImportError
            ``pandas`` is not installed.
        """
        needed("pandas", "pandas")
        table = self.to_arrow(columns, where, limit=limit, rows=rows, delivery=delivery)
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def to_polars(
        self,
        columns: Sequence[str] | None = None,
        where: str | Query | None = None,
        *,
        limit: int | None = None,
        rows: tuple[int, int] | None = None,
        delivery: Delivery = "auto",
    ) -> pl.DataFrame:
        """Return the rows as a Polars data frame; parameters as in `batches`.

        Raises
        ------
        ImportError
            ``polars`` is not installed.
        """
        polars = needed("polars", "polars")
        table = self.to_arrow(columns, where, limit=limit, rows=rows, delivery=delivery)
        frame: pl.DataFrame = polars.from_arrow(table)
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

    def _may_be_large(self, request: ReadTable) -> bool:
        found = self.structure.rows
        if found is None:
            return True
        if request.rows is not None:
            found = min(found, request.rows[1] - request.rows[0])
        schema = self.schema
        names = schema.names if request.columns is None else request.columns
        counts = Counter(schema.names)
        known = [schema.field(name).type for name in names if counts[name] == 1]
        return found * sum(map(_row_bytes, known)) >= row_streams.LARGE_BYTES

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


def _row_bytes(dtype: pa.DataType) -> float:
    return dtype.bit_width / 8 if pa.types.is_primitive(dtype) else 64


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
    if not rows.schema.names and isinstance(rows, pa.Table):  # would forget how many rows it has
        schema = rows.schema.with_metadata(kept or None)
        from lakeservice.codecs.batches import without_columns  # codecs; few reads need them

        return pa.Table.from_batches([without_columns(rows.num_rows, schema)])
    return rows.replace_schema_metadata(kept or None)
