"""Columns of tables as NumPy arrays that can be put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakeservice.client.table import column_values
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece, text with indices into a dictionary as plain text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    whole = column.combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole


def refuse_missing(column: pa.Array, told: str) -> None:
    """Refuse missing values where a NumPy array cannot say them.

    Raises
    ------
    InvalidRequestError
        ``bad-structure``: whole numbers or truth values, also in vectors, or vectors
        with missing values.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if column.null_count and not (
        pa.types.is_floating(column.type)
        or pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_temporal(column.type)
    ):
        raise InvalidRequestError(
            ErrorKind.BAD_STRUCTURE,
            f"{told} has {column.null_count} missing values, which an array of {column.type} "
            "cannot say",
        )
    if pa.types.is_fixed_size_list(column.type):
        refuse_missing(column.flatten(), told)


def taken(column: pa.Array, rows: NDArray[Any]) -> NDArray[Any]:
    """Return the values at some rows; shape (row, …). Missing ones are NaN, NaT or None."""
    chosen = column.take(pa.array(rows))
    if pa.types.is_fixed_size_list(chosen.type):
        inner = column_values(pa.chunked_array([chosen.flatten()]))
        values = inner.reshape(len(chosen), chosen.type.list_size, *inner.shape[1:])
    else:
        values = column_values(pa.chunked_array([chosen]))
    return values if values.flags.writeable else values.copy()
