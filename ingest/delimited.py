"""CSV files as a client says that they are to be read: separator, header, chosen columns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ingest.found import Item
from ingest.source import unreadable
from schemas.errors import ErrorKind, InvalidRequestError
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from schemas.structures import Structure

_BLOCK_BYTES = 8 << 20
_NO_VALUE = ["", "NA", "N/A", "null", "NULL", "None", "nan", "NaN"]


class Delimited:
    """Some CSV files read as one, with the words of pandas for how.

    Parameters
    ----------
    paths
        Files, whose rows follow one another; all with the same columns.
    parameters
        ``sep`` or ``delimiter``, ``header`` (a line number or None), ``names``,
        ``usecols``, ``skiprows``, ``decimal``; others are left aside.
    header
        Whether there is a header where the parameters do not say.
    """

    def __init__(
        self, paths: Sequence[Path], parameters: Mapping[str, Any], *, header: bool
    ) -> None:
        self._paths = paths
        self._separator = str(parameters.get("sep") or parameters.get("delimiter") or ",")
        if len(self._separator.encode()) != 1:
            raise InvalidRequestError(
                ErrorKind.BAD_REQUEST,
                f"sep={self._separator[:20]!r}; a separator is one character",
            )
        line = parameters.get("header", 0 if header else None)
        self._header = 0 if line == "infer" else line
        self._skipped = _number(parameters, "skiprows")
        names = parameters.get("names")
        self._names = [str(name) for name in names] if isinstance(names, list) else None
        self._chosen = parameters.get("usecols")
        self._decimal = str(parameters.get("decimal", "."))[:1] or "."

    def table(self, declared: Structure) -> Item:
        """Return all rows as one table, of the declared types where the text allows them."""
        types = {}
        if isinstance(declared, TableStructure) and declared.arrow_schema:
            types = {field.name: field.type for field in declared.to_arrow()}
        schema = self._schema(types)
        rows = sum(batch.num_rows for batch in self._batches(schema))
        return Item(
            "", TableStructure.from_arrow(schema, rows=rows), read=partial(self._read, schema)
        )

    def array(self, declared: Structure) -> Item:
        """Return all rows as an array of two axes, or of records in one column.

        Its elements are of the declared type; where none is declared, of the one that
        holds all columns.
        """
        schema = self._schema({})
        rows = sum(batch.num_rows for batch in self._batches(schema))
        if isinstance(declared, ArrayStructure):
            dtype = declared.dtype
        else:
            dtype = np.result_type(*(_dtype(field.type) for field in schema))
        width = 1 if dtype.names else len(schema)
        structure = ArrayStructure.from_numpy((rows, width), dtype)
        return Item("", structure, read=partial(self._rows, schema, dtype))

    def _schema(self, types: Mapping[str, pa.DataType]) -> pa.Schema:
        """Return the columns that are chosen: as declared where that can be, else as found."""
        try:
            with self._opened(self._paths[0], None) as reader:
                found = reader.schema
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise unreadable(self._paths[0].name, error) from None
        wanted = pa.schema(
            [pa.field(field.name, _plain(types.get(field.name, field.type))) for field in found]
        )
        for schema in (wanted, found):
            if self._fits(schema):
                return schema
        return self._widest(found)

    def _fits(self, schema: pa.Schema) -> bool:
        try:
            for _ in self._batches(schema):
                pass
        except pa.ArrowException:
            return False
        return True

    def _widest(self, found: pa.Schema) -> pa.Schema:
        """Return a schema with numbers as float64 where that fits, else all as text."""
        for number, _ in enumerate(found):
            for kind in (pa.float64(), pa.string()):
                found = found.set(number, pa.field(found.names[number], kind))
                only = pa.schema([found.field(number)])
                if self._fits(only):
                    break
        return found

    def _read(self, schema: pa.Schema) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _rows(self, schema: pa.Schema, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
        for batch in self._batches(schema):
            columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
            if dtype.names:
                block = np.empty((batch.num_rows, 1), dtype)
                for name, column in zip(dtype.names, columns, strict=True):
                    block[name][:, 0] = self._exact(column, dtype[name])
            else:
                block = np.empty((batch.num_rows, len(columns)), dtype)
                for number, column in enumerate(columns):
                    block[:, number] = self._exact(column, dtype)
            yield block

    def _exact(self, column: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return values as whole numbers or truths, if they are; other types as they are."""
        if dtype.kind not in "biu":
            return column
        with np.errstate(invalid="ignore"):
            exact = column.astype(dtype)
        if not np.array_equal(exact, column):
            raise unreadable(
                self._paths[0].name, f"cells are empty, or hold what {dtype} cannot say"
            )
        return exact

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for path in self._paths:
            with self._opened(path, schema) as reader:
                for batch in reader:
                    yield batch.select(schema.names)

    def _opened(self, path: Path, schema: pa.Schema | None) -> csv.CSVStreamingReader:
        names = self._names
        skipped = self._skipped + (self._header or 0)
        if self._header is not None and names is not None:
            skipped += 1
        read = csv.ReadOptions(
            block_size=_BLOCK_BYTES,
            skip_rows=skipped,
            column_names=names,
            autogenerate_column_names=self._header is None and names is None,
        )
        convert = csv.ConvertOptions(
            column_types=schema,
            null_values=_NO_VALUE,
            strings_can_be_null=False,
            decimal_point=self._decimal,
            include_columns=schema.names if schema is not None else self._columns(path),
        )
        parse = csv.ParseOptions(delimiter=self._separator, newlines_in_values=True)
        return csv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert)

    def _columns(self, path: Path) -> list[str] | None:
        """Return the names of the chosen columns; None for all."""
        if not self._chosen:
            return None
        if not isinstance(self._chosen, list):
            raise InvalidRequestError(ErrorKind.BAD_REQUEST, "usecols is a list of columns")
        if all(isinstance(column, str) for column in self._chosen):
            return list(self._chosen)
        chosen, self._chosen = self._chosen, None
        try:
            with self._opened(path, None) as reader:
                names = reader.schema.names
        finally:
            self._chosen = chosen
        return [name for number, name in enumerate(names) if number in chosen]


def _number(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name) or 0
    if not isinstance(value, int) or value < 0:
        raise InvalidRequestError(
            ErrorKind.BAD_REQUEST, f"{name}={str(value)[:40]}; write a number of lines"
        )
    return value


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type that a reader of text knows; dictionaries and the like become text."""
    plain = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_temporal(kind)
    )
    return kind if plain else pa.string()


def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    found: Any = kind.to_pandas_dtype()
    dtype: np.dtype[Any] = np.dtype(found)
    return np.dtype("U64") if dtype.kind == "O" else dtype
