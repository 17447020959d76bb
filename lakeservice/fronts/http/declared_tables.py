"""Tables as clients declare them: the media type and the name that they ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lakeservice.export.arrow import ARROW_FILE, PARQUET
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

SQL_TABLE = "application/x-tiled-sql-table"
MEDIA_TYPES = (PARQUET, "text/csv", ARROW_FILE, SQL_TABLE)
"""What a table may be declared as; it is stored as Parquet all the same."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names that clients which keep tables in a database give them."""


def table_media_type(asked: str | None, parameters: Mapping[str, Any]) -> str | None:
    """Return the media type of a table's data source; None where none was asked for.

    Raises
    ------
    InvalidRequestError
        ``unknown-media-type``: none of `MEDIA_TYPES`; ``bad-structure``: a name that no
        database takes.
    """
    if asked is None:
        return None
    if asked not in MEDIA_TYPES:
        raise InvalidRequestError(
            ErrorKind.UNKNOWN_MEDIA_TYPE,
            f"a table of media type {asked[:80]!r}; known are {', '.join(MEDIA_TYPES)}",
        )
    name = parameters.get("table_name")
    if name is not None and not (isinstance(name, str) and NAME.fullmatch(name)):
        raise InvalidRequestError(
            ErrorKind.BAD_STRUCTURE,
            f"table_name {str(name)[:80]!r}: write up to 63 of a-z, 0-9 and _, a letter first",
        )
    return asked
