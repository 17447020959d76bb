"""Queries as text: what people type, read by an SQL parser into the tree of `schemas.query`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakeservice.catalog.limits import bad_query, check_query
from schemas.query import EVERYTHING, MAX_TEXT_BYTES

if TYPE_CHECKING:
    from schemas.query import Query


def parse_query(text: str) -> Query:
    """Return the query that a text stands for; an empty text is the query for everything.

    The text is an SQL condition: ``start.sample.temp > 250 AND plan_name IN
    ('scan', 'fly')``. There are ``= != < <= > >=``, ``IN``, ``BETWEEN``,
    ``LIKE``, ``ILIKE``, ``~``, ``IS NULL`` (there is no such key), ``AND``,
    ``OR``, ``NOT`` and the functions ``contains(key, value)``,
    ``regexp_matches(key, pattern)``, ``fulltext('words')``, ``specs('name',
    …)``, ``family('array')`` and ``name('run7', …)``. A key with other
    characters than letters, digits, ``_`` and ``.`` goes in double quotes.

    ``NOT LIKE``, ``NOT IN`` and ``NOT BETWEEN`` ask for a key that is there, as
    in SQL; ``NOT (…)`` is the plain complement.

    Raises
    ------
    InvalidRequestError
        ``bad-query``: too long, too deep, or not such a condition; the message
        says where.
    """
    size = len(text)
    if size > MAX_TEXT_BYTES or (size := len(text.encode(errors="replace"))) > MAX_TEXT_BYTES:
        raise bad_query(f"a query of {size} bytes; at most {MAX_TEXT_BYTES} are allowed")
    if not text.strip():
        return EVERYTHING
    # Importing sqlglot takes 0.4 s: servers and tools that get no text do without it.
    from lakeservice.catalog.expressions import read_condition

    query = read_condition(text)
    check_query(query)
    return query
