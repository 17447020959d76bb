"""Arrays of one length in a group, as the columns of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pyarrow as pa

from ingest.found import Columns, Item
from lakeservice.storage.columns import arrow_type
from schemas.structures import ArrayStructure, TableStructure

if TYPE_CHECKING:
    from collections.abc import Mapping


def column_table(path: str, columns: Mapping[str, Item]) -> Item | None:
    """Return a table of arrays of one axis and one length; None where there are no columns."""
    if not columns:
        return None
    arrays = {name: cast("ArrayStructure", item.structure) for name, item in columns.items()}
    schema = pa.schema([(name, arrow_type(array.dtype)) for name, array in arrays.items()])
    rows = next(iter(arrays.values())).shape[0]
    return Item(
        path,
        TableStructure.from_arrow(schema, rows=rows),
        location=Columns({name: item.path for name, item in columns.items()}),
    )
